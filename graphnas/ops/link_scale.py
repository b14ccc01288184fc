"""``scale``: a trained factor for every channel, or one for the whole value; what a cross-stitch unit multiplies with (arXiv:1604.03539).

op(y)_c = f_c y_c  (per: channel)      op(y) = f y  (per: tap)
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from graphnas.graph.types import ValueType
from graphnas.ops.adapter import AdaptedOperation, Adapter, adapter, channels
from graphnas.ops.base import LinkModule, TypeRuleError
from graphnas.ops.link_convolution import frobenius
from graphnas.schema import Number


class LinkScale(AdaptedOperation):
    """The value times factors that are trained with the weights, for a source and a destination of the same width."""

    op: Literal["scale"] = "scale"
    initial: Number = 0.0
    """The factors at the start."""
    per: Literal["channel", "tap"] = "channel"
    """A factor for each channel, or one for the whole value."""

    def macs(self, source: ValueType, destination: ValueType) -> int:
        return 0  # products of elements are not counted, as in torch's counter

    def build(self, source: ValueType, destination: ValueType) -> LinkModule:
        way = adapter(source, destination, self)
        if way.widths[0] != way.widths[1]:
            raise TypeRuleError(f"scale joins values of the same width, got {source} and {destination}", fix="op: conv1x1")
        return ScaleLink(way, count=channels(source) if self.per == "channel" else 1, initial=self.initial)


class ScaleLink(LinkModule):
    """``gate * factor * source``, computed as ``(gate * factor) * source``; ``factor`` is (C,), or (1,)."""

    def __init__(self, way: Adapter, *, count: int, initial: float) -> None:
        super().__init__()
        self.way = way
        self.factor = nn.Parameter(torch.full((count,), float(initial)))

    def forward(self, source: Tensor, gate: Tensor | float, destination: Tensor) -> Tensor:
        factor = gate * self.factor
        if not self.way.spatial:
            return factor * source
        return self.way(source, lambda x: factor[:, None, None] * x, destination)

    def weight_norm(self) -> Tensor:
        """Root mean square of the factors, with the subgradient 0 at 0."""
        return frobenius(self.factor) / math.sqrt(len(self.factor))
