"""Nodes that hold ``$names``: checked with sample values before parameters are bound, replaced when they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from pydantic import ValidationError, model_serializer

from graphnas.errors import suggest
from graphnas.schema import Named, Spec, again, error_at, refuse
from graphnas.spec.place import Path_

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


def names_in(value: Any, path: Path_ = ()) -> list[tuple[Path_, str]]:
    """The path and text of every text with ``$`` in it."""
    if isinstance(value, str):
        return [(path, value)] if "$" in value else []
    if isinstance(value, Mapping):
        return [found for key, part in cast(Mapping[str, Any], value).items() for found in names_in(part, (*path, key))]
    if isinstance(value, (list, tuple)):
        return [found for i, part in enumerate(cast(Sequence[Any], value)) for found in names_in(part, (*path, i))]
    return []


def node_with_names(
    value: Mapping[str, Any], names: Sequence[tuple[Path_, str]], parameters: Mapping[str, Sampled], operation: Named
) -> Template:
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
    open_ = [path for path, text in names if parameters[text[1:]].default is None]  # the samples there are not the user's
    try:
        made = operation.validated(replaced(value, {name: parameter.sample for name, parameter in parameters.items()}))
    except ValidationError as error:
        found = error.errors(include_url=False)
        refuse(again(details) for details in found if details["type"].endswith("_type") or not _may_be_due(details["loc"], open_))
        return Template(data=dict(value))
    whole = {path[0] for path, _ in names}
    return Template(data={key: part if key in whole else getattr(made, key, part) for key, part in value.items()})


def _unknown(names: Sequence[tuple[Path_, str]], parameters: Mapping[str, object]) -> Iterator[Any]:
    for path, text in names:
        if path == ("op",):
            yield error_at(path, f"an operation can't be a parameter, got {text!r}", "name an operation", text)
        elif not _NAME.fullmatch(text):
            yield error_at(path, f"a $name stands for a whole value, got {text!r}", "$name alone", text)
        elif text[1:] not in parameters:
            yield error_at(path, f"unknown parameter {text!r}", suggest(text, [f"${name}" for name in parameters]), text)


def _may_be_due(loc: Sequence[str | int], open_: Sequence[Path_]) -> bool:
    """Whether an error may vanish with another value: it is at a sample, or about several fields of a node with one."""
    return bool(open_) and (not loc or any(tuple(loc[: len(path)]) == path for path in open_))


def replaced(value: Any, values: Mapping[str, object]) -> Any:
    """Data with every ``$name`` replaced that has a value."""
    if isinstance(value, str):
        return values.get(value[1:], value) if value.startswith("$") else value
    if isinstance(value, Mapping):
        return {key: replaced(part, values) for key, part in cast(Mapping[str, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [replaced(part, values) for part in cast(Sequence[Any], value)]
    return value
