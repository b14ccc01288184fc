"""What may stand at a field, by the models' annotations: how an override finds its way through short forms and references."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from graphnas.registry import Registry, UnknownName
from graphnas.schema import Keyed, Named, Spec
from graphnas.spec.document import Document

Shape = Any
"""A ``Spec`` class, ``Named``, ``Keyed``, ``dict[...]`` or ``tuple[...]``."""


def shapes(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[Shape]:
    """The shapes that a value of this annotation may have; none for plain values."""
    for mark in metadata:
        if isinstance(mark, (Named, Keyed)):
            yield mark
            return
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        yield from shapes(inner, marks)
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from shapes(member)
    elif origin in (dict, tuple) or (origin is None and isinstance(annotation, type) and issubclass(annotation, Spec)):
        yield annotation


def below(found: Sequence[Shape], data: Any, key: str | int) -> list[Shape]:
    """The shapes of what a mapping or list has under a key."""
    return [inner for shape in found for inner in _below(shape, data, key)]


def _below(shape: Shape, data: Any, key: str | int) -> Iterator[Shape]:
    origin = get_origin(shape)
    if origin is dict:
        yield from shapes(get_args(shape)[1])
    elif origin is tuple:
        yield from shapes(get_args(shape)[0])
    elif isinstance(shape, Keyed):
        yield from registered(shape.registry, key)
    elif isinstance(shape, Named):
        name = data.get(shape.key, shape.default) if isinstance(data, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        for model in registered(shape.registry, name):
            yield from _below(model, data, key)
    else:
        yield from shapes_of(shape, key)


def shapes_of(model: type[Spec], name: str | int) -> list[Shape]:
    """The shapes of a model's field, by its name or its alias."""
    fields = (field for own, field in model.model_fields.items() if name in (own, field.alias))
    return [shape for field in fields for shape in shapes(field.annotation, field.metadata)]


def registered(registry: Registry, name: Any) -> Iterator[type[Spec]]:
    """The model of a name, if it has one."""
    try:
        if isinstance(name, str):
            yield registry.get(name)
    except UnknownName:
        return


def document(found: Sequence[Shape]) -> type[Document] | None:
    """The kind of document that text stands for here."""
    return next((shape for shape in found if isinstance(shape, type) and issubclass(shape, Document)), None)


def spelled_out(found: Sequence[Shape], value: Any) -> dict[str, Any] | None:
    """The mapping that a plain value stands for: ``{op: conv1x1}`` for ``conv1x1``."""
    for shape in found:
        if isinstance(shape, Named):
            return {shape.key: value}
        if isinstance(shape, Keyed):
            return {value: {}}
        if isinstance(shape, type) and issubclass(shape, Spec) and shape.telling is not None:
            return {shape.telling: value}
    return None
