"""Sizes and flags of a recorded run: numbers that remember where they come from, and become nodes only where a node reads them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import fx

from graphnas.compiler.narrowing import is_plain_dict, is_slice


class Maker(Protocol):
    """The recorder, as far as numbers need it."""

    @property
    def graph(self) -> fx.Graph: ...

    def as_node(self, value: Any) -> Any: ...

    def asked(self, path: str) -> None: ...


@dataclass
class Value:
    """Where a Python object of the run comes from: a node, or a part of one that becomes a node when it is first used."""

    node: fx.Node | None = None
    make: Callable[[], fx.Node] | None = None
    version: int = 0
    keep: Any = field(default=None, repr=False)  # the object itself, so that its id is not given away

    def resolve(self) -> fx.Node:
        if self.node is None:
            assert self.make is not None
            self.node = self.make()
        return self.node


class RecordedFlag(int):
    """An ancestor's ``training``: its value now, and the node that reads it again at run time."""

    def __new__(cls, value: bool, recorder: Maker, path: str) -> RecordedFlag:
        made = super().__new__(cls, bool(value))
        made.recorder, made.path, made.node = recorder, path, None
        return made

    recorder: Maker
    path: str
    node: fx.Node | None

    def resolve(self) -> fx.Node:
        if self.node is None:
            target = f"{self.path}.training" if self.path else "training"
            self.node = self.recorder.graph.create_node("get_attr", target, (), {})
        return self.node

    def __bool__(self) -> bool:
        self.recorder.asked(self.path)
        return int(self) != 0

    def __repr__(self) -> str:
        return repr(int(self) != 0)


class RecordedInt(int):
    """A size of the run that records the arithmetic done with it; becomes nodes only where a node reads it."""

    def __new__(cls, value: int, make: Callable[[], fx.Node], recorder: Maker) -> RecordedInt:
        made = super().__new__(cls, value)
        made.value, made.recorder = Value(make=make), recorder
        return made

    value: Value
    recorder: Maker

    def resolve(self) -> fx.Node:
        return self.value.resolve()

    def __reduce__(self) -> Any:
        return int, (int(self),)


class RecordedFloat(float):
    """As ``RecordedInt``, for the quotients of sizes."""

    value: Value
    recorder: Maker

    def __new__(cls, value: float, make: Callable[[], fx.Node], recorder: Maker) -> RecordedFloat:
        made = super().__new__(cls, value)
        made.value, made.recorder = Value(make=make), recorder
        return made

    def resolve(self) -> fx.Node:
        return self.value.resolve()


def _arithmetic(name: str, function: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    reverse = name.startswith("__r") and name not in ("__round__", "__rshift__")

    def method(self: RecordedInt | RecordedFloat, *others: Any) -> Any:
        result = plain(self, *others)
        if result is NotImplemented and others and isinstance(others[0], float) and not reverse:  # size * 0.5; 0.5 * size asks float alone
            result = function(float(self), others[0])
        if result is NotImplemented or not isinstance(result, (int, float)):
            return result
        operands = (*reversed(others), self) if reverse else (self, *others)
        recorder = self.recorder

        def make() -> fx.Node:
            return recorder.graph.call_function(function, tuple(recorder.as_node(operand) for operand in operands))

        return RecordedInt(result, make, recorder) if isinstance(result, int) else RecordedFloat(result, make, recorder)

    return method


_BINARY = ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "rshift", "lshift")  # as they are called in ``operator``
_UNARY: dict[str, Callable[..., Any]] = {
    "__neg__": operator.neg,
    "__abs__": abs,
    "__round__": round,
    "__ceil__": math.ceil,
    "__floor__": math.floor,
    "__trunc__": math.trunc,
}
for _kind, _base in ((RecordedInt, int), (RecordedFloat, float)):
    for _name in _BINARY:
        for _method in (f"__{_name}__", f"__r{_name}__"):
            if hasattr(_base, _method):
                setattr(_kind, _method, _arithmetic(_method, getattr(operator, _name), getattr(_base, _method)))
    for _method, _function in _UNARY.items():
        setattr(_kind, _method, _arithmetic(_method, _function, getattr(_base, _method)))


def plain(value: Any) -> Any:
    """The argument without recorded sizes and flags."""
    if isinstance(value, RecordedFlag):
        return int(value) != 0
    if isinstance(value, RecordedInt):
        return int(value)
    if isinstance(value, RecordedFloat):
        return float(value)
    if is_slice(value):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    if type(value) in (tuple, list):  # not ``isinstance``: what a class of its own holds is its own business
        return type(value)([plain(part) for part in value])
    if isinstance(value, torch.Size):
        return torch.Size([int(size) for size in value])
    if is_plain_dict(value):
        return {key: plain(part) for key, part in value.items()}
    return value
