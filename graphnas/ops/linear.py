"""``linear`` and ``mlp``, at every token alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.ops.activation import ActivationName, activation
from graphnas.ops.base import Operation
from graphnas.ops.rules import one_of
from graphnas.schema import Flag, PositiveInt, Share


class Linear(Operation):
    """vector[D] -> vector[out_features], tokens[L, D] -> tokens[L, out_features]."""

    op: Literal["linear"] = "linear"
    out_features: PositiveInt = Field(examples=[256])
    """Width of the result."""
    bias: Flag = True
    """Whether a learned number is added to every feature."""

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        return with_width(_flat(self, inputs), self.out_features)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value = _flat(self, inputs)
        return _positions(value) * value.width * self.out_features

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return self.out_features * (_flat(self, inputs).width + self.bias)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Linear(_flat(self, inputs).width, self.out_features, self.bias)


class Mlp(Operation):
    """Two linear layers with an activation between; types as those of ``linear``."""

    op: Literal["mlp"] = "mlp"
    hidden_features: PositiveInt = Field(examples=[768])
    """Width between the two layers."""
    out_features: PositiveInt | None = Field(default=None, examples=[64])
    """Left out, as many as the input has."""
    activation: ActivationName = "gelu"
    """Between the two layers."""
    dropout: Share = 0.0
    """Share of features that become zero while training, after either layer."""

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        value = _flat(self, inputs)
        return with_width(value, self.out_features or value.width)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value = _flat(self, inputs)
        return _positions(value) * self.hidden_features * (value.width + (self.out_features or value.width))

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        width = _flat(self, inputs).width
        out = self.out_features or width
        return self.hidden_features * (width + 1) + out * (self.hidden_features + 1)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        width = _flat(self, inputs).width
        return MlpModule(width, self.hidden_features, self.out_features or width, self.activation, self.dropout)


class MlpModule(nn.Module):
    """fc2(dropout(activation(fc1(x)))), then dropout; (..., D) -> (..., out)."""

    def __init__(self, width: int, hidden: int, out: int, activation_name: ActivationName, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation(activation_name)
        self.fc2 = nn.Linear(hidden, out)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


def with_width(value: Tokens | Vector, width: int) -> Tokens | Vector:
    """The same tokens or vector with another width."""
    return Vector(width) if isinstance(value, Vector) else Tokens(value.length, width, value.prefix, value.grid)


def _positions(value: Tokens | Vector) -> int:
    return value.length if isinstance(value, Tokens) else 1


def _flat(op: Operation, inputs: Sequence[ValueType]) -> Tokens | Vector:
    value = one_of(op, inputs, Tokens, Vector, fix="put a node {op: global_avg_pool} before it, or use {op: conv2d, kernel_size: 1}")
    assert not isinstance(value, Image)
    return value
