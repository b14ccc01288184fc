"""Which image size a module would take, for the message about one that it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from graphnas.graph.types import Image, ValueType

_MULTIPLES = (2, 4, 7, 8, 14, 16, 28, 32, 64)  # strides and patch sizes of the libraries' networks


def fitting_size(
    takes: Callable[[Sequence[ValueType]], bool], inputs: Sequence[ValueType], own: tuple[int, int] | None = None
) -> str | None:
    """The largest images, not larger than these, that are accepted, in words; ``None`` if the inputs hold no image, or none would do.

    Args:
        takes: Whether inputs of these types are accepted.
        inputs: Types that are not.
        own: Rows and columns that the network says it is for, which are tried last.
    """
    sides = {(value.height, value.width) for value in inputs if isinstance(value, Image)}
    if len(sides) != 1:
        return None
    [(height, width)] = sides
    tried = {(height, width)}
    smaller = [(height // multiple * multiple, width // multiple * multiple) for multiple in _MULTIPLES]
    for size in (*smaller, *([own] if own is not None else [])):
        if min(size) and size not in tried:
            tried.add(size)
            if takes([replace(value, height=size[0], width=size[1]) if isinstance(value, Image) else value for value in inputs]):
                return f"images of [{size[0]}, {size[1]}] pixels, by a resize or a random_crop in the task pair's transforms"
    return None


def own_size(module: nn.Module) -> tuple[int, int] | None:
    """Rows and columns of the images that a network of a library says it is for; ``None`` if it does not say."""
    about: Any = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    embedded: Any = getattr(getattr(module, "patch_embed", None), "img_size", None)
    described: Any = getattr(getattr(module, "config", None), "image_size", None)
    published: Any = about.get("input_size", (None,))[1:] or None
    found: Any = next((size for size in (embedded, described, published) if size is not None), None)
    return (found, found) if isinstance(found, int) else None if found is None else (int(found[-2]), int(found[-1]))
