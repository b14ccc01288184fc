"""Stages where none are named: a module x one run of it -> the blocks that hold most of its depth, as stages of taps.

No list of networks: what counts is how a network is built. A *block* is a submodule of two or more weight layers (convolutions, matrices)
that follows another such submodule of the same parent. Where each of them changes its value's type they are stages, and the blocks are
looked for inside. Blocks are grouped by the container they stand in, where there are at most four (ResNet, ConvNeXt, Swin); else by
resolution (EfficientNet, MobileNet, Inception, Hiera); where there is only one of both, into quarters (ViT). In a network of single layers
the activations are the taps (VGG), so that a stage ends before its pool.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from torch import Tensor, nn

from graphnas.compiler.calls import Call
from graphnas.compiler.torch_typed import own_parameters, paths_of
from graphnas.errors import RecordError
from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.spec.network import NetworkSpec, TapSpec

Result = TypeVar("Result")
Layout = Literal["nhwc"] | None
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ENCODERS = ("encoder", "backbone")  # what a network with a decoder calls the part that the default stages lie in
_STAGES = 4  # into which blocks of one resolution are split, and up to which containers are stages as they are


@dataclass(frozen=True)
class Block:
    """A tap by default.

    Args:
        name: The submodule.
        parent: The container whose blocks make a stage; the submodule itself where it is a stage as a whole.
        output: Which part of its result, where it returns several.
        type: The type of its value, an image's with the channels first.
        layout: ``nhwc`` for an image whose channels come last.
    """

    name: str
    parent: str
    output: int | str | None
    type: Image | Tokens
    layout: Layout

    @property
    def positions(self) -> int:
        return self.type.length if isinstance(self.type, Tokens) else self.type.height * self.type.width


def default_taps(module: nn.Module, log: Sequence[Call], arguments: Mapping[str, Tensor]) -> list[dict[str, TapSpec]]:
    """The stages of a module by default, ``s1``, ``s2``, ... in order of execution.

    Args:
        module: Any module.
        log: One run of it, in eval mode.
        arguments: The run's.
    Returns:
        Choices, the best first: blocks, then stages as a whole for a module whose stages' own code can't be recorded. None, where no
        default is known.
    """
    structure = _Structure(module, log, arguments)
    blocks = structure.blocks()
    choices = [_stages(blocks)]
    whole = (structure.outer(block) for block in blocks)
    choices.append(_stages(list({block.name: block for block in whole if block is not None}.values())))
    return [choice for i, choice in enumerate(choices) if choice and choice not in choices[:i]]


def first_recorded(
    choices: Sequence[Mapping[str, TapSpec]], record: Callable[[Mapping[str, TapSpec]], Result], none: RecordError
) -> Result:
    """The first choice of stages that a module can be recorded with.

    Raises:
        RecordError: None can; of the last one, which asks for least. ``none``, where there are no choices.
    """
    failed = none
    for choice in choices:
        try:
            return record(choice)
        except RecordError as error:
            failed = error
    raise failed


def no_default(module: nn.Module, spec: NetworkSpec | None = None) -> RecordError:
    """What to say where no stages are known by default."""
    return RecordError(
        f"no stages are known by default for {type(module).__name__}: nothing in it looks like blocks in a row",
        where=None if spec is None else spec.where("taps"),
        path="" if spec is None else "taps",
        fix="name taps; `graphnas taps MODEL` lists what can be tapped",
    )


class _Structure:
    """What is built and what ran."""

    def __init__(self, module: nn.Module, log: Sequence[Call], arguments: Mapping[str, Tensor]) -> None:
        self.module = module
        self.log = log
        self.modules = dict(paths_of(module))
        self.counts = Counter(call.path for call in log)
        self.position = {call.path: i for i, call in enumerate(log)}
        self.sizes = next((tuple(value.shape[2:]) for value in arguments.values() if value.dim() == 4), None)
        self.children: dict[str, list[str]] = {}
        self.classes = set[type[nn.Module]]()
        for path in self.modules:
            if path:
                self.children.setdefault(path.rpartition(".")[0], []).append(path)

    @cached_property
    def weights(self) -> Mapping[str, int]:
        """The number of weight layers in each submodule, itself included."""
        found: Counter[str] = Counter()
        for path, module in self.modules.items():
            own = any(value is not None and value.dim() > 1 for value in own_parameters(module).values())
            found[path] += own
            for outer in itertools.accumulate(path.split("."), "{}.{}".format) if own and path else ():
                found[outer] += outer != path
            found[""] += own and path != ""
        return found

    @property
    def start(self) -> str:
        """The part that the stages lie in: the encoder of a network that has a decoder, what holds nearly all layers."""
        path = ""
        while (inner := self.encoder(path)) is not None:
            path = inner
        large = [child for child in self.children.get(path, ()) if self.weights[child] > 0.8 * self.weights[path]]
        return large[0] if large and self.found_in(large[0]) else path

    def encoder(self, path: str) -> str | None:
        names = (*_ENCODERS, getattr(self.modules[path], "base_model_prefix", None))  # the latter on Hugging Face's models
        inner = [child for child in self.children.get(path, ()) if child.rpartition(".")[2] in names]
        large = (child for child in inner if self.weights[child] * 4 > self.weights[path])
        return next((child for child in large if self.found_in(child) or self.activations(child)), None)

    def blocks(self) -> list[Block]:
        """The taps by default, in order of execution."""
        start = self.start
        found = self.found_in(start) or self.activations(start) or self.first_level()
        classes = Counter(type(self.modules[block.name]) for block in found)
        read = {position for call in self.log for position in call.reads}
        heads = {b.name for b in found if self.position[b.name] not in read and classes[type(self.modules[b.name])] == 1}
        return self.with_layouts(self.down([block for block in found if block.name not in heads or len(found) == 1]))

    # -- blocks

    def found_in(self, path: str) -> list[Block]:
        self.classes = set[type[nn.Module]]()
        self.blocks_of(path)  # learns what is a block where there are several in a row, for where there is one
        return self.blocks_of(path)

    def blocks_of(self, path: str) -> list[Block]:
        """The blocks inside a submodule, in order of execution; none, if it is one itself."""
        members = [child for child in self.children.get(path, ()) if self.weights[child] > 1]
        called = sorted((member for member in members if self.is_called(member)), key=self.position.__getitem__)
        if self.is_row(called) and 2 * sum(self.weights[member] for member in called) > self.weights[path]:
            return self.row(called, path)
        found: list[Block | None] = []
        holders = [member for member in members if member not in called]
        if any(self.blocks_of(holder) for holder in holders):  # lists of blocks: what stands beside them makes tokens, or smaller images
            members = [m for m in members if m in holders or type(self.modules[m]) in self.classes]
        for member in members:
            known = member in called and type(self.modules[member]) in self.classes
            inside = [] if known else self.blocks_of(member)
            alone = known or (not inside and member in called and type(self.modules[path]) in _CONTAINERS)
            found += [self.block(member, path)] if alone else inside
        return sorted((block for block in found if block is not None), key=lambda block: self.position[block.name])

    def is_called(self, path: str) -> bool:
        """Whether a submodule is one of its parent's own, not a mere container, and makes a value that can be tapped."""
        return type(self.modules[path]) not in _CONTAINERS and self.block(path, path) is not None

    def is_row(self, called: Sequence[str]) -> bool:
        """Whether submodules of which some are of one class follow each other."""
        classes = Counter(type(self.modules[path]) for path in called)
        return max(classes.values(), default=0) > 1 and all(self.follows(b, a) for a, b in itertools.pairwise(called))

    def row(self, called: Sequence[str], parent: str) -> list[Block]:
        """Blocks that follow each other; where most are of another type than the one before, they are stages: what is inside these."""
        found = [block for path in called if (block := self.block(path, parent)) is not None]
        if 3 * sum(one.type == other.type for one, other in itertools.pairwise(found)) >= len(found):
            self.classes.update(type(self.modules[path]) for path in called)
            return found
        stages = [self.main(path, self.blocks_of(path)) or [self.block(path, path)] for path in called]
        return [block for blocks in stages for block in blocks if block is not None]

    def main(self, stage: str, blocks: Sequence[Block]) -> Sequence[Block]:
        """Those of the blocks of a stage that lie in its heaviest part, not in what makes its input smaller; none, if they are small."""
        if not all(block.parent == stage for block in blocks):
            parts = {b.name: next(child for child in self.children[stage] if f"{b.name}.".startswith(f"{child}.")) for b in blocks}
            heaviest = max(parts.values(), key=self.weights.__getitem__)
            blocks = [block for block in blocks if parts[block.name] == heaviest]
        return blocks if 2 * sum(self.weights[block.name] for block in blocks) > self.weights[stage] else []

    def follows(self, later: str, earlier: str) -> bool:
        """Whether a submodule is given what another made, perhaps through functions and single layers."""
        wanted = self.position[earlier]
        waiting, seen = list(self.log[self.position[later]].reads), set[int]()
        while waiting:
            position = waiting.pop()
            if position == wanted:
                return True
            call = self.log[position]
            if position > wanted and position not in seen and (call.function or self.weights[call.path] < 2):
                seen.add(position)
                waiting += call.reads
        return False

    # -- where there are no blocks

    def activations(self, start: str) -> list[Block]:
        """The activations of the container that holds most layers next to each other."""
        layers = {
            path: sum(self.weights[child] == 1 for child in children)
            for path, children in self.children.items()
            if path == start or path.startswith(f"{start}." if start else "")
        }
        path = max(layers, key=layers.__getitem__, default="")
        found = [
            self.block(child, path)
            for child in self.children.get(path, ())
            if type(self.modules[child]).__module__ == nn.ReLU.__module__ and self.weights[child] == 0
        ]
        known = sorted((block for block in found if block is not None), key=lambda block: self.position[block.name])
        return known if len(known) > 1 else []

    def first_level(self) -> list[Block]:
        """Submodules of several layers that follow each other, of any class, as far up as there are some."""
        for path in sorted(self.children, key=lambda path: (path.count("."), path != "")):
            members = sorted(
                (child for child in self.children[path] if self.weights[child] > 1 and self.block(child, path) is not None),
                key=self.position.__getitem__,
            )
            if len(members) > 1 and all(self.follows(b, a) for a, b in itertools.pairwise(members)):
                return [block for member in members if (block := self.block(member, path)) is not None]
        return []

    # -- values

    def block(self, path: str, parent: str) -> Block | None:
        """The tap at a submodule; ``None`` if its value is none that belongs into a stage."""
        if path == "" or self.counts[path] != 1:
            return None
        call = self.log[self.position[path]]
        for output in (None, *call.parts):
            if (found := self.spatial(call.part(output), "nchw") or self.spatial(call.part(output), "nhwc")) is not None:
                return Block(path, parent, output, *found)
        return None

    def outer(self, block: Block) -> Block | None:
        """The stage that a block lies in, as a whole: the nearest submodule around it that can be tapped."""
        path = block.name
        while path := path.rpartition(".")[0]:
            if (found := self.block(path, path)) is not None:
                return found
        return None

    def spatial(self, type: ValueType | None, layout: str) -> tuple[Image | Tokens, Layout] | None:
        """A value with positions, and its layout where it has one of its own."""
        if isinstance(type, Tokens):
            return (type, None) if type.length > 1 else None
        if not isinstance(type, Image):
            return None
        if layout == "nchw":
            return (type, None) if self.sizes is None or _scaled(self.sizes, type.height, type.width) else None
        fits = self.sizes is not None and _scaled(self.sizes, type.channels, type.height)
        return (Image(type.width, type.channels, type.height), "nhwc") if fits else None

    def with_layouts(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks; one whose shape fits both layouts has that of the others of its class."""
        clear: dict[type[nn.Module], Layout] = {}
        turned: dict[str, Block] = {}
        for block in blocks:
            as_nhwc = self.spatial(self.log[self.position[block.name]].part(block.output), "nhwc")
            if block.layout is None and as_nhwc is not None:
                turned[block.name] = Block(block.name, block.parent, block.output, *as_nhwc)
            elif isinstance(block.type, Image):
                clear.setdefault(type(self.modules[block.name]), block.layout)
        return [
            turned[block.name] if block.name in turned and clear.get(type(self.modules[block.name])) == "nhwc" else block
            for block in blocks
        ]

    def down(self, blocks: Sequence[Block]) -> list[Block]:
        """The heaviest runs of blocks among those whose resolution never goes up, as it does in a decoder."""
        runs = _runs(blocks, list(zip((block.parent for block in blocks), _levels(blocks), strict=True)))
        best: list[tuple[int, list[Block]]] = []
        for run in runs:
            weight = sum(1 + self.weights[block.name] for block in run)
            nothing: tuple[int, list[Block]] = (0, [])
            before = max(
                (found for found in best if run[0].positions <= 1.5 * found[1][-1].positions), key=lambda found: found[0], default=nothing
            )
            best.append((before[0] + weight, [*before[1], *run]))
        return max(best, key=lambda found: found[0])[1] if best else []


def _scaled(sizes: Sequence[int], rows: int, columns: int) -> bool:
    """Whether rows and columns are those of an image of this size, scaled."""
    return abs(rows - columns * sizes[0] / sizes[1]) < 1 + (sizes[0] != sizes[1])


def _stages(blocks: Sequence[Block]) -> dict[str, TapSpec]:
    """Blocks in order -> stages."""
    if not blocks:
        return {}
    parents, levels = [block.parent for block in blocks], _levels(blocks)
    few = len(set(parents)) <= _STAGES
    groups = _runs(blocks, list(zip(parents, levels, strict=True)) if few else levels)
    if len(groups) == 1:
        groups = _quarters(blocks)
    named = {f"s{i}": group for i, group in enumerate(_one_kind(groups), 1)}
    return {
        stage: TapSpec(match=tuple(block.name for block in group), output=group[0].output, layout=group[0].layout)
        for stage, group in named.items()
    }


def _levels(blocks: Sequence[Block]) -> list[int]:
    """A number for the resolution of each block: it grows where there are clearly other positions; a class token makes none."""
    levels: list[int] = []
    for i, block in enumerate(blocks):
        same = i and 0.8 < block.positions / blocks[i - 1].positions < 1.25
        levels.append(levels[-1] + (not same) if i else 0)
    return levels


def _runs(blocks: Sequence[Block], keys: Iterable[object]) -> list[list[Block]]:
    found = itertools.groupby(zip(keys, blocks, strict=True), key=lambda pair: pair[0])
    return [[block for _, block in pairs] for _, pairs in found]


def _one_kind(groups: Iterable[Sequence[Block]]) -> list[list[Block]]:
    """Groups whose taps are all of one layout and one output."""
    return [run for group in groups for run in _runs(group, [(block.output, block.layout) for block in group])]


def _quarters(blocks: Sequence[Block]) -> list[list[Block]]:
    count = min(_STAGES, len(blocks))
    ends = [round((i + 1) * len(blocks) / count) for i in range(count)]
    return [list(blocks[first:last]) for first, last in itertools.pairwise([0, *ends])]
