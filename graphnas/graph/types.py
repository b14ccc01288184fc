"""Types of the values in a typed graph; the batch dimension is implied.

| type | written | tensor |
|---|---|---|
| Image | ``image[C, H, W]`` | (N, C, H, W) |
| Tokens | ``tokens[L, D]`` | (N, L, D); the first ``prefix`` of the L are class or register tokens |
| Ids | ``ids[L]`` | (N, L), integers |
| Mask | ``mask[L]`` | (N, L), booleans |
| Vector | ``vector[D]`` | (N, D) |
| Other | ``other[...]`` | any other tensor of a recorded module, sizes without the batch |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Image:
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    def __str__(self) -> str:
        return f"image[{self.channels}, {self.height}, {self.width}]"


@dataclass(frozen=True)
class Tokens:
    """A sequence of tokens: ``prefix`` class or register tokens, then, where ``grid`` is known, the patches of an image.

    The patches stand row by row, or ``order`` tells for each place of the grid, row by row, which of the patches stands there.
    """

    length: int
    width: int
    prefix: int = 0
    grid: tuple[int, int] | None = None  # rows, columns; length == prefix + rows * columns
    order: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length, self.width)

    def __str__(self) -> str:
        return f"tokens[{self.length}, {self.width}]"


@dataclass(frozen=True)
class Ids:
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def __str__(self) -> str:
        return f"ids[{self.length}]"


@dataclass(frozen=True)
class Mask:
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def __str__(self) -> str:
        return f"mask[{self.length}]"


@dataclass(frozen=True)
class Vector:
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def __str__(self) -> str:
        return f"vector[{self.width}]"


@dataclass(frozen=True)
class Other:
    """A tensor that none of the other types describes (recorded modules only)."""

    shape: tuple[int, ...]
    NAME: ClassVar[str] = "other"

    def __str__(self) -> str:
        return f"other[{', '.join(map(str, self.shape))}]"


ValueType = Image | Tokens | Ids | Mask | Vector | Other

_KINDS: dict[str, tuple[type, int]] = {
    "image": (Image, 3),
    "tokens": (Tokens, 2),
    "ids": (Ids, 1),
    "mask": (Mask, 1),
    "vector": (Vector, 1),
}
_FORM = re.compile(r"\s*([a-z]+)\s*\[\s*([^\]]*)\s*\]\s*")


@dataclass(frozen=True)
class TypePattern:
    """A type as written in a spec: a size that is ``None`` was written as a name (``H``) and is bound from the data."""

    kind: str
    sizes: tuple[int | None, ...]
    names: tuple[str, ...]  # as written

    def __str__(self) -> str:
        return f"{self.kind}[{', '.join(self.names)}]"

    def bind(self, sizes: Sequence[int]) -> ValueType:
        """The concrete type with these sizes.

        Raises:
            ValueError: The number of sizes or a fixed size differs.
        """
        if len(sizes) != len(self.sizes):
            raise ValueError(f"{self} has {len(self.sizes)} sizes, got {len(sizes)}")
        seen: dict[str, int] = {}
        for fixed, name, size in zip(self.sizes, self.names, sizes, strict=True):
            if (fixed is not None and fixed != size) or seen.setdefault(name, size) != size:
                raise ValueError(f"{self} does not fit the sizes {list(sizes)}")
        return _KINDS[self.kind][0](*sizes)


def parse_type(text: str) -> TypePattern:
    """Read ``image[3, H, W]``.

    Raises:
        ValueError: Not a known type, or a wrong number of sizes.
    """
    match = _FORM.fullmatch(text)
    if match is None or match[1] not in _KINDS:
        raise ValueError(f"{text!r} is not a type; write image[C, H, W], tokens[L, D], ids[L], mask[L] or vector[D]")
    names = tuple(part.strip() for part in match[2].split(",")) if match[2] else ()
    count = _KINDS[match[1]][1]
    if len(names) != count:
        raise ValueError(f"{match[1]} has {count} sizes, got {len(names)}")
    sizes: list[int | None] = []
    for name in names:
        if re.fullmatch(r"[1-9][0-9]*", name):
            sizes.append(int(name))
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            sizes.append(None)
        else:
            raise ValueError(f"{name!r} is not a size: a number of 1 or more, or a name such as H")
    return TypePattern(match[1], tuple(sizes), names)


def type_of_shape(shape: Sequence[int], *, floating: bool = True) -> ValueType:
    """The type of a tensor by its shape without the batch: what a recorded value is taken for unless more is known of it.

    Args:
        shape: Sizes without the batch.
        floating: Whether the values are floating-point numbers.
    """
    sizes = tuple(int(size) for size in shape)
    if floating and len(sizes) == 3:
        return Image(*sizes)
    if floating and len(sizes) == 2:
        return Tokens(*sizes)
    if floating and len(sizes) == 1:
        return Vector(*sizes)
    if not floating and len(sizes) == 1:
        return Ids(*sizes)
    return Other(sizes)
