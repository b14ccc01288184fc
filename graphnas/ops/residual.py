"""ResNet blocks (arXiv:1512.03385): ``basic_block`` and ``bottleneck``, with torchvision's parameter names; no activation in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, ValueType
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.rules import one
from graphnas.schema import PositiveInt


class _ResidualBlock(Operation, ABC):
    """image[C, H, W] -> image[out_channels, H / stride, W / stride], rounded up."""

    out_channels: PositiveInt = Field(examples=[64])
    """Channels of the result."""
    stride: PositiveInt = 1
    """Pixels between two windows: how many times smaller the result is."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        value = one(self, inputs, Image)
        return Image(self.out_channels, *(-(-size // self.stride) for size in (value.height, value.width)))

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value, result = one(self, inputs, Image), self.infer(inputs)
        convolutions = self._convolutions(value.channels)
        total = 0
        for i, layer in enumerate(convolutions):
            at = value if layer.stride == 1 and all(other.stride == 1 for other in convolutions[:i]) else result
            total += layer.weights * at.height * at.width
        return total + (value.channels * self.out_channels * result.height * result.width if self._projected(value.channels) else 0)

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        in_channels = one(self, inputs, Image).channels
        total = sum(layer.weights + 2 * layer.out for layer in self._convolutions(in_channels))
        return total + (self.out_channels * (in_channels + 2) if self._projected(in_channels) else 0)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        in_channels = one(self, inputs, Image).channels
        return ResidualBlock(
            self._convolutions(in_channels),
            _projection(in_channels, self.out_channels, self.stride) if self._projected(in_channels) else None,
        )

    def _projected(self, in_channels: int) -> bool:
        return self.stride != 1 or in_channels != self.out_channels

    @abstractmethod
    def _convolutions(self, in_channels: int) -> list[_Layer]:
        """The convolutions of the block's main way, in order."""


class _Layer:
    """One convolution without bias, before a batch norm."""

    def __init__(self, channels: int, out: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        self.channels, self.out, self.kernel_size, self.stride, self.groups = channels, out, kernel_size, stride, groups

    @property
    def weights(self) -> int:
        return self.channels // self.groups * self.out * self.kernel_size**2

    def build(self) -> nn.Conv2d:
        return nn.Conv2d(self.channels, self.out, self.kernel_size, self.stride, self.kernel_size // 2, groups=self.groups, bias=False)


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions and a way around them."""

    op: Literal["basic_block"] = "basic_block"

    def _convolutions(self, in_channels: int) -> list[_Layer]:
        return [_Layer(in_channels, self.out_channels, 3, self.stride), _Layer(self.out_channels, self.out_channels, 3)]


class Bottleneck(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a way around them; the stride is at the 3x3."""

    op: Literal["bottleneck"] = "bottleneck"
    width: PositiveInt | None = Field(default=None, examples=[64])
    """Channels of the 3x3 convolution; left out, a quarter of ``out_channels``."""
    groups: PositiveInt = 1
    """Of the 3x3 convolution."""

    def _convolutions(self, in_channels: int) -> list[_Layer]:
        width = self.width or max(self.out_channels // 4, 1)
        if width % self.groups:
            raise TypeRuleError(
                f"a width of {width} does not divide into {self.groups} groups", field="groups", fix=f"a divisor of {width}"
            )
        return [_Layer(in_channels, width, 1), _Layer(width, width, 3, self.stride, self.groups), _Layer(width, self.out_channels, 1)]

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        self._convolutions(one(self, inputs, Image).channels)
        return super().infer(inputs)


class ResidualBlock(nn.Module):
    """relu(way around(x) + bn(conv(... relu(bn1(conv1(x)))))); (N, C, H, W) -> (N, out, H', W')."""

    def __init__(self, layers: Sequence[_Layer], downsample: nn.Module | None) -> None:
        super().__init__()
        self.depth = len(layers)
        for number, layer in enumerate(layers, 1):
            self.add_module(f"conv{number}", layer.build())
            self.add_module(f"bn{number}", nn.BatchNorm2d(layer.out))
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        main = x
        for number in range(1, self.depth + 1):
            main = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(main))
            if number < self.depth:
                main = F.relu(main)
        return F.relu(main + (x if self.downsample is None else self.downsample(x)))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
