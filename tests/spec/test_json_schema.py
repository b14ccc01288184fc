"""The JSON Schema of every kind: all fields described, and every form that loading accepts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from graphnas import SpecError, registry
from graphnas.spec import KINDS, json_schema


def fields(schema: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(model, field, schema) of every field, however deep."""
    if isinstance(schema, dict):
        if "title" in schema and isinstance(schema.get("properties"), dict):
            yield from ((schema["title"], name, field) for name, field in schema["properties"].items())
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from fields(part)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_its_meaning_and_an_example(kind: str) -> None:
    found = list(fields(json_schema(kind)))
    assert len(found) > 20
    assert [(model, name) for model, name, field in found if len(field.get("description", "")) < 4] == []
    assert [(model, name) for model, name, field in found if not field.get("examples")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_references_lead_somewhere(kind: str) -> None:
    schema = json_schema(kind)
    text = json.dumps(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "kind" in schema["required"]
    for part in text.split('"$ref": "')[1:]:
        target = part.partition('"')[0]
        assert target.startswith("#/$defs/")
        assert target.removeprefix("#/$defs/") in schema["$defs"]


def test_short_forms_references_and_parameters_are_in_it() -> None:
    search = json_schema("search")
    assert search["$defs"]["NetworkSpec"]["anyOf"][0]["type"] == "string"
    assert {"type": "string"} in search["$defs"]["NetworkUse"]["anyOf"] or search["$defs"]["NetworkUse"]["anyOf"][0]["$ref"]
    assert search["$defs"]["Norm"]["anyOf"][0] == {"enum": ["none", "batch_norm", "layer_norm"], "type": "string"}
    assert search["$defs"]["LinearWeight"]["anyOf"][0] == {"type": "number", "minimum": 0}
    nodes = json_schema("network")["properties"]["nodes"]["additionalProperties"]["anyOf"]
    assert nodes[0]["enum"] == registry.operations.names()
    convolution = next(node for node in nodes if node.get("title") == "Conv2d")
    assert convolution["properties"]["out_channels"]["anyOf"] == [
        {"exclusiveMinimum": 0, "type": "integer"},
        {"$ref": "#/$defs/ParameterName"},
    ]
    assert convolution["properties"]["kernel_size"]["default"] == 3
    gate = next(one for model, name, one in fields(json_schema("search_space")) if (model, name) == ("Sigmoid", "initial"))
    assert "anyOf" not in gate  # no parameters outside of networks


def test_no_such_kind() -> None:
    with pytest.raises(SpecError) as caught:
        json_schema("serach")
    assert str(caught.value) == "unknown kind 'serach'\n  fix: did you mean 'search'?"


def test_the_command_prints_it() -> None:
    done = subprocess.run([sys.executable, "-m", "graphnas", "schema", "search_space"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(json_schema("search_space")))
