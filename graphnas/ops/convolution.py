"""``conv2d``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import nn

from graphnas.graph.types import Image, ValueType
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.rules import Pair, PairFrom0, one, pair, window
from graphnas.schema import Flag, PositiveInt


class Conv2d(Operation):
    """image[C, H, W] -> image[out_channels, H', W'], as ``torch.nn.Conv2d``."""

    op: Literal["conv2d"] = "conv2d"
    out_channels: PositiveInt = Field(examples=[64])
    """Channels of the result."""
    kernel_size: Pair = 3
    """Pixels, one number or [rows, columns]."""
    stride: Pair = 1
    """Pixels between two windows, one number or [rows, columns]."""
    padding: PairFrom0 | None = Field(default=None, examples=[1])
    """Zeros at each side; left out, so many that an odd kernel of stride 1 keeps the size."""
    dilation: Pair = 1
    """Pixels between the taps of a window, one number or [rows, columns]."""
    groups: PositiveInt = 1
    """Into how many groups the channels are divided; as many as channels makes the convolution depthwise."""
    bias: Flag = True
    """Whether a learned number is added to every channel; leave it out before a norm."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        value = self._input(inputs)
        return Image(self.out_channels, *window(value, pair(self.kernel_size), pair(self.stride), self._padding, pair(self.dilation)))

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value, result = self._input(inputs), self.infer(inputs)
        rows, columns = pair(self.kernel_size)
        return result.channels * result.height * result.width * (value.channels // self.groups) * rows * columns

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        rows, columns = pair(self.kernel_size)
        return self.out_channels * (self._input(inputs).channels // self.groups * rows * columns + self.bias)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Conv2d(
            self._input(inputs).channels,
            self.out_channels,
            pair(self.kernel_size),
            pair(self.stride),
            self._padding,
            pair(self.dilation),
            self.groups,
            self.bias,
        )

    @property
    def _padding(self) -> tuple[int, int]:
        if self.padding is not None:
            return pair(self.padding)
        (rows, columns), (down, right) = pair(self.kernel_size), pair(self.dilation)
        return down * (rows - 1) // 2, right * (columns - 1) // 2

    def _input(self, inputs: Sequence[ValueType]) -> Image:
        value = one(self, inputs, Image)
        if value.channels % self.groups or self.out_channels % self.groups:
            raise TypeRuleError(
                f"{value.channels} input and {self.out_channels} output channels do not divide into {self.groups} groups",
                field="groups",
                fix="a number that divides both",
            )
        return value
