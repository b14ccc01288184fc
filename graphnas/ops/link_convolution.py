"""Link operations with weights: ``conv1x1`` and ``conv3x3``, linear and without bias, so that the gate scales the weight."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from graphnas.graph.types import ValueType
from graphnas.ops.adapter import AdaptedOperation, Adapter, adapter
from graphnas.ops.base import LinkModule
from graphnas.ops.gated_map import gated_map
from graphnas.ops.rules import Checked
from graphnas.schema import problem


def _initial(value: Any) -> float | str:
    if value == "kaiming" or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)):
        return value
    raise problem(f"initial is a number (that many times the identity) or kaiming, got {value!r}", "initial: 0")


Initial = Annotated[float | Literal["kaiming"], Checked(_initial, {"anyOf": [{"type": "number"}, {"const": "kaiming"}]})]


class LinkConv1x1(AdaptedOperation):
    """A linear map of the channels, the same at every pixel or token."""

    op: Literal["conv1x1"] = "conv1x1"
    initial: Initial = 0.0
    """The weight at the start: that many times the identity (ones on the diagonal where widths differ), or ``kaiming`` (random)."""

    def macs(self, source: ValueType, destination: ValueType) -> int:
        way = adapter(source, destination, self)
        return math.prod(way.widths) * way.positions

    def build(self, source: ValueType, destination: ValueType) -> LinkModule:
        return ConvolutionLink(adapter(source, destination, self), kernel_size=1, initial=self.initial)


class LinkConv3x3(AdaptedOperation):
    """A 3x3 convolution; tokens are taken to their patch grid and back."""

    op: Literal["conv3x3"] = "conv3x3"
    initial: Initial = 0.0
    """The weight at the start: that many times the identity (in the kernel's middle), or ``kaiming`` (random)."""

    def macs(self, source: ValueType, destination: ValueType) -> int:
        way = adapter(source, destination, self, spatial=True)
        return 9 * math.prod(way.widths) * way.positions

    def build(self, source: ValueType, destination: ValueType) -> LinkModule:
        return ConvolutionLink(adapter(source, destination, self, spatial=True), kernel_size=3, initial=self.initial)


class ConvolutionLink(LinkModule):
    """``gate * op(source)``, computed with the weight ``gate * weight``.

    ``weight`` is (D_out, D_in) for a kernel of 1, whatever the form of the values, else (D_out, D_in, k, k).
    """

    def __init__(self, way: Adapter, *, kernel_size: int, initial: float | str) -> None:
        super().__init__()
        self.way = way
        wide_in, wide_out = way.widths
        if initial == "kaiming":
            weight = torch.empty(wide_out, wide_in, kernel_size, kernel_size)
            nn.init.kaiming_normal_(weight, nonlinearity="linear")
        else:
            weight = torch.zeros(wide_out, wide_in, kernel_size, kernel_size)
            if float(initial):
                weight[:, :, kernel_size // 2, kernel_size // 2].fill_diagonal_(float(initial))
        self.weight = nn.Parameter(weight.flatten(1) if kernel_size == 1 else weight)

    def forward(self, source: Tensor, gate: Tensor | float, destination: Tensor) -> Tensor:
        return self.way(source, lambda x: gated_map(x, self.weight, gate, spatial=self.way.spatial), destination)

    def weight_norm(self) -> Tensor:
        """Frobenius norm over that of the identity: |k| for k times the identity."""
        return frobenius(self.weight) / math.sqrt(min(self.way.widths))


def frobenius(weight: Tensor) -> Tensor:
    """Root of the sum of squares, with the subgradient 0 at 0."""
    return torch.linalg.vector_norm(weight)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
