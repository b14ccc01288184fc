"""``max_pool2d``, ``avg_pool2d`` and ``global_avg_pool``."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.rules import Pair, PairFrom0, one, one_of, pair, window
from graphnas.schema import Flag


class _Pool2d(Operation, ABC):
    """image[C, H, W] -> image[C, H', W']."""

    kernel_size: Pair = 2
    """Pixels, one number or [rows, columns]."""
    stride: Pair | None = Field(default=None, examples=[2])
    """Left out, the kernel's size."""
    padding: PairFrom0 = 0
    """At each side; at most half the kernel."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        value = one(self, inputs, Image)
        kernel, padding = pair(self.kernel_size), pair(self.padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise TypeRuleError(f"padding {self.padding} is more than half the kernel of {self.kernel_size}", field="padding")
        return Image(value.channels, *window(value, kernel, self._stride, padding))

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 0

    @property
    def _stride(self) -> tuple[int, int]:
        return pair(self.kernel_size if self.stride is None else self.stride)


class MaxPool2d(_Pool2d):
    """image[C, H, W] -> image[C, H', W']: the largest value of every window."""

    op: Literal["max_pool2d"] = "max_pool2d"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.MaxPool2d(pair(self.kernel_size), self._stride, pair(self.padding))


class AvgPool2d(_Pool2d):
    """image[C, H, W] -> image[C, H', W']: the mean of every window."""

    op: Literal["avg_pool2d"] = "avg_pool2d"
    count_padding: Flag = True
    """Whether the zeros of the padding take part in the mean."""

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.AvgPool2d(pair(self.kernel_size), self._stride, pair(self.padding), count_include_pad=self.count_padding)


class GlobalAvgPool(Operation):
    """image[C, H, W] -> vector[C]; tokens[L, D] -> vector[D], the mean of the patches without class and register tokens."""

    op: Literal["global_avg_pool"] = "global_avg_pool"

    def infer(self, inputs: Sequence[ValueType]) -> Vector:
        value = one_of(self, inputs, Image, Tokens)
        return Vector(value.channels if isinstance(value, Image) else value.shape[-1])

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return MeanPool(one_of(self, inputs, Image, Tokens))


class MeanPool(nn.Module):
    """(N, C, H, W) -> (N, C), (N, L, D) -> (N, D), by the type that it was built for; a vector stays as it is."""

    def __init__(self, value: Image | Tokens | Vector) -> None:
        super().__init__()
        self.kind = type(value)
        self.prefix = value.prefix if isinstance(value, Tokens) else 0

    def forward(self, x: Tensor) -> Tensor:
        if self.kind is Vector:
            return x
        return x.mean(dim=(2, 3)) if self.kind is Image else x[:, self.prefix :].mean(dim=1)
