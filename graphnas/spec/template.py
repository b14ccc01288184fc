"""Nodes that hold ``$names``: checked with sample values before parameters are bound, replaced when they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, cast, get_origin

from pydantic import ValidationError, model_serializer

from graphnas.errors import suggest
from graphnas.schema import Named, Spec, again, error_at, refuse
from graphnas.spec.place import Path_
from graphnas.spec.shape import Shape, below, document, registered, shapes_of

_NAME = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


class Sampled(Protocol):
    """A parameter, as far as a template needs one."""

    @property
    def default(self) -> Any: ...
    @property
    def sample(self) -> Any: ...


class Template(Spec):
    """A node that some ``$name`` stands in.

    What the names are not part of is validated data; the rest is as written.
    """

    data: dict[str, Any]

    @property
    def op(self) -> str:
        return str(self.data.get("op"))

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return self.data


def names_in(node: Any, operation: Named) -> dict[Path_, str]:
    """Path -> text of every text with ``$`` in a node; networks inside it have names of their own.

    Args:
        node: As written.
        operation: Chooses the node's model.
    """
    found = dict(_names_in(node, ()))
    if not isinstance(node, Mapping):
        return found if isinstance(node, str) else {}  # nothing else is a node: names are not what is wrong with it
    name = cast(Mapping[str, Any], node).get(operation.key)
    apart = {field for model in registered(operation.registry, name) for field in documents_in(model)}
    return {path: text for path, text in found.items() if path[0] not in apart}


def _names_in(value: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    if isinstance(value, str):
        if "$" in value:
            yield path, value
    elif isinstance(value, Mapping):
        for key, part in cast(Mapping[str, Any], value).items():
            yield from _names_in(part, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(cast(Sequence[Any], value)):
            yield from _names_in(part, (*path, index))


@lru_cache(maxsize=256)
def documents_in(model: type[Spec]) -> frozenset[str]:
    """The fields of an operation that hold documents."""
    return frozenset(field for field in model.model_fields if _holds_document(shapes_of(model, field)))


def _holds_document(found: Sequence[Shape]) -> bool:
    return document(found) is not None or any(
        _holds_document(below([shape], None, 0)) for shape in found if get_origin(shape) in (dict, tuple)
    )


def node_with_names(value: Mapping[str, Any], names: Mapping[Path_, str], parameters: Mapping[str, Sampled], operation: Named) -> Template:
    """The template of a node, all checked that can be before values are known.

    Args:
        value: The node as written.
        names: The ``$names`` in it.
        parameters: What names may stand.
        operation: Validates an operation.
    Raises:
        ValidationError: A name is unknown, or the node is wrong whatever the values are.
    """
    refuse(_unknown(names, parameters))
    open_ = [path for path, text in names.items() if parameters[text[1:]].default is None]  # the samples there are not the user's
    try:
        made = operation.validated(replaced(value, {path: parameters[text[1:]].sample for path, text in names.items()}))
    except ValidationError as error:
        found = error.errors(include_url=False)
        refuse(again(details) for details in found if details["type"].endswith("_type") or not _may_be_due(details["loc"], open_))
        return Template(data=dict(value))
    whole = {path[0] for path in names}
    return Template(data={key: part if key in whole else getattr(made, key, part) for key, part in value.items()})


def _unknown(names: Mapping[Path_, str], parameters: Mapping[str, object]) -> Iterator[Any]:
    for path, text in names.items():
        if path == ("op",):
            yield error_at(path, f"an operation can't be a parameter, got {text!r}", "name an operation", text)
        elif not _NAME.fullmatch(text):
            yield error_at(path, f"a $name stands for a whole value, got {text!r}", "$name alone", text)
        elif text[1:] not in parameters:
            yield error_at(path, f"unknown parameter {text!r}", suggest(text, [f"${name}" for name in parameters]), text)


def _may_be_due(loc: Sequence[str | int], open_: Sequence[Path_]) -> bool:
    """Whether an error may vanish with another value: it is at a sample, or about several fields of a node with one."""
    return bool(open_) and (not loc or any(tuple(loc[: len(path)]) == path for path in open_))


def replaced(node: Mapping[str, Any], values: Mapping[Path_, object]) -> dict[str, Any]:
    """A node with other values at these paths."""
    made = dict(node)
    for path, value in values.items():
        holder: Any = made
        for part in path[:-1]:
            inner = holder[part]
            holder[part] = dict(cast(Mapping[Any, Any], inner)) if isinstance(inner, Mapping) else list(inner)
            holder = holder[part]
        holder[path[-1]] = value
    return made
