"""Which image size a module would take, for the message about one that it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphnas.graph.types import Image, ValueType

_MULTIPLES = (2, 4, 7, 8, 14, 16, 28, 32, 64)  # strides and patch sizes of the libraries' networks


def fitting_size(takes: Callable[[Sequence[ValueType]], bool], inputs: Sequence[ValueType]) -> str | None:
    """The largest images, not larger than these, that are accepted, in words; ``None`` if the inputs hold no image, or none would do.

    Args:
        takes: Whether inputs of these types are accepted.
        inputs: Types that are not.
    """
    sides = {(value.height, value.width) for value in inputs if isinstance(value, Image)}
    if len(sides) != 1:
        return None
    [(height, width)] = sides
    tried = {(height, width)}
    for multiple in _MULTIPLES:
        size = (height // multiple * multiple, width // multiple * multiple)
        if min(size) and size not in tried:
            tried.add(size)
            if takes([replace(value, height=size[0], width=size[1]) if isinstance(value, Image) else value for value in inputs]):
                return f"images of [{size[0]}, {size[1]}] pixels, by a resize or a random_crop in the task pair's transforms"
    return None
