"""How a value gets from the form of a link's source to that of its destination: layout and resolution, no parameters.

| source | destination | what happens |
|---|---|---|
| vector | vector | nothing |
| tokens | tokens of the same length and grid | nothing: every token is mapped alone |
| image or tokens | image or tokens | to an image (prefix tokens dropped), mapped, resized, to tokens (prefix tokens are zeros) |

Images are resized to what the destination measures at run time, so links also work at sizes other than those that the types were bound
to. Tokens alone do not tell the proportions of their patches; an image at the other end of the link does, else they are as they were
built. A map of channels and a resize commute, nearly; so the map runs at the smaller of the two resolutions.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.ops.base import LinkOperation, TypeRuleError
from graphnas.ops.grid import as_ordered, exact_grid, image_of, resize, scaled_grid
from graphnas.schema import NonNegativeInt

Resize = Literal["bilinear", "nearest", "area"]


class AdaptedOperation(LinkOperation, ABC):
    """A link operation that adapts shapes."""

    resize: Resize = "bilinear"
    """How an image is resized where the resolutions differ; area is the mean over all that a pixel covers, for much smaller ones."""
    prefix: NonNegativeInt | None = Field(default=None, examples=[1])
    """Class or register tokens before the patches, for tokens whose type doesn't tell; the patches are then taken for a square."""


@dataclass(frozen=True)
class Adapter:
    """The way of one link, from types.

    Args:
        source: Image, Tokens or Vector, with the grid known if ``spatial`` and tokens.
        destination: The same.
        spatial: Whether the map sees an image, (N, C, H, W); else channels last, (N, L, D) or (N, D).
        first: Whether the map comes before the resize.
        resize: How to resize.
    """

    source: Image | Tokens | Vector
    destination: Image | Tokens | Vector
    spatial: bool
    first: bool
    resize: Resize

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of the source and of the destination."""
        return channels(self.source), channels(self.destination)

    @property
    def positions(self) -> int:
        """Where the map is applied: pixels, tokens, or 1 for a vector."""
        if self.spatial:
            return math.prod(_grid(self.source if self.first else self.destination))
        return self.source.length if isinstance(self.source, Tokens) else 1

    def __call__(self, x: Tensor, mapped: Callable[[Tensor], Tensor], destination: Tensor) -> Tensor:
        """Adapt ``x`` to the shape of ``destination``; ``mapped`` takes the channels of the one to those of the other."""
        if not self.spatial:
            return mapped(x)
        size = self._runtime_size(x, destination)
        if isinstance(self.source, Tokens):
            like = destination if isinstance(self.destination, Image) else None
            x = image_of(x, self.source, like, _grid(self.destination))
        x = resize(mapped(x), size, self.resize) if self.first else mapped(resize(x, size, self.resize))
        if isinstance(self.destination, Tokens):
            patches = as_ordered(x.flatten(2).transpose(1, 2), self.destination)
            x = F.pad(patches, (0, 0, self.destination.prefix, 0))
        return x

    def _runtime_size(self, x: Tensor, destination: Tensor) -> tuple[int, int]:
        """Rows and columns that the destination has at run time."""
        if isinstance(self.destination, Image):
            return destination.shape[2], destination.shape[3]
        assert isinstance(self.destination, Tokens)
        patches, grid = destination.shape[1] - self.destination.prefix, _grid(self.destination)
        if isinstance(self.source, Tokens):
            return exact_grid(patches, grid)
        return scaled_grid(patches, grid, _grid(self.source), (x.shape[2], x.shape[3]))


def adapter(source: ValueType, destination: ValueType, options: AdaptedOperation, *, spatial: bool = False) -> Adapter:
    """The way from one type to another.

    Args:
        source: The type of the values sent.
        destination: The type of the value that they join.
        options: How to resize, and how many prefix tokens there are where the types don't tell.
        spatial: The map needs an image even where the forms agree.
    Raises:
        TypeRuleError: There is none, or the patch grid of tokens is unknown.
    """
    forms = (Image, Tokens, Vector)
    if not isinstance(source, forms) or not isinstance(destination, forms):
        raise TypeRuleError(f"no link from {source} to {destination}", fix="link images, tokens or vectors")
    if isinstance(source, Vector) != isinstance(destination, Vector) or (spatial and isinstance(source, Vector)):
        fix = "op: conv1x1" if spatial and isinstance(destination, Vector) else "link taps of the same kind"
        raise TypeRuleError(f"no {'spatial ' if spatial else ''}link from {source} to {destination}", fix=fix)
    if isinstance(source, Vector) or (not spatial and _aligned(source, destination)):
        return Adapter(source, destination, spatial=False, first=True, resize=options.resize)
    source, destination = _with_grid(source, options.prefix), _with_grid(destination, options.prefix)
    first = math.prod(_grid(source)) <= math.prod(_grid(destination))
    return Adapter(source, destination, spatial=True, first=first, resize=options.resize)


def channels(value: ValueType) -> int:
    """The width of a value: channels of an image, else its last size."""
    return value.channels if isinstance(value, Image) else value.shape[-1]


def _aligned(source: ValueType, destination: ValueType) -> bool:
    if not isinstance(source, Tokens) or not isinstance(destination, Tokens) or source.length != destination.length:
        return False
    known = source.grid is not None and destination.grid is not None
    return not known or (source.prefix, source.grid, source.order) == (destination.prefix, destination.grid, destination.order)


def _with_grid(value: ValueType, prefix: int | None) -> Image | Tokens:
    if isinstance(value, Image):
        return value
    assert isinstance(value, Tokens)
    if value.grid is not None:
        return value
    if prefix is None:
        raise TypeRuleError(f"the patch grid of {value} is unknown", fix="name it at the tap: prefix: TOKENS, grid: [ROWS, COLUMNS]")
    side = math.isqrt(max(value.length - prefix, 0))
    if side == 0 or side * side != value.length - prefix:
        raise TypeRuleError(f"{value} less {prefix} prefix tokens is no square of patches", field="prefix")
    return Tokens(value.length, value.width, prefix=prefix, grid=(side, side))


def _grid(value: ValueType) -> tuple[int, int]:
    if isinstance(value, Image):
        return value.height, value.width
    assert isinstance(value, Tokens)
    assert value.grid is not None
    return value.grid
