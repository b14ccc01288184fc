"""Operations that change the form of a value, not what it says: ``flatten``, ``to_tokens``, ``to_image``, ``upsample``, ``identity``."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.elementwise import Elementwise
from graphnas.ops.grid import image_of, resize
from graphnas.ops.rules import Pair, all_of, name_of, one, one_of, pair
from graphnas.schema import PositiveInt, problem


class _Reshape(Operation, ABC):
    """No weights, no multiply-accumulates."""

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 0


class Identity(Elementwise):
    """The value as it is, under another name."""

    op: Literal["identity"] = "identity"

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Identity()


class Flatten(_Reshape):
    """image[C, H, W] -> vector[C H W], tokens[L, D] -> vector[L D]; ties the network to one input size."""

    op: Literal["flatten"] = "flatten"

    def infer(self, inputs: Sequence[ValueType]) -> Vector:
        return Vector(math.prod(one_of(self, inputs).shape))

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Flatten()


class ToTokens(_Reshape):
    """image[C, H, W] -> tokens[H W, C], row by row."""

    op: Literal["to_tokens"] = "to_tokens"

    def infer(self, inputs: Sequence[ValueType]) -> Tokens:
        value = one(self, inputs, Image)
        return Tokens(value.height * value.width, value.channels, grid=(value.height, value.width))

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return PixelsToTokens()


class ToImage(_Reshape):
    """tokens[L, D] -> image[D, rows, columns]; class and register tokens are dropped.

    At other image sizes than the network was built for, tokens tell their grid only if the proportions stay; a second input, an image of
    those proportions (the network's own input), tells it for any.
    """

    op: Literal["to_image"] = "to_image"
    grid: tuple[PositiveInt, PositiveInt] | None = Field(default=None, examples=[[14, 14]])
    """Rows and columns of the patches, where the input's type doesn't tell."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        value = self._input(inputs)
        assert value.grid is not None
        return Image(value.width, *value.grid)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return TokensToImage(self._input(inputs))

    def _input(self, inputs: Sequence[ValueType]) -> Tokens:
        value = one(self, [*inputs[:1], *inputs[2:]], Tokens)
        if len(inputs) == 2:
            all_of(self, inputs[1:], Image)
        if self.grid is None:
            return with_grid(self, value, "grid: [ROWS, COLUMNS]")
        prefix = value.length - self.grid[0] * self.grid[1]
        if prefix < 0:
            raise TypeRuleError(f"a grid of {list(self.grid)} is more than the {value.length} tokens", field="grid")
        return Tokens(value.length, value.width, prefix, self.grid)


class Upsample(_Reshape):
    """An image to another resolution: ``scale`` times, to a ``size``, or to that of a second input."""

    op: Literal["upsample"] = "upsample"
    scale: PositiveInt | None = Field(default=None, examples=[2])
    """How many times as high and wide."""
    size: Pair | None = Field(default=None, examples=[[48, 64]])
    """Pixels, one number or [rows, columns]; the same whatever the network's input."""
    mode: Literal["bilinear", "nearest"] = "bilinear"
    """How values between pixels are found."""

    @model_validator(mode="after")
    def _one_way(self) -> Upsample:
        if self.scale is not None and self.size is not None:
            raise problem("upsample has a scale and a size", "give one of them")
        return self

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        values = all_of(self, inputs, Image)
        first = values[0]
        told = self.scale is not None or self.size is not None
        if len(values) > 2:
            raise TypeRuleError(f"upsample reads one image or two, got {len(values)}")
        if told == (len(values) == 2):
            message = (
                "upsample is told more than once how large the result is" if told else "nothing tells upsample how large the result is"
            )
            raise TypeRuleError(message, fix="scale: 2, or size: [H, W], or inputs: [IMAGE, IMAGE_OF_THAT_SIZE]")
        if self.scale is not None:
            return Image(first.channels, first.height * self.scale, first.width * self.scale)
        rows, columns = pair(self.size) if self.size is not None else (values[1].height, values[1].width)
        return Image(first.channels, rows, columns)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return Resized(self.scale, None if self.size is None else pair(self.size), self.mode)


class PixelsToTokens(nn.Module):
    """(N, C, H, W) -> (N, H W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class TokensToImage(nn.Module):
    """(N, L, D) -> (N, D, rows, columns); ``like`` is an image of the same proportions."""

    def __init__(self, value: Tokens) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        return image_of(x, self.value, like)


class Resized(nn.Module):
    """(N, C, H, W) -> (N, C, H', W')."""

    def __init__(self, scale: int | None, size: tuple[int, int] | None, mode: str) -> None:
        super().__init__()
        self.scale, self.size, self.mode = scale, size, mode

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        height, width = x.shape[2], x.shape[3]
        if self.scale is not None:
            size = (height * self.scale, width * self.scale)
        elif self.size is not None:
            size = self.size
        else:
            assert like is not None
            size = (like.shape[2], like.shape[3])
        return resize(x, size, self.mode)


def with_grid(op: Operation, value: Tokens, fix: str) -> Tokens:
    """The tokens, if their grid is known.

    Raises:
        TypeRuleError: It is not.
    """
    if value.grid is None:
        raise TypeRuleError(f"{name_of(op)} reads tokens that stand for the patches of an image; the grid of {value} is unknown", fix=fix)
    return value
