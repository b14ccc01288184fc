"""``isinstance`` for values that may be anything: what is inside is ``Any`` afterwards, where a type checker alone makes it unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeGuard


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Of parts, so text is none."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def is_plain_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Of the class ``dict`` itself."""
    return type(value) is dict


def is_slice(value: object) -> TypeGuard[slice[Any, Any, Any]]:
    return isinstance(value, slice)


def is_namedtuple(value: object) -> bool:
    return is_tuple(value) and hasattr(value, "_fields")


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of an instance of a dataclass, by name; ``None`` for anything else."""
    if isinstance(value, type) or not is_dataclass(value):
        return None
    return {field.name: getattr(value, field.name) for field in fields(value)}
