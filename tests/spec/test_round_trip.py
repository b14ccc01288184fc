"""What is loaded from data, JSON or YAML and written again is the same; the strategies hold valid specs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnas.spec import Document, dump_spec, load_spec, parse_spec, presets, to_yaml
from graphnas.spec.presets import FOLDERS
from graphnas.spec.source import read_text
from tests.strategies import networks, search_spaces, searches, task_pairs

Strategy = st.SearchStrategy[dict[str, Any]]
STRATEGIES = {"space": search_spaces(), "network": networks(), "pair": task_pairs(), "search": searches()}
kinds = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


@kinds
@given(data=st.data())
@settings(max_examples=25)
def test_data_json_and_yaml_load_to_the_same(strategy: Strategy, data: st.DataObject, tmp_path_factory: Any) -> None:
    written = data.draw(strategy)
    before = copy.deepcopy(written)
    spec = parse_spec(written)
    assert written == before
    dumped = dump_spec(spec)
    assert json.loads(json.dumps(dumped)) == dumped
    assert parse_spec(dumped) == spec
    folder = tmp_path_factory.getbasetemp()
    for name, text in (
        ("a.json", json.dumps(written)),
        ("b.json", json.dumps(written, ensure_ascii=False, indent="\t")),
        ("c.json", json.dumps(dumped)),
        ("d.yaml", to_yaml(spec)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
        source = Path(folder, name)
        loaded = load_spec(source)
        if name in ("c.json", "d.yaml"):  # relative paths of the others start from the folder
            assert loaded == spec
            assert dump_spec(loaded) == dumped
        else:
            assert dump_spec(loaded) == dump_spec(parse_spec(written, folder=folder))


@kinds
@given(data=st.data())
@settings(max_examples=20)
def test_a_copy_is_equal_and_any_other_field_is_not(strategy: Strategy, data: st.DataObject) -> None:
    spec = parse_spec(data.draw(strategy))
    assert spec.model_copy() == spec == copy.deepcopy(spec)
    other = parse_spec(data.draw(strategy))
    assert (other == spec) == (dump_spec(other) == dump_spec(spec))


def test_models_that_are_passed_are_kept() -> None:
    space = load_spec("aux-nas")
    network = load_spec("small-resnet-fpn")
    pair = {"primary": "a", "sources": {"s": {"layout": "python"}}, "inputs": {"image": "i"}, "tasks": {"a": {"type": "depth", "key": "d"}}}
    training = {"steps": 1, "batch_size": 2, "optimizers": {"weights": {"type": "sgd", "lr": 0.1}}}
    search = parse_spec({"kind": "search", "task_pair": pair, "networks": {"*": network}, "space": space, "training": training})
    assert search.space is space
    assert search.networks["*"].use is network
    assert parse_spec(dump_spec(search)) == search


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in FOLDERS for name in presets(kind)])
def test_presets(kind: str, name: str) -> None:
    spec = load_spec(name)
    assert isinstance(spec, Document)
    assert kind == spec.KIND
    assert load_spec(name, kind=kind) == spec
    assert parse_spec(dump_spec(spec)) == spec


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8))  # fmt: skip
@settings(max_examples=200)
def test_json_is_read_as_pythons_own_reader_does(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=" \t\n ")):
        source = read_text(text, "x.json", json=True)
        assert source.problems == []
        assert source.data == value == json.loads(text)
