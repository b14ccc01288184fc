"""``batch_norm``, ``layer_norm`` and ``group_norm``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, ValueType, Vector
from graphnas.ops.adapter import channels
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.rules import one, one_of
from graphnas.schema import PositiveInt, PositiveNumber, Share


class BatchNorm(Operation):
    """Every channel to mean 0 and variance 1 over the batch (and the pixels), then a learned scale and shift; keeps image or vector."""

    op: Literal["batch_norm"] = "batch_norm"
    eps: PositiveNumber = 1e-5
    """Added to the variance, against division by zero."""
    momentum: Share = 0.1
    """Weight of a batch in the running statistics."""

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        return one_of(self, inputs, Image, Vector)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 2 * channels(self.infer(inputs))

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        value = self.infer(inputs)
        kind = nn.BatchNorm2d if isinstance(value, Image) else nn.BatchNorm1d
        return kind(channels(value), eps=self.eps, momentum=self.momentum)


class LayerNorm(Operation):
    """Every token, vector or pixel to mean 0 and variance 1 over its channels, then a learned scale and shift; keeps the type."""

    op: Literal["layer_norm"] = "layer_norm"
    eps: PositiveNumber = 1e-5
    """Added to the variance, against division by zero."""

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        return one_of(self, inputs)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 2 * channels(self.infer(inputs))

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        value = self.infer(inputs)
        return (ImageLayerNorm if isinstance(value, Image) else nn.LayerNorm)(channels(value), eps=self.eps)


class ImageLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GroupNorm(Operation):
    """Every group of an image's channels to mean 0 and variance 1, then a learned scale and shift; keeps the type."""

    op: Literal["group_norm"] = "group_norm"
    groups: PositiveInt = Field(examples=[8])
    """Into how many groups the channels are divided."""
    eps: PositiveNumber = 1e-5
    """Added to the variance, against division by zero."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        value = one(self, inputs, Image)
        if value.channels % self.groups:
            raise TypeRuleError(
                f"{value.channels} channels do not divide into {self.groups} groups", field="groups", fix=f"a divisor of {value.channels}"
            )
        return value

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 2 * self.infer(inputs).channels

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.GroupNorm(self.groups, self.infer(inputs).channels, eps=self.eps)
