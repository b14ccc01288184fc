"""``add`` and ``concat``: several values into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.ops.adapter import channels
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.rules import all_of


class Add(Operation):
    """The sum of two or more values of one type."""

    op: Literal["add"] = "add"

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        values = _several(self, inputs)
        first = values[0]
        for value in values[1:]:
            if value.shape != first.shape:
                raise TypeRuleError(f"add reads values of one type, got {first} and {value}", fix=_to_equal(first, value))
        return next((value for value in values if isinstance(value, Tokens) and value.grid is not None), first)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return Sum()


class Concat(Operation):
    """Two or more values side by side: their channels (of vectors and tokens their width) one after the other."""

    op: Literal["concat"] = "concat"

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        values = _several(self, inputs)
        first, width = values[0], sum(channels(value) for value in values)
        for value in values[1:]:
            if _positions(value) != _positions(first):
                raise TypeRuleError(
                    f"concat reads values that differ in channels only, got {first} and {value}", fix=_to_equal(first, value)
                )
        if isinstance(first, Image):
            return Image(width, first.height, first.width)
        return Vector(width) if isinstance(first, Vector) else Tokens(first.length, width, first.prefix, first.grid)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return Concatenation(dim=1 if isinstance(inputs[0], Image) else -1)


class Sum(nn.Module):
    """Two or more tensors of one shape -> their sum."""

    def forward(self, *values: Tensor) -> Tensor:
        total = values[0] + values[1]
        for value in values[2:]:
            total = total + value
        return total


class Concatenation(nn.Module):
    """Two or more tensors -> one, along ``dim``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *values: Tensor) -> Tensor:
        return torch.cat(values, dim=self.dim)


def _several(op: Operation, inputs: Sequence[ValueType]) -> Sequence[Image | Tokens | Vector]:
    if inputs and isinstance(inputs[0], Tokens):
        return all_of(op, inputs, Tokens, at_least=2)
    if inputs and isinstance(inputs[0], Vector):
        return all_of(op, inputs, Vector, at_least=2)
    return all_of(op, inputs, Image, at_least=2)


def _positions(value: Image | Tokens | Vector) -> tuple[int, ...]:
    return (value.height, value.width) if isinstance(value, Image) else value.shape[:-1]


def _to_equal(first: Image | Tokens | Vector, other: Image | Tokens | Vector) -> str | None:
    """What makes the second value fit the first."""
    if not isinstance(first, Image):
        return f"put a linear with out_features: {first.width} before the second" if _positions(first) == _positions(other) else None
    if _positions(first) != _positions(other):
        return "resize the smaller with an upsample, or give both the same strides"
    return f"put a conv2d with out_channels: {first.channels} before the second"
