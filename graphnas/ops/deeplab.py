"""``deeplab_head``: convolutions with holes over the last feature map, summed over their rates.

Two forms, both of DeepLab. With hidden layers and one rate of 12 it is LargeFOV (arXiv:1412.7062), as in NDDR-CNN and MTL-NAS
(arXiv:1801.08297, arXiv:2003.14058); without, and with rates 6, 12, 18 and 24, it is the ASPP of DeepLab v2 on a ResNet (arXiv:1606.00915):
    prediction     = sum over rates r of branch_r(x)
    branch_r(x)    = predict(hidden(1x1)(hidden(3x3, dilation r)(x)))      hidden(conv) = dropout(relu(batch_norm(conv)))
                   or predict(3x3, dilation r)(x)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from graphnas.graph.types import Image, ValueType
from graphnas.ops.base import Operation
from graphnas.ops.rules import one
from graphnas.schema import PositiveInt, Share, problem_at


class DeeplabHead(Operation):
    """image[C, H, W] -> image[out_channels, H, W]: branches that start with a dilated 3x3 convolution, summed.

    The prediction has the resolution of the input; an ``upsample`` after it brings it to the image's.
    """

    op: Literal["deeplab_head"] = "deeplab_head"
    out_channels: PositiveInt = Field(examples=[3])
    """Channels of the prediction."""
    dilations: tuple[PositiveInt, ...] = Field(default=(12,), min_length=1, examples=[[6, 12, 18, 24]])
    """Pixels between the taps of a 3x3 window, one number a branch."""
    channels: PositiveInt | None = Field(default=None, examples=[1024])
    """Width of two hidden layers in every branch; left out, a branch is one convolution."""
    dropout: Share = 0.0
    """Share of hidden features that become zero while training."""

    @model_validator(mode="after")
    def _something_to_drop(self) -> DeeplabHead:
        if self.dropout and self.channels is None:
            raise problem_at(("dropout",), "without hidden layers there is nothing to drop", "channels: 1024, or leave dropout out")
        return self

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        value = one(self, inputs, Image)
        return Image(self.out_channels, value.height, value.width)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value, w = one(self, inputs, Image), self.channels
        first = 9 * value.channels
        each = first * self.out_channels if w is None else w * (first + w + self.out_channels)
        return len(self.dilations) * value.height * value.width * each

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        first, w = 9 * one(self, inputs, Image).channels, self.channels
        each = (first + 1) * self.out_channels if w is None else w * (first + 2 + w + 2) + (w + 1) * self.out_channels
        return len(self.dilations) * each

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        width = one(self, inputs, Image).channels
        if self.channels is None:
            return SummedBranches([_dilated(width, self.out_channels, rate, bias=True) for rate in self.dilations])
        hidden, drop, out = self.channels, self.dropout, self.out_channels
        return SummedBranches([DeeplabBranch(width, hidden, out, rate, drop) for rate in self.dilations])


class SummedBranches(nn.Module):
    """(N, C, H, W) -> (N, out, H, W), the sum of what the branches make of it."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        total = first(x)
        for branch in others:
            total = total + branch(x)
        return total


class DeeplabBranch(nn.Module):
    """(N, C, H, W) -> (N, out, H, W): fc6, fc7 and fc8 of DeepLab, with batch norm as in MTL-NAS."""

    def __init__(self, width: int, hidden: int, out: int, rate: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = _hidden(_dilated(width, hidden, rate, bias=False), dropout)
        self.fc7 = _hidden(nn.Conv2d(hidden, hidden, 1, bias=False), dropout)
        self.predict = nn.Conv2d(hidden, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.fc7(self.fc6(x)))


def _hidden(conv: nn.Conv2d, dropout: float) -> nn.Module:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, eps=1e-3, momentum=0.05), nn.ReLU(inplace=True), nn.Dropout(dropout))


def _dilated(width: int, out: int, rate: int, *, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(width, out, 3, padding=rate, dilation=rate, bias=bias)
