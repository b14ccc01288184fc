"""Operations whose module comes from elsewhere: a library, or a class of the user's own. What is inside is found out by running it once.

The run is on torch's meta device: shapes and multiply-accumulates without memory or arithmetic. A module that can't be built or run there
is built and run for real.
"""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graphnas.graph.types import Ids, Mask, Other, ValueType, type_of_shape
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.patches import Network

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


class Opaque(Operation, ABC):
    """A module made elsewhere; its keys below the node's name are its own, and any of its submodules' values may be read."""

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
        return self.module(pretrained=not _UNFETCHED.get())

    def inner(self, inputs: Sequence[ValueType]) -> Mapping[str, ValueType]:
        return _findings(self, inputs).inner


@dataclass(frozen=True)
class Findings:
    """What one run of a module told, for one sample.

    Args:
        result: The type of what it returns.
        inner: Path of each submodule that returned a tensor -> its type; of several calls the last.
        macs: Multiply-accumulates.
        macs_until: Path -> multiply-accumulates when that submodule returned.
        parameters: Number of parameters.
    """

    result: ValueType
    inner: Mapping[str, ValueType]
    macs: int
    macs_until: Mapping[str, int]
    parameters: int


def _findings(op: Opaque, inputs: Sequence[ValueType]) -> Findings:
    plain = op.model_copy(update={"inputs": None, "repeat": 1})
    return _cached_findings(plain, tuple(inputs))  # pyright: ignore[reportArgumentType] (a Spec has a hash)


@lru_cache(maxsize=256)
def _cached_findings(op: Opaque, inputs: tuple[ValueType, ...]) -> Findings:
    try:
        with untouched_random_state(), torch.device("meta"):
            module = op.module(pretrained=False)
        return _run(op, module, inputs, "meta")
    except TypeRuleError:
        raise
    except Exception:  # noqa: BLE001 - whatever a third-party module does there, the real run decides
        return _real_findings(op, inputs)


def _real_findings(op: Opaque, inputs: tuple[ValueType, ...]) -> Findings:
    with untouched_random_state():
        module = op.module(pretrained=False)
        try:
            return _run(op, module, inputs, "cpu")
        except TypeRuleError:
            raise
        except Exception as error:
            given = ", ".join(str(value) for value in inputs)
            raise TypeRuleError(f"{op.label} does not take {given}: {first_line(error)}") from error


def _run(op: Opaque, module: nn.Module, inputs: Sequence[ValueType], device: str) -> Findings:
    examples = [example(value, _BATCH, device) for value in inputs]
    inner: dict[str, ValueType] = {}
    until: dict[str, int] = {}
    counter = FlopCounterMode(display=False)

    network = Network(module, inputs)

    def note(name: str, value: object) -> None:
        network.note(module.get_submodule(name), value)
        if isinstance(value, Tensor):
            inner.pop(name, None)  # of several calls the last, in order of execution
            inner[name] = _type(value, network, name)
            until[name] = _macs(counter)

    handles = [submodule.register_forward_hook(_hook(note, name)) for name, submodule in submodules(module)]
    module.eval()
    with torch.no_grad(), counter, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: object = module(*examples)
    for handle in handles:
        handle.remove()
    if not isinstance(result, Tensor):
        raise TypeRuleError(f"{op.label} returns {type(result).__name__}, and a node has one tensor as its value")
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Findings(_type(result, network, ""), inner, _macs(counter), until, parameters)


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
    """Zeros of this type."""
    dtype = torch.long if isinstance(value, Ids) else torch.bool if isinstance(value, Mask) else torch.float32
    return torch.zeros(batch, *value.shape, dtype=dtype, device=device)


def first_line(error: Exception) -> str:
    """What an error of third-party code says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _type(value: Tensor, network: Network, path: str) -> ValueType:
    shape = tuple(value.shape[1:])
    if value.shape[:1] != (_BATCH,):
        return Other(tuple(value.shape))  # not one value a sample: windows, stacked branches
    if len(shape) == 3 and network.channels_last(path):
        return Other(shape)
    return network.with_patches(type_of_shape(shape, floating=value.is_floating_point()), path)
