"""Resolutions at run time, which may be others than those that types were bound to: of images, and of the patch grid behind tokens."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from graphnas.graph.types import Tokens


def exact_grid(patches: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of this many patches in the very proportions of ``grid``.

    Raises:
        ValueError: There are none: images of other proportions came in, and tokens alone don't tell which.
    """
    if patches == grid[0] * grid[1]:
        return grid
    divisor = math.gcd(*grid)
    rows, columns = grid[0] // divisor, grid[1] // divisor
    times = math.isqrt(patches // (rows * columns))
    if times * times * rows * columns != patches:
        raise ValueError(f"{patches} patches are no grid of {rows} : {columns}, the proportions that the network was built for")
    return times * rows, times * columns


def grid_like(patches: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of this many patches, in proportions as near as can be to those of an image that they were made from.

    Raises:
        ValueError: The nearest are off by more than a factor of two: the patches are not those of this image.
    """
    off = {rows: abs(math.log(rows * rows * width / (patches * height))) for rows in range(1, patches + 1) if patches % rows == 0}
    best = min(off, key=lambda rows: off[rows])
    if off[best] > math.log(2):
        raise ValueError(f"{patches} patches are no grid of {height} : {width}, the proportions of the image beside them")
    return best, patches // best


def scaled_grid(patches: int, grid: tuple[int, int], built: tuple[int, int], now: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of this many patches, beside an image that was built with some size and has another one now.

    Args:
        patches: How many there are now.
        grid: Rows and columns that they were built with.
        built: Rows and columns that the image was built with.
        now: Rows and columns that it has.
    Raises:
        ValueError: The patches are not those of this image.
    """
    if now == built and patches == grid[0] * grid[1]:
        return grid
    return grid_like(patches, grid[0] * now[0] * built[1], grid[1] * now[1] * built[0])


def image_of(x: Tensor, value: Tokens, like: Tensor | None = None, built: tuple[int, int] | None = None) -> Tensor:
    """The patches of tokens (N, L, D) as an image (N, D, rows, columns); class and register tokens are dropped.

    Args:
        x: Tokens of the type ``value``, apart from their number of patches.
        value: A type whose grid is known.
        like: An image (N, C, H, W) of the same network input, if there is one: it tells the proportions.
        built: The rows and columns of that image where tokens have the grid of ``value``; its proportions are theirs, if left out.
    """
    assert value.grid is not None
    patches = x.shape[1] - value.prefix
    if like is None:
        rows, columns = exact_grid(patches, value.grid)
    elif built is None:
        rows, columns = grid_like(patches, like.shape[2], like.shape[3])
    else:
        rows, columns = scaled_grid(patches, value.grid, built, (like.shape[2], like.shape[3]))
    return row_by_row(x[:, value.prefix :], value).transpose(1, 2).reshape(x.shape[0], -1, rows, columns)


def row_by_row(patches: Tensor, value: Tokens) -> Tensor:
    """Patches (N, rows * columns, D), in the order of the grid.

    Raises:
        ValueError: Their order is known for another number of them only.
    """
    if value.order is None:
        return patches
    _require_order(patches, value.order)
    return patches[:, _indices(value.order, patches.device)[0]]


def as_ordered(patches: Tensor, value: Tokens) -> Tensor:
    """Patches (N, rows * columns, D) that stand row by row, in the order of the tokens."""
    if value.order is None:
        return patches
    _require_order(patches, value.order)
    return patches[:, _indices(value.order, patches.device)[1]]


def _require_order(patches: Tensor, order: tuple[int, ...]) -> None:
    if patches.shape[1] != len(order):
        raise ValueError(f"{patches.shape[1]} patches, whose order is known for {len(order)} only: this network works at one image size")


@lru_cache(maxsize=64)
def _indices(order: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The order, and its inverse."""
    places = torch.tensor(order, device=device)
    return places, places.argsort()


def resize(x: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """An image (N, C, H, W) to these rows and columns; itself if it has them."""
    if (x.shape[2], x.shape[3]) == size:
        return x
    return F.interpolate(x, size=size, mode=mode, align_corners=False if mode == "bilinear" else None)
