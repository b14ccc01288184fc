"""Which part of what a network returns is its value: a network of a library may return a tuple, a dict, or an object with fields.

A few networks return one tensor in eval mode and several in train mode (GoogLeNet and Inception, with their auxiliary classifiers), so the
choice is made at every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

NAMES = ("prediction", "logits", "out", "predicted_depth", "reconstruction", "sample", "last_hidden_state")
"""Names under which libraries return what their networks are for, the likelier first."""

Key = str | int


def named_part(path: str, key: Key) -> str:
    """How a part of what a submodule returns is called: ``layers.0[1]``, ``encoder[last_hidden_state]``."""
    return f"{path}[{key}]"


def part_named(name: str) -> tuple[str, Key | None]:
    """The submodule's path and the part in such a name; of any other, itself and ``None``."""
    path, bracket, key = name.removesuffix("]").rpartition("[")
    if not bracket or not name.endswith("]"):
        return name, None
    return path, int(key) if key.isdigit() else key


def parts_of(returned: Any) -> dict[Key, Tensor]:
    """The tensors in what a network returns, by name or by number; none of a tensor itself."""
    return {key: value for key, value in _items(returned).items() if isinstance(value, Tensor)}


def _items(returned: Any) -> dict[Key, Any]:
    if isinstance(returned, Mapping):
        return dict(returned)  # pyright: ignore[reportUnknownArgumentType] (of anything)
    if is_dataclass(returned) and not isinstance(returned, type):
        return {field.name: getattr(returned, field.name) for field in fields(returned)}
    named: Any = getattr(returned, "_asdict", None)  # a named tuple
    if named is not None:
        return named()
    return dict(enumerate(returned)) if isinstance(returned, (tuple, list)) else {}  # pyright: ignore[reportUnknownArgumentType] (of anything)


def key_of(parts: Mapping[Key, Tensor], output: Key | None) -> Key | None:
    """The part that is meant: the one that is named, the only one, or the first of ``NAMES``; ``None`` if that does not tell."""
    if output is not None:
        return output if output in parts else None
    if len(parts) == 1:
        return next(iter(parts))
    return next((name for name in NAMES if name in parts), None)


def value_of(returned: Any, output: Key | None = None) -> Tensor:
    """The value in what a network returned.

    Args:
        returned: A tensor, which is the value; or a mapping, sequence or dataclass with tensors in it.
        output: Which one.
    Raises:
        KeyError: There is none of that name, or several and none named.
    """
    if isinstance(returned, Tensor):
        return returned
    parts = parts_of(returned)
    key = key_of(parts, output)
    if key is None:
        raise KeyError(f"which of {', '.join(map(str, parts))} is the value?")
    return parts[key]
