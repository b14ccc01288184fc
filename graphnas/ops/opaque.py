"""Operations whose module comes from elsewhere: a library, or a class of the user's own. What is inside is found out by running it once.

The run is on torch's meta device: shapes and multiply-accumulates without memory or arithmetic. A module that can't be built or run there
is built and run for real.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphnas.errors import suggest
from graphnas.graph.types import Ids, Image, Mask, Other, Tokens, ValueType, type_of_shape
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.fitting import fitting_size, own_size
from graphnas.ops.output import Key, key_of, named_part, parts_of, value_of
from graphnas.ops.patches import Network
from graphnas.schema import Int, Text

_UNFETCHED: ContextVar[bool] = ContextVar("unfetched", default=False)
_BATCH = 2  # a batch norm that sees one value a channel refuses one sample


@contextlib.contextmanager
def without_published_weights() -> Generator[None]:
    """Build networks without published weights, for other weights to be loaded into: nothing is fetched."""
    token = _UNFETCHED.set(True)
    try:
        yield
    finally:
        _UNFETCHED.reset(token)


def published_weights_wanted() -> bool:
    """Whether what is built now is to have them."""
    return not _UNFETCHED.get()


class Opaque(Operation, ABC):
    """A module made elsewhere; its keys below the node's name are its own, and any of its submodules' values may be read."""

    by_name: ClassVar[bool] = True
    output: Int | Text | None = Field(default=None, examples=["logits"])
    """Which part of what it returns is the node's value: a name or an index; its logits, out, last_hidden_state, if left out."""

    @abstractmethod
    def module(self, *, pretrained: bool) -> nn.Module:
        """The module; without pretrained weights where only its structure is wanted."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What the module is called in messages: ``timm's resnet18``."""

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        return _findings(self, inputs).result

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return _findings(self, inputs).macs

    def macs_until(self, inputs: Sequence[ValueType], names: Sequence[str]) -> int:
        counts = _findings(self, inputs).macs_until
        return max(counts[name] for name in names)

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return _findings(self, inputs).parameters

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return self.module(pretrained=published_weights_wanted())

    def inner(self, inputs: Sequence[ValueType]) -> Mapping[str, ValueType]:
        return _findings(self, inputs).inner

    def selection(self, inputs: Sequence[ValueType]) -> Selection | None:
        """How to take the node's value out of what the module returns; ``None`` where that is the value itself."""
        return _findings(self, inputs).selection


@dataclass(frozen=True)
class Selection:
    """Which part of what a module returns is its value.

    Args:
        key: Name or number of the part.
        channel: Whether the part, (N, H, W), is an image of one channel that lacks its dimension.
    """

    key: Key
    channel: bool = False


@dataclass(frozen=True)
class Findings:
    """What one run of a module told, for one sample.

    Args:
        result: The type of what it returns.
        inner: Path of each submodule that returned a tensor, ``path[key]`` of a part where it returned several -> type; of several calls
            the last.
        macs: Multiply-accumulates.
        macs_until: Path -> multiply-accumulates when that submodule returned.
        parameters: Number of parameters.
        selection: How the value is taken out of what it returns.
    """

    result: ValueType
    inner: Mapping[str, ValueType]
    macs: int
    macs_until: Mapping[str, int]
    parameters: int
    selection: Selection | None


def _findings(op: Opaque, inputs: Sequence[ValueType]) -> Findings:
    plain = op.model_copy(update={"inputs": None, "repeat": 1})
    names = op.argument_names(inputs)
    return _cached_findings(plain, tuple(inputs), names)  # pyright: ignore[reportArgumentType] (a Spec has a hash)


@lru_cache(maxsize=256)
def _cached_findings(op: Opaque, inputs: tuple[ValueType, ...], names: tuple[str, ...] | None) -> Findings:
    try:
        with untouched_random_state():
            with torch.device("meta"):
                module = op.module(pretrained=False)
            return _run(op, module, inputs, names, "meta")
    except TypeRuleError:
        raise
    except Exception:  # noqa: BLE001 - whatever a third-party module does there, the real run decides
        return _real_findings(op, inputs, names)


def _real_findings(op: Opaque, inputs: tuple[ValueType, ...], names: tuple[str, ...] | None) -> Findings:
    with untouched_random_state():
        module = op.module(pretrained=False)
        try:
            return _run(op, module, inputs, names, "cpu")
        except TypeRuleError:
            raise
        except Exception as error:
            given = ", ".join(str(value) for value in inputs)
            fix = fitting_size(lambda others: _takes(op, others, names), inputs, own_size(module))
            raise TypeRuleError(f"{op.label} does not take {given}: {first_line(error)}", fix=fix) from error


def _takes(op: Opaque, inputs: Sequence[ValueType], names: tuple[str, ...] | None) -> bool:
    try:
        with untouched_random_state():
            with torch.device("meta"):
                module = op.module(pretrained=False)
            _run(op, module, inputs, names, "meta")
    except Exception:  # noqa: BLE001 - third-party code
        return False
    return True


def _run(op: Opaque, module: nn.Module, inputs: Sequence[ValueType], names: tuple[str, ...] | None, device: str) -> Findings:
    examples = [example(value, _BATCH, device) for value in inputs]
    inner: dict[str, ValueType] = {}
    until: dict[str, int] = {}
    counter = FlopCounterMode(display=False)

    network = Network(module, inputs)

    def note(name: str, value: object) -> None:
        made = {name: value} if isinstance(value, Tensor) else {named_part(name, key): part for key, part in parts_of(value).items()}
        for path, part in made.items():
            inner.pop(path, None)  # of several calls the last, in order of execution
            inner[path] = _type(part, network, name)
            until[path] = _macs(counter)
        if isinstance(module.get_submodule(name), nn.Conv2d):
            network.note(inner.get(name))

    _require_arguments(op, module, names)
    handles = [submodule.register_forward_hook(_hook(note, name)) for name, submodule in submodules(module)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.requires_grad_(False)  # the counter's hooks fail on a parameter that is handed to a submodule
        with counter, sdpa_kernel(SDPBackend.MATH):  # it has no formula for the fused attention of CPUs
            returned = _called(module.eval(), examples, names)
        for handle in handles:
            handle.remove()
        trained: object = None
        with contextlib.suppress(Exception):  # what does not train says so where it is trained
            trained = _called(module.train(), examples, names)
    selection = _selection(op, returned, trained)
    result = returned if selection is None else value_of(returned, selection.key)
    found = _type(result, network, "")
    if selection is not None and selection.channel and isinstance(found, Tokens):
        found = Image(1, *found.shape)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Findings(found, inner, _macs(counter), until, parameters, selection)


def _called(module: nn.Module, values: Sequence[Tensor], names: tuple[str, ...] | None) -> Any:
    return module(*values) if names is None else module(**dict(zip(names, values, strict=True)))


def _require_arguments(op: Opaque, module: nn.Module, names: tuple[str, ...] | None) -> None:
    known = inspect.signature(module.forward).parameters
    for name in names or ():
        if name not in known and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            raise TypeRuleError(f"{op.label} reads no {name!r}", fix=suggest(name, known))


def _selection(op: Opaque, returned: object, trained: object) -> Selection | None:
    """Which part is the value; in eval and in train mode a module may return one tensor or several."""
    several = next((one for one in (returned, trained) if one is not None and not isinstance(one, Tensor)), None)
    if several is None:
        if op.output is None:
            return None
        raise TypeRuleError(f"{op.label} returns one tensor, no output {op.output!r}", field="output", fix="leave output out")
    parts = parts_of(several)
    key = key_of(parts, op.output)
    if key is not None:
        return Selection(key, channel=key == "predicted_depth")
    if not parts:
        raise TypeRuleError(f"{op.label} returns {type(several).__name__}, and a node has one tensor as its value")
    if op.output is not None:
        fix = suggest(str(op.output), map(str, parts))
        raise TypeRuleError(f"{op.label} has no output {op.output!r}", field="output", fix=fix)
    listed = ", ".join(map(str, parts))
    raise TypeRuleError(f"{op.label} returns several tensors: {listed}", field="output", fix=f"output: {next(iter(parts))}")


def submodules(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module inside, with its path."""
    untyped: Any = module
    return list(untyped.named_modules())[1:]


@contextlib.contextmanager
def untouched_random_state() -> Generator[None]:
    """Leave torch's random state as it was."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _hook(note: Any, name: str) -> Any:
    def hook(module: nn.Module, args: object, value: object) -> None:
        note(name, value)

    return hook


def _macs(counter: FlopCounterMode) -> int:
    return counter.get_total_flops() // (2 * _BATCH)


def example(value: ValueType, batch: int, device: str = "cpu") -> Tensor:
    """Zeros of this type; of a mask ones, under which there is something to attend to."""
    if isinstance(value, Mask):
        return torch.ones(batch, *value.shape, dtype=torch.bool, device=device)
    return torch.zeros(batch, *value.shape, dtype=torch.long if isinstance(value, Ids) else torch.float32, device=device)


def first_line(error: Exception) -> str:
    """What an error of third-party code says, in one line: the first, and the second where the first ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _type(value: Tensor, network: Network, path: str) -> ValueType:
    shape = tuple(value.shape[1:])
    if value.shape[:1] != (_BATCH,):
        return Other(tuple(value.shape))  # not one value a sample: windows, stacked branches
    if len(shape) == 3 and network.channels_last(path):
        return Other(shape)
    return network.with_patches(type_of_shape(shape, floating=value.is_floating_point()), path)
