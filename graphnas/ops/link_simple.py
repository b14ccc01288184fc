"""Link operations without a weight of their own: ``identity`` and ``none``."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from graphnas.graph.types import ValueType
from graphnas.ops.adapter import AdaptedOperation, Adapter, adapter
from graphnas.ops.base import LinkModule, LinkOperation
from graphnas.ops.link_convolution import ConvolutionLink


class LinkIdentity(AdaptedOperation):
    """The value as it is; where widths differ a 1x1 convolution adapts it, which starts as ones on the diagonal."""

    op: Literal["identity"] = "identity"

    def macs(self, source: ValueType, destination: ValueType) -> int:
        if source == destination:
            return 0
        way = adapter(source, destination, self)
        return 0 if way.widths[0] == way.widths[1] else math.prod(way.widths) * way.positions

    def build(self, source: ValueType, destination: ValueType) -> LinkModule:
        if source == destination:
            return IdentityLink(None)
        way = adapter(source, destination, self)
        return IdentityLink(way) if way.widths[0] == way.widths[1] else ConvolutionLink(way, kernel_size=1, initial=1.0)


class LinkNone(LinkOperation):
    """No value: the candidate that a link should rather not be."""

    op: Literal["none"] = "none"

    def macs(self, source: ValueType, destination: ValueType) -> int:
        return 0

    def build(self, source: ValueType, destination: ValueType) -> None:
        return None


class IdentityLink(LinkModule):
    """``gate * source``, adapted in layout and resolution only; ``way`` is ``None`` where the forms agree."""

    gain: Tensor

    def __init__(self, way: Adapter | None) -> None:
        super().__init__()
        self.way = way
        self.register_buffer("gain", torch.ones(()), persistent=False)  # a buffer: on the device of the weights of other candidates

    def forward(self, source: Tensor, gate: Tensor | float, destination: Tensor) -> Tensor:
        return gate * (source if self.way is None else self.way(source, lambda x: x, destination))

    def weight_norm(self) -> Tensor:
        return self.gain
