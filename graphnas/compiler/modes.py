"""Two recordings of a module, in eval and in train mode -> one graph that goes the way of the mode that its modules are in.

What both recordings do stays as it is. What only one does becomes ``run(flag, wanted, ...)``, which does it in that mode and gives ``None``
in the other; where both read different values, they read ``choose(flag, in_train_mode, in_eval_mode)``. A flag is the ``training`` of the
module that the forward asked there, read at run time. The order of each recording is kept, for the sake of random numbers and of what is
changed in place: left without the nodes that do not run in it, the graph is the recording of either mode, however the two were aligned.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from graphnas.compiler.meta import (
    asked_before,
    changed_inputs,
    scope_of,
    set_changed_inputs,
    set_shared_inputs,
    set_type,
    shared_inputs,
    type_of,
)  # fmt: skip
from graphnas.compiler.narrowing import is_list, is_mapping, is_namedtuple, is_tuple
from graphnas.compiler.record import Recording
from graphnas.errors import RecordError

EVAL, TRAIN = False, True


# -- what stands in the graph


def choose(training: Any, in_train_mode: Any, in_eval_mode: Any, /) -> Any:
    """The value of the mode."""
    return in_train_mode if training else in_eval_mode


def run_module(training: Any, wanted: bool, module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
    """Call a module in one mode; ``None`` in the other."""
    return module(*args, **kwargs) if bool(training) is wanted else None


@functools.cache
def run_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``run_module``, for a function: the same one each time, by a name that generated code can use."""

    def run(training: Any, wanted: bool, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if bool(training) is wanted else None

    return _called(run, function.__name__)


@functools.cache
def run_method(name: str) -> Callable[..., Any]:
    """As ``run_function``, for a method of the first argument."""

    def run(training: Any, wanted: bool, value: Any, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, name)(*args, **kwargs) if bool(training) is wanted else None

    return _called(run, name)


def _called(run: Callable[..., Any], name: str) -> Callable[..., Any]:
    run.__name__ = run.__qualname__ = f"run_{name}"
    return run


# -- the merge

Key = tuple[str, int | str | None]  # name of a value, and key of its part if it is one


@dataclass(frozen=True)
class Pair:
    """The nodes of a tap or a prediction: in eval mode, and in train mode if that is known."""

    ours: fx.Node
    theirs: fx.Node | None


def merge(evaluated: Recording, trained: Recording, *, prediction: Pair, paths: Collection[str], taps: Collection[Key]) -> Merged:
    """One recording of both modes.

    Args:
        evaluated: In eval mode.
        trained: In train mode.
        prediction: The nodes of it in both.
        paths: Of all submodules; other names of values count the functions of a forward, which may differ in number.
        taps: The values that are wanted as such.
    Raises:
        RecordError: A tap is computed in one mode only, or is of another type in each.
    """
    return _Merger(evaluated, trained).run(prediction, frozenset(paths), taps)


@dataclass(frozen=True)
class Merged:
    """What stands for both recordings, with the values that were wanted."""

    recording: Recording
    prediction: fx.Node


class _Merger:
    def __init__(self, evaluated: Recording, trained: Recording) -> None:
        self.recordings = {EVAL: evaluated, TRAIN: trained}
        self.graph = fx.Graph()
        self.made: dict[bool, dict[fx.Node, fx.Node]] = {EVAL: {}, TRAIN: {}}  # node of a recording -> node that stands for it
        self.partners: dict[fx.Node, fx.Node] = {}  # node in eval mode -> the same in train mode
        self.attributes: dict[str, fx.Node] = {}
        self.chosen: dict[tuple[fx.Node, fx.Node], fx.Node] = {}
        self.flags: dict[fx.Node, str] = {}  # node whose value depends on the mode -> the module whose mode it is
        self.pairs: dict[fx.Node, list[Pair]] = {}  # node of a recording -> the taps that it takes part in

    def run(self, prediction: Pair, paths: frozenset[str], taps: Collection[Key]) -> Merged:
        evaluated, trained = self.recordings[EVAL].graph, self.recordings[TRAIN].graph
        self.inputs()
        found = {key: pair for key in taps if (pair := self.pair(key, paths)) is not None}
        for pair in found.values():
            if pair.theirs is not None:
                for node in {pair.ours, pair.theirs}:
                    self.pairs.setdefault(node, []).append(pair)
        for region in _regions(_steps(evaluated), _steps(trained)):
            if region.common:
                for ours, theirs in zip(region.ours, region.theirs, strict=True):
                    self.common(ours, theirs)
            else:
                path = _asked([*region.theirs[:1], *region.ours[:1]])
                for mode, nodes in ((TRAIN, region.theirs), (EVAL, region.ours)):
                    for node in nodes:
                        self.single(mode, node, path)
        nodes = {key: self.tap(key, pair) for key, pair in found.items()}
        predicted = self.joined(self.mapped(EVAL, prediction.ours), self.mapped(TRAIN, prediction.theirs), evaluated.output_node())
        ours, theirs = (self.mapped(mode, graph.output_node().args[0]) for mode, graph in ((EVAL, evaluated), (TRAIN, trained)))
        self.graph.output(self.joined(ours, theirs, evaluated.output_node()))
        whole = {name: node for (name, part), node in nodes.items() if part is None}
        parts = {(name, part): node for (name, part), node in nodes.items() if part is not None}
        changed = frozenset(key for key, pair in found.items() if self.is_changed(key, pair))
        return Merged(Recording(self.graph, whole, parts, changed), predicted)

    def inputs(self) -> None:
        made: dict[str, fx.Node] = {}
        for mode, recording in self.recordings.items():
            for node in recording.graph.find_nodes(op="placeholder"):
                name = str(node.target)
                if name not in made:
                    made[name] = self.graph.placeholder(name)
                    set_type(made[name], type_of(node))
                self.made[mode][node] = made[name]

    # -- nodes

    def common(self, ours: fx.Node, theirs: fx.Node) -> None:
        """A node that both modes have."""
        self.partners[ours] = theirs
        args = self.joined(self.mapped(EVAL, ours.args), self.mapped(TRAIN, theirs.args), theirs)
        kwargs = self.joined(self.mapped(EVAL, dict(ours.kwargs)), self.mapped(TRAIN, dict(theirs.kwargs)), theirs)
        node = self.graph.create_node(ours.op, ours.target, args, kwargs)
        self.stands_for(node, {EVAL: ours, TRAIN: theirs})

    def single(self, mode: bool, node: fx.Node, path: str) -> None:
        """A node that one mode has; a module is an argument, so that its name stays one that a state dict and a rewrite know."""
        run, first = _runner(node)
        args = [self.attribute(first)] if first is not None else []
        kwargs = self.mapped(mode, dict(node.kwargs))
        made = self.graph.call_function(run, (self.flag(path), mode, *args, *self.mapped(mode, node.args)), kwargs)
        self.flags[made] = path
        self.stands_for(made, {mode: node})

    def stands_for(self, made: fx.Node, nodes: Mapping[bool, fx.Node]) -> None:
        """Note what a node of the graph stands for, with what is known of that."""
        set_type(made, type_of(next(iter(nodes.values()))))
        inputs = made.all_input_nodes
        for known, note in ((changed_inputs, set_changed_inputs), (shared_inputs, set_shared_inputs)):
            found = {self.read_as(mode, read, inputs) for mode, node in nodes.items() for read in known(node)}
            if found:
                note(made, [i for i, read in enumerate(inputs) if read in found])
        for mode, node in nodes.items():
            self.made[mode][node] = made
        for pair in {pair for node in nodes.values() for pair in self.pairs.get(node, ())}:
            self.settle(pair)

    def read_as(self, mode: bool, node: fx.Node, inputs: Collection[fx.Node]) -> fx.Node:
        """The input of a node of the graph by which it reads this one of the recording."""
        made = self.node(mode, node)
        return (
            next((read for read in inputs if read.target is choose and made in read.all_input_nodes), made) if made not in inputs else made
        )

    def settle(self, pair: Pair) -> None:
        """Once both values of a tap are there, let all that follows read one node."""
        assert pair.theirs is not None
        if pair.ours in self.made[EVAL] and pair.theirs in self.made[TRAIN]:
            both = self.joined(self.made[EVAL][pair.ours], self.made[TRAIN][pair.theirs], pair.theirs)
            self.made[EVAL][pair.ours] = self.made[TRAIN][pair.theirs] = both

    # -- arguments

    def node(self, mode: bool, node: fx.Node) -> fx.Node:
        return self.attribute(str(node.target)) if node.op == "get_attr" else self.made[mode][node]

    def mapped(self, mode: bool, value: Any) -> Any:
        mapped: Any = fx.map_arg(value, lambda node: self.node(mode, node))
        return mapped

    def attribute(self, target: str) -> fx.Node:
        """A parameter, buffer, flag or module: read where it is first needed."""
        if target not in self.attributes:
            self.attributes[target] = self.graph.create_node("get_attr", target, (), {})
        return self.attributes[target]

    def flag(self, path: str) -> fx.Node:
        return self.attribute(f"{path}.training" if path else "training")

    def joined(self, ours: Any, theirs: Any, reader: fx.Node) -> Any:
        """An argument of both: itself where it is the same, else chosen at run time, as deep inside as it can be."""
        if isinstance(ours, fx.Node) and isinstance(theirs, fx.Node):
            if ours is not theirs and (ours, theirs) not in self.chosen:
                self.chosen[ours, theirs] = self.choice(ours, theirs, reader)
            return ours if ours is theirs else self.chosen[ours, theirs]
        if type(ours) is type(theirs):
            if (is_tuple(ours) or is_list(ours)) and len(ours) == len(theirs):
                parts = [self.joined(one, other, reader) for one, other in zip(ours, theirs, strict=True)]
                return type(ours)(*parts) if is_namedtuple(ours) else type(ours)(parts)
            if is_mapping(ours) and list(ours) == list(theirs):
                return {key: self.joined(value, theirs[key], reader) for key, value in ours.items()}
            if ours == theirs:
                return ours
        return self.choice(ours, theirs, reader)

    def choice(self, ours: Any, theirs: Any, reader: fx.Node) -> fx.Node:
        read = [*_nodes(theirs), *_nodes(ours)]
        path = next((self.flags[node] for node in read if node in self.flags), None)
        path = _asked([reader]) if path is None else path
        made = self.graph.call_function(choose, (self.flag(path), theirs, ours))
        self.flags[made] = path
        inputs = made.all_input_nodes
        set_shared_inputs(made, [i for i, node in enumerate(inputs) if node in read])
        if isinstance(ours, fx.Node):
            set_type(made, type_of(ours) or (type_of(theirs) if isinstance(theirs, fx.Node) else None))
        return made

    # -- taps

    def pair(self, key: Key, paths: frozenset[str]) -> Pair | None:
        """The nodes of a tap; ``None`` where it is no tensor in eval mode."""
        ours = _found(self.recordings[EVAL], key)
        if ours is None:
            return None
        theirs = _found(self.recordings[TRAIN], key) if key[0] in paths else None
        if key[0] in paths and theirs is None:
            raise _one_mode(key, "eval")
        return Pair(ours, theirs)

    def tap(self, key: Key, pair: Pair) -> fx.Node:
        theirs = pair.theirs if pair.theirs is not None else self.partners.get(pair.ours)
        if theirs is None:
            raise _one_mode(key, "eval")
        if type_of(pair.ours) != type_of(theirs):
            raise RecordError(f"tap {key[0]!r} is {type_of(pair.ours)} in eval mode and {type_of(theirs)} in train mode", fix=_OTHER_TAP)
        return self.made[EVAL][pair.ours]

    def is_changed(self, key: Key, pair: Pair) -> bool:
        evaluated, trained = self.recordings[EVAL], self.recordings[TRAIN]
        theirs = pair.theirs if pair.theirs is not None else self.partners.get(pair.ours)
        return key in evaluated.changed or theirs in [_found(trained, other) for other in trained.changed]


_OTHER_TAP = "tap a value that both modes compute alike"


def _one_mode(key: Key, mode: str) -> RecordError:
    return RecordError(f"tap {key[0]!r} is computed in {mode} mode only", fix=_OTHER_TAP)


def _found(recording: Recording, key: Key) -> fx.Node | None:
    name, part = key
    return recording.values.get(name) if part is None else recording.parts.get((name, part))


def _nodes(value: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(value, lambda node: (found.append(node), node)[1])
    return found


def _asked(nodes: Iterable[fx.Node]) -> str:
    """The module whose mode led to these nodes: the last whose flag was looked at, else the one whose forward ran."""
    found = list(nodes)
    asked = [path for node in found for path in asked_before(node)[-1:]]
    return asked[0] if asked else scope_of(found[0])


def _runner(node: fx.Node) -> tuple[Callable[..., Any], str | None]:
    """What runs a node in one mode, and which module it needs for that."""
    if node.op == "call_module":
        return run_module, str(node.target)
    return (run_method(str(node.target)) if node.op == "call_method" else run_function(node.target)), None


# -- which nodes are the same


@dataclass(frozen=True)
class _Region:
    """Consecutive nodes of both recordings: the same one by one, or of one mode each."""

    ours: Sequence[fx.Node]
    theirs: Sequence[fx.Node]
    common: bool


def _steps(graph: fx.Graph) -> list[fx.Node]:
    """What a recording does; what it only reads has no place in the order."""
    return [node for node in graph.nodes if node.op not in ("placeholder", "get_attr", "output")]


def _regions(ours: list[fx.Node], theirs: list[fx.Node]) -> Iterator[_Region]:
    first, second = [_words(node) for node in ours], [_words(node) for node in theirs]
    shortest = min(len(first), len(second))
    start = next((i for i in range(shortest) if first[i] != second[i]), shortest)
    end = next((i for i in range(shortest - start) if first[-1 - i] != second[-1 - i]), shortest - start)
    yield _Region(ours[:start], theirs[:start], common=True)
    middle = difflib.SequenceMatcher(None, first[start : len(first) - end], second[start : len(second) - end], autojunk=False)
    for tag, i, j, k, n in middle.get_opcodes():
        yield _Region(ours[start + i : start + j], theirs[start + k : start + n], common=tag == "equal")
    yield _Region(ours[len(ours) - end :], theirs[len(theirs) - end :], common=True)


def _words(node: fx.Node) -> Hashable:
    return node.op, node.target, scope_of(node), len(node.args), tuple(node.kwargs)
