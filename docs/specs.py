"""Writes docs/specs.md, the reference of all fields, from the JSON Schemas: ``python docs/specs.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphnas import registry
from graphnas.registry import Registry
from graphnas.spec import json_schema

KINDS = {
    "search": "A search ties task pair, networks and space to optimizers, a schedule, a seed, and where to start from.",
    "task_pair": "A task pair names the tasks, one of them primary, and their data, labels, losses and metrics.",
    "search_space": "A search space says which links are candidates, what they may do, and what must be true in the end.",
    "network": "A network is a typed graph of operations, or a whole network of a library or of your own as one node.",
}
DOCUMENTS = {"SearchSpec": "search", "TaskPairSpec": "task_pair", "SearchSpaceSpec": "search_space", "NetworkSpec": "network"}
REGISTRIES: Mapping[str, Registry] = {
    "Operations": registry.operations,
    "Link operations": registry.link_operations,
    "Gate functions": registry.gates,
    "Penalties": registry.penalties,
    "Task types": registry.task_types,
    "Layouts": registry.layouts,
    "Transforms": registry.transforms,
    "Balances": registry.balances,
}
HEAD = """\
# Fields of the four kinds of file

Written by `docs/specs.py` from the schemas that `graphnas schema KIND` prints; a test keeps the two equal.

Files are YAML (1.2 core schema: `1e-3` is a number, `no` is text) or JSON. Each says its `kind`, and may say `version: 1`. Where a
reference to another file is expected, a path with a suffix is relative to the file that names it, a name without one is a file that comes
with graphnas (`graphnas list spaces`), and the content may also stand there itself. Where an object has one telling field, its plain value
will do: `conv1x1` for `{op: conv1x1}`. Every node of a network also takes `inputs` (names of values; left out, the node before; of a
network made elsewhere also `{argument: value}`) and `repeat` (how many times in a row, each with weights of its own). Unknown fields are
errors.
"""


def document() -> str:
    """All of docs/specs.md."""
    parts = [HEAD]
    seen: set[str] = set()
    for kind, what in KINDS.items():
        schema = json_schema(kind)
        parts += [f"## {kind}", what, table(schema)]
        for name, inner in schema.get("$defs", {}).items():
            if name not in seen and name not in DOCUMENTS and is_object(inner):
                seen.add(name)
                fields = full_form(inner)
                parts += [f"### {name}", f"{fields.get('description', '')}", table(fields)]
    for title, entries in REGISTRIES.items():
        parts.append(f"## {title}")
        for name in entries.names():
            schema = full_form(entries.get(name).model_json_schema(by_alias=True))
            parts += [f"### `{name}`", f"{first_paragraph(schema.get('description', ''))}"]
            if any(field not in COMMON for field in schema["properties"]):
                parts.append(table(schema, leave_out=COMMON))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


COMMON = frozenset({"op", "inputs", "repeat", "function", "layout"})
"""Fields that choose the model, or that all of a kind have; said once in HEAD or in the description of the kind."""


def table(schema: Mapping[str, Any], leave_out: frozenset[str] = frozenset()) -> str:
    """The fields of an object as a Markdown table."""
    required = set(schema.get("required", ()))
    rows = ["| field | value | default | |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        if name in leave_out:
            continue
        otherwise = "**required**" if name in required else default(field)
        rows.append(f"| `{name}` | {words(field)} | {otherwise} | {cell(field.get('description', ''))} |")
    return "\n".join(rows)


def default(field: Mapping[str, Any]) -> str:
    """The default, unless it is nothing, or an object whose own table says it."""
    value = field.get("default")
    return "" if value is None or (isinstance(value, dict) and value and "$ref" in field) else code(value)


def full_form(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a model's mapping; a model with a telling field also takes a plain value."""
    if "properties" in schema:
        return schema
    return next(option for option in schema["anyOf"] if "properties" in option)


def is_object(schema: Mapping[str, Any]) -> bool:
    """Whether it is of a model's mapping, alone or beside a plain value."""
    return "properties" in schema or any("properties" in option for option in schema.get("anyOf", ()))


def words(field: Mapping[str, Any]) -> str:
    """The type of a field in words."""
    return " or ".join(dict.fromkeys(alternatives(field)))


def alternatives(field: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in field:
        yield reference(field["$ref"].rpartition("/")[2])
    elif "const" in field:
        yield code(field["const"])
    elif (entries := registry_of(field)) is not None:
        yield entries
    elif "enum" in field:
        yield ", ".join(code(value) for value in field["enum"])
    elif "anyOf" in field:
        for option in field["anyOf"]:
            if option.get("type") != "null":
                yield from alternatives(option)
    else:
        yield plain(field)


def plain(field: Mapping[str, Any]) -> str:
    match field.get("type"):
        case "array":
            if "prefixItems" in field:
                return f"list: {', '.join(words(item) for item in field['prefixItems'])}"
            return f"list of {words(field.get('items', {}))}"
        case "object":
            inner = field.get("additionalProperties")
            return f"mapping to {words(inner)}" if isinstance(inner, dict) and inner else "mapping"
        case "integer" | "number" as kind:
            bounds = [f"{sign} {field[key]:g}" for key, sign in BOUNDS.items() if key in field]
            return " ".join([kind, *bounds])
        case "string":
            return "text"
        case "boolean":
            return "`true` or `false`"
        case _:
            return "any"


BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def registry_of(field: Mapping[str, Any]) -> str | None:
    """A link to the section of a registry, where the field is chosen from one."""
    options = field.get("anyOf", [{}])
    for title, entries in REGISTRIES.items():
        if entries.names() and options[0].get("enum") == entries.names():
            return f"[{title.lower()}](#{title.lower().replace(' ', '-')})"
    return None


def reference(name: str) -> str:
    target = DOCUMENTS.get(name, name)
    return f"[{target}](#{target.lower()})"


def code(value: Any) -> str:
    """A value as YAML would have it, in the flow style."""
    return f"`{flow(value)}`"


def flow(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}: {flow(part)}" for key, part in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(flow(part) for part in value) + "]"
        case _:
            return str(value)


def first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(document(), encoding="utf-8")
