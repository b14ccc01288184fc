"""Heads: features of an encoder -> a prediction. ``linear_head`` and ``fpn_head`` (arXiv:1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.ops.adapter import channels
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.grid import resize
from graphnas.ops.pooling import MeanPool
from graphnas.ops.rules import all_of, one_of
from graphnas.schema import PositiveInt, Share


class LinearHead(Operation):
    """image[C, H, W], tokens[L, D] or vector[D] -> vector[out_channels]: pooled, then a linear layer."""

    op: Literal["linear_head"] = "linear_head"
    out_channels: PositiveInt = Field(examples=[3])
    """Channels of the prediction."""
    pool: Literal["mean", "class_token"] = "mean"
    """mean: of the pixels or patches; class_token: the first of the tokens."""
    dropout: Share = 0.0
    """Share of the pooled features that become zero while training."""

    def infer(self, inputs: Sequence[ValueType]) -> Vector:
        value = one_of(self, inputs)
        if self.pool == "class_token" and not (isinstance(value, Tokens) and value.prefix):
            raise TypeRuleError(f"{value} has no class token", field="pool", fix="pool: mean")
        return Vector(self.out_channels)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return channels(one_of(self, inputs)) * self.out_channels

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return (channels(one_of(self, inputs)) + 1) * self.out_channels

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return PooledLinear(one_of(self, inputs), self.out_channels, self.dropout, class_token=self.pool == "class_token")


class FpnHead(Operation):
    """K images of any resolutions -> image[out_channels, H', W'], ``scale`` times the finest.

    Every image goes through a 1x1 convolution to ``channels``; from the coarsest on, each is resized to and added to the next finer; the
    finest sum goes through a 3x3 convolution, batch norm and relu, and a 1x1 convolution to the prediction, which is resized bilinearly.
    """

    op: Literal["fpn_head"] = "fpn_head"
    out_channels: PositiveInt = Field(examples=[3])
    """Channels of the prediction."""
    channels: PositiveInt = 64
    """Width of the head."""
    scale: PositiveInt = 1
    """How many times as high and wide as the finest input the prediction is: its stride in the image makes it the image's size."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        finest = _fine_to_coarse(all_of(self, inputs, Image))[0][1]
        return Image(self.out_channels, finest.height * self.scale, finest.width * self.scale)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        values = all_of(self, inputs, Image)
        finest = _fine_to_coarse(values)[0][1]
        laterals = sum(value.channels * self.channels * value.height * value.width for value in values)
        return laterals + self.channels * (9 * self.channels + self.out_channels) * finest.height * finest.width

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        laterals = sum((value.channels + 1) * self.channels for value in all_of(self, inputs, Image))
        return laterals + 9 * self.channels**2 + 2 * self.channels + (self.channels + 1) * self.out_channels

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return FeaturePyramid(all_of(self, inputs, Image), self.channels, self.out_channels, self.scale)


class PooledLinear(nn.Module):
    """(N, C, H, W), (N, L, D) or (N, D) -> (N, out)."""

    def __init__(self, value: Image | Tokens | Vector, out: int, dropout: float, *, class_token: bool) -> None:
        super().__init__()
        self.pool = FirstToken() if class_token else MeanPool(value)
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(channels(value), out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.drop(self.pool(x)))


class FirstToken(nn.Module):
    """(N, L, D) -> (N, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class FeaturePyramid(nn.Module):
    """K images (N, C_i, H_i, W_i) -> (N, out, scale H, scale W) of the finest."""

    def __init__(self, values: Sequence[Image], width: int, out: int, scale: int) -> None:
        super().__init__()
        self.order = [index for index, _ in reversed(_fine_to_coarse(values))]
        self.scale = scale
        self.lateral = nn.ModuleList(nn.Conv2d(value.channels, width, 1) for value in values)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.predict = nn.Conv2d(width, out, 1)

    def forward(self, *features: Tensor) -> Tensor:
        coarsest, *finer = self.order
        x = self.lateral[coarsest](features[coarsest])
        for index in finer:
            lateral = self.lateral[index](features[index])
            x = lateral + resize(x, (lateral.shape[2], lateral.shape[3]))
        x = self.predict(F.relu(self.norm(self.conv(x)), inplace=True))
        return resize(x, (x.shape[2] * self.scale, x.shape[3] * self.scale))


def _fine_to_coarse(values: Sequence[Image]) -> list[tuple[int, Image]]:
    return sorted(enumerate(values), key=lambda entry: -entry[1].height * entry[1].width)
