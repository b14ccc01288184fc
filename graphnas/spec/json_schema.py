"""JSON Schema of each kind of file, for editors: every form that loading accepts, with what each field means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from graphnas.errors import SpecError, suggest
from graphnas.registry import operations
from graphnas.spec.loading import KINDS

_PARAMETER = "ParameterName"
Schema = dict[str, Any]


def json_schema(kind: str) -> Schema:
    """The schema of a kind: search, task_pair, search_space or network.

    Raises:
        SpecError: No such kind.
    """
    if kind not in KINDS:
        raise SpecError(f"unknown kind {kind!r}", fix=suggest(kind, KINDS))
    schema = KINDS[kind].model_json_schema(by_alias=True)
    for fields in _objects(schema):
        for name in fields["properties"]:
            _complete(fields["properties"][name])
            if "op" in fields["properties"] and name != "op" and fields.get("title") in _operation_classes():
                _or_parameter(fields["properties"], name)
    definitions = schema.setdefault("$defs", {})
    definitions[_PARAMETER] = {
        "type": "string",
        "pattern": "^\\$[A-Za-z_]",
        "description": "The value of a parameter of the network: $name.",
    }
    root = _fields_of(definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema)
    required = ["kind", *(name for name in root.get("required", []) if name != "kind")]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "required": required, "$defs": definitions}


def _objects(schema: Any) -> Iterator[Schema]:
    """Every schema of an object with fields, however deep."""
    parts: list[Any] = []
    if isinstance(schema, dict):
        found = cast(Schema, schema)
        parts = list(found.values())
        if isinstance(found.get("properties"), dict):
            yield found
    elif isinstance(schema, list):
        parts = cast(list[Any], schema)
    for part in parts:
        yield from _objects(part)


def _fields_of(definition: Schema) -> Schema:
    """The object among the forms that a model may be written in."""
    return next((form for form in definition.get("anyOf", ()) if "properties" in form), definition)


def _complete(field: Schema) -> None:
    """A default is an example where no other is given; a name that chooses a model needs no words of its own."""
    if "const" in field:
        field.setdefault("description", "The name that chooses this.")
        field.setdefault("examples", [field["const"]])
    if "examples" not in field and field.get("default") is not None:
        field["examples"] = [field["default"]]


def _or_parameter(properties: Schema, name: str) -> None:
    """A field of a node may be a ``$name``."""
    field = properties[name]
    about = {key: field.pop(key) for key in ("title", "description", "default", "examples") if key in field}
    properties[name] = {"anyOf": [*(field["anyOf"] if set(field) == {"anyOf"} else [field]), {"$ref": f"#/$defs/{_PARAMETER}"}], **about}


def _operation_classes() -> frozenset[str]:
    return frozenset(operations.get(name).__name__ for name in operations.names())
