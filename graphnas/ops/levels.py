"""What heads over a vision transformer share: its token values, early to late, become images of falling resolution, the levels."""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import Operation
from graphnas.ops.rules import all_of
from graphnas.ops.shape import with_grid


def token_values(op: Operation, inputs: Sequence[ValueType]) -> list[Tokens]:
    """The inputs of such a head but for the image that may stand last, all with a known patch grid.

    Raises:
        TypeRuleError: One is not tokens, or its grid is unknown.
    """
    given = inputs[:-1] if len(inputs) > 1 and isinstance(inputs[-1], Image) else inputs
    return [with_grid(op, value, "read patch tokens of images") for value in all_of(op, given, Tokens)]


def grid_of(value: Tokens) -> tuple[int, int]:
    """Rows and columns of the patches."""
    assert value.grid is not None
    return value.grid


def powers(count: int) -> list[int]:
    """log2 of every level's resolution over the patch grid's, fine to coarse: 2, 1, 0, -1 for four."""
    return [max(count - 2, 0) - i for i in range(count)]


def level_size(grid: tuple[int, int], power: int) -> tuple[int, int]:
    """Rows and columns of a level; half an odd number is rounded up."""
    rows, columns = (size * 2**power if power >= 0 else (size + 1) // 2 for size in grid)
    return int(rows), int(columns)
