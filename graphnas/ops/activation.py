"""Activations, never in place: another node may read the same value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from graphnas.graph.types import ValueType
from graphnas.ops.elementwise import Elementwise
from graphnas.schema import NonNegativeNumber

ActivationName = Literal["relu", "gelu", "silu", "tanh", "none"]


def activation(name: ActivationName) -> nn.Module:
    """The module of an activation that is a parameter of something larger."""
    modules = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "none": nn.Identity}
    return modules[name]()


class Relu(Elementwise):
    """max(x, 0)."""

    op: Literal["relu"] = "relu"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.ReLU()


class Gelu(Elementwise):
    """x Phi(x), with the distribution function Phi of the normal distribution."""

    op: Literal["gelu"] = "gelu"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.GELU()


class Silu(Elementwise):
    """x sigmoid(x)."""

    op: Literal["silu"] = "silu"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.SiLU()


class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    op: Literal["sigmoid"] = "sigmoid"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Sigmoid()


class Tanh(Elementwise):
    """Hyperbolic tangent."""

    op: Literal["tanh"] = "tanh"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Tanh()


class LeakyRelu(Elementwise):
    """max(x, slope x)."""

    op: Literal["leaky_relu"] = "leaky_relu"
    slope: NonNegativeNumber = 0.01
    """Slope below zero."""

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.LeakyReLU(self.slope)
