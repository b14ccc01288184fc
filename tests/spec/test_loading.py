"""References, presets, kinds, places: what is loaded and what is refused, each message whole."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphnas import SpecError, registry
from graphnas.ops.base import Operation
from graphnas.spec import (
    NetworkSpec,
    SearchSpaceSpec,
    SearchSpec,
    Template,
    dump_spec,
    load_spec,
    loading,
    parse_spec,
    preset_summary,
    presets,
)

Files = Callable[..., None]

SEARCH = """
kind: search
task_pair: pair.yaml
networks: {"*": {use: nets/network.yaml}}
space: space.json
training: {epochs: 2, batch_size: 4, optimizers: {weights: {type: sgd, lr: 0.1}}}
"""
PAIR = """
kind: task_pair
primary: a
sources: {s: {layout: webdataset, train: data/train.tar}}
inputs: {image: img.png}
tasks: {a: {type: depth, key: d.png}, b: {type: semantic_segmentation, key: s.png, classes: 3}}
"""
NETWORK = """
kind: network
parameters: {out_channels: integer}
inputs: {image: "image[3, H, W]"}
nodes:
  body: {op: network, use: parts/body.yaml, parameters: {width: 4}}
  head: {op: conv2d, out_channels: $out_channels}
outputs: head
"""
BODY = """
kind: network
parameters: {width: {type: integer, minimum: 1}}
inputs: {x: "image[3, H, W]"}
nodes: {conv: {op: conv2d, out_channels: $width}}
outputs: conv
"""
SPACE = '{"kind": "search_space", "links": []}'
ALL = {"search.yaml": SEARCH, "pair.yaml": PAIR, "nets/network.yaml": NETWORK, "nets/parts/body.yaml": BODY, "space.json": SPACE}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Writes files into the current folder, a fresh one."""
    monkeypatch.chdir(tmp_path)

    def write(**changed: str) -> None:
        for name, text in {**ALL, **{key.replace("__", "/").replace("_", "."): text for key, text in changed.items()}}.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(textwrap.dedent(text).lstrip("\n"))

    return write


def message(source: str | Path, **options: Any) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(source, **options)
    return str(caught.value)


def test_references_are_relative_to_the_file_that_names_them(files: Files, tmp_path: Path) -> None:
    files()
    for source in ("search.yaml", Path("search.yaml"), tmp_path / "search.yaml", "./search.yaml"):
        search = load_spec(source)
        assert isinstance(search, SearchSpec)
        network = search.networks["*"].use
        assert network.nodes["body"].use.nodes["conv"].data == {"op": "conv2d", "out_channels": "$width"}
        assert search.task_pair.sources["s"].train == str(tmp_path / "data" / "train.tar")
        assert isinstance(search.space, SearchSpaceSpec)


def test_every_document_knows_its_own_places(files: Files) -> None:
    files()
    search = load_spec("search.yaml")
    network = search.networks["*"].use
    inner = network.nodes["body"].use
    assert [str(where) for where in (
        search.where(), search.where("training", "epochs"), search.where("space"), search.task_pair.where("tasks", "b", "classes"),
        search.space.where("links"), network.where("nodes", "head"), network.where("nodes", "head", "no", "such"),
        inner.where("nodes", "conv", "out_channels"), inner.bind({"width": 3}).where("nodes", "conv", "out_channels"),
    )] == [
        "search.yaml:1:1", "search.yaml:5:20", "search.yaml:4:8", "pair.yaml:5:93",
        "space.json:1:35", "nets/network.yaml:6:9", "nets/network.yaml:6:9",
        "nets/parts/body.yaml:4:42", "nets/parts/body.yaml:4:42",
    ]  # fmt: skip
    assert str(search.task_pair.problem("no", "tasks", "b", fix="yes")) == "pair.yaml:5:42: tasks.b: no\n  fix: yes"
    assert search.model_copy().where("space") == search.where("space")


def test_what_is_built_in_python_has_no_place() -> None:
    space = parse_spec({"kind": "search_space", "links": []})
    assert space.where("links") is None
    assert str(space.problem("no", "links", 0)) == "links[0]: no"


def test_data_is_loaded_like_a_file(files: Files, tmp_path: Path) -> None:
    files()
    data = {
        "kind": "search",
        "task_pair": "pair.yaml",
        "space": "aux-nas",
        "training": {"epochs": 2, "batch_size": 4, "optimizers": {"weights": {"type": "sgd", "lr": 0.1}}},
    }
    there = parse_spec(data, folder=tmp_path)
    assert there == parse_spec(data)
    assert there.task_pair == load_spec("pair.yaml")
    with pytest.raises(SpecError) as caught:
        parse_spec({**data, "seed": -1, "space": "aux-nsa"}, folder="nowhere")
    assert str(caught.value) == (
        "seed: must be 0 or more, got -1\n  fix: seed: 0\n"
        "space: unknown search_space 'aux-nsa'\n  fix: did you mean 'aux-nas'?\n"
        "task_pair: pair.yaml: there is no such file\n  fix: there is no folder . either"
    )


def test_the_kind_of_data_may_be_said_by_the_caller() -> None:
    assert parse_spec({"links": []}, kind="search_space") == parse_spec({"kind": "search_space", "links": []})


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("links: []", None, "x.yaml:1:1: missing field 'kind'\n  fix: kind: search | task_pair | search_space | network"),
        ("links: []", "search_space", "x.yaml:1:1: missing field 'kind'\n  fix: kind: search_space"),
        ("links: 3", "search_space", "x.yaml:1:1: missing field 'kind'\n  fix: kind: search_space\n"
                                     "x.yaml:1:8: links: expected a list, got 3\n  fix: links: [...]"),
        ("kind: serach", None, "x.yaml:1:7: kind: unknown kind 'serach'\n  fix: did you mean 'search'?"),
        ("kind: [search]", None, "x.yaml:1:7: kind: expected a kind, got a list\n  fix: one of search, task_pair, search_space, network"),
        ("kind: network\nnodes: 3", "search", "x.yaml:1:7: kind: a search is expected, this is a network\n"
                                              "  fix: name a file of kind: search"),
        ("", None, "x.yaml:1:1: the file is empty\n  fix: start with kind: search"),
        ("# nothing\n", "network", "x.yaml:1:1: the file is empty\n  fix: start with kind: network"),
        ("- a\n", None, "x.yaml:1:1: expected a mapping of fields, got a list\n  fix: start with kind: search"),
        ("just text", None, "x.yaml:1:1: expected a mapping of fields, got text 'just text'\n  fix: start with kind: search"),
        ("kind: search_space\nversion: 2\nlinks: []", None, "x.yaml:2:10: version: expected 1, got 2\n  fix: version: 1"),
    ],
)  # fmt: skip
def test_files_of_no_kind_or_another(files: Files, text: str, kind: str | None, expected: str) -> None:
    files(x_yaml=text)
    assert message("x.yaml", kind=kind) == expected


def test_names_of_nothing(files: Files) -> None:
    files(x_yaml="a: 1")
    assert message("aux-nsa") == "aux-nsa: unknown preset 'aux-nsa'\n  fix: did you mean 'aux-nas'?"
    assert message("aux-nsa", kind="search_space") == "aux-nsa: unknown search_space 'aux-nsa'\n  fix: did you mean 'aux-nas'?"
    assert message("single-task", kind="network") == (
        "single-task: unknown network 'single-task'\n  fix: one of " + ", ".join(sorted(presets("network")))
    )
    assert message("search", kind="search") == "search: unknown search 'search'\n  fix: did you mean the file 'search.yaml'?"
    assert message("serch.yaml") == "serch.yaml: there is no such file\n  fix: did you mean 'search.yaml'?"
    assert message(Path("nets")) == "nets: a folder, not a file\n  fix: name a file in it: network.yaml"
    assert message("x.yaml", kind="serach") == "unknown kind 'serach'\n  fix: did you mean 'search'?"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("space: aux-nsa", "search.yaml:4:8: space: unknown search_space 'aux-nsa'\n  fix: did you mean 'aux-nas'?"),
        ("space: space", "search.yaml:4:8: space: unknown search_space 'space'\n  fix: did you mean the file 'space.json'?"),
        ("space: spaec.json", "search.yaml:4:8: space: spaec.json: there is no such file\n  fix: did you mean 'space.json'?"),
        ("space: no/space.yaml", "search.yaml:4:8: space: no/space.yaml: there is no such file\n  fix: there is no folder no either"),
        ("space: nets/", "search.yaml:4:8: space: nets: a folder, not a file\n  fix: name a file in it: network.yaml"),
        ("space: pair.yaml", "search.yaml:4:8: space: a search_space is expected here, pair.yaml is a task_pair\n"
                             "  fix: name a file of kind: search_space"),
        ("space: 3", "search.yaml:4:8: space: expected a search_space, got 3\n  fix: name a file or a preset, or write the fields"),
        ("space: {links: 3}", "search.yaml:4:16: space.links: expected a list, got 3\n  fix: links: [...]"),
        ("space: {kind: network, links: []}", "search.yaml:4:15: space.kind: expected search_space, got text 'network'\n"
                                               "  fix: kind: search_space"),
        ("", "search.yaml:1:1: missing field 'space'\n  fix: space: aux-nas"),
    ],
)  # fmt: skip
def test_references_to_nothing(files: Files, line: str, expected: str) -> None:
    files(search_yaml=SEARCH.replace("space: space.json", line))
    assert message("search.yaml") == expected


def test_problems_in_all_files_come_at_once_and_once(files: Files) -> None:
    files(
        search_yaml=SEARCH.replace('{"*": {', '{a: {use: nets/network.yaml}, "*": {').replace("epochs: 2", "epochs: two"),
        nets__parts__body_yaml=BODY.replace("$width", "$widht"),
        space_json='{"kind": "search_space", "links": [], "fusoin": {}}',
    )
    assert message("search.yaml") == (
        "nets/parts/body.yaml:4:42: nodes.conv.out_channels: unknown parameter '$widht'\n  fix: did you mean '$width'?\n"
        "search.yaml:5:20: training.epochs: expected a whole number, got text 'two'\n  fix: epochs: 1\n"
        "space.json:1:39: fusoin: unknown field 'fusoin'\n  fix: did you mean 'fusion'?"
    )


def test_what_can_not_be_read_does_not_hide_the_rest(files: Files) -> None:
    files(
        pair_yaml=PAIR.replace("primary: a", "primary: a\nprimary: b").replace("classes: 3", "classes: 0, key: !x z"), space_json='{"kind"}'
    )
    assert message("search.yaml") == (
        "pair.yaml:3:1: the key 'primary' stands twice\n  fix: the first is at pair.yaml:2:1: remove one\n"
        "pair.yaml:6:93: tasks.b.classes: must be 1 or more, got 0\n  fix: classes: 1\n"
        "pair.yaml:6:96: tasks.b: the key 'key' stands twice\n  fix: the first is at pair.yaml:6:72: remove one\n"
        "pair.yaml:6:101: tasks.b.key: YAML tags such as !x are not read\n  fix: remove !x\n"
        "space.json:1:8: not JSON: expected ':' after a key"
    )


def test_a_reference_beside_a_parameter_is_loaded_and_written_inside(files: Files) -> None:
    files(nets__network_yaml=NETWORK.replace("{width: 4}", "{width: $out_channels}"))
    network = load_spec("nets/network.yaml")
    assert isinstance(network.nodes["body"], Template)
    assert network.bind({"out_channels": 5}).nodes["body"].network.nodes["conv"].out_channels == 5
    dumped = dump_spec(network)
    assert dumped["nodes"]["body"]["use"]["kind"] == "network"
    Path("nets/parts/body.yaml").unlink()
    assert parse_spec(dumped) == network


def test_a_key_on_two_lines_does_not_break_a_message(files: Files) -> None:
    files(space_json='{"kind": "search_space", "links": [], "a\\nb": 1}')
    assert message("space.json").startswith("space.json:1:39: 'a\\nb': unknown field 'a\\nb'\n")


def test_cycles_name_their_chain(files: Files) -> None:
    files(nets__parts__body_yaml=NETWORK.replace("parts/body.yaml", "../network.yaml"))
    assert message("search.yaml") == (
        "nets/parts/body.yaml:5:28: nodes.body.use: specs refer to each other in a cycle: "
        "nets/network.yaml -> nets/parts/body.yaml -> nets/network.yaml\n"
        "  fix: let one of them not refer to the other"
    )
    files(nets__network_yaml=NETWORK.replace("parts/body.yaml", "network.yaml"))
    assert message("nets/network.yaml") == (
        "nets/network.yaml:5:28: nodes.body.use: specs refer to each other in a cycle: nets/network.yaml -> nets/network.yaml\n"
        "  fix: let one of them not refer to the other"
    )


def test_a_file_may_be_named_twice(files: Files) -> None:
    files(search_yaml=SEARCH.replace('{"*": {', '{a: nets/network.yaml, "*": {'))
    search = load_spec("search.yaml")
    assert search.networks["a"].use is search.networks["*"].use


def test_fields_of_other_models_may_be_documents_too(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ensemble(Operation):
        op: str = "ensemble"
        members: tuple[NetworkSpec, ...]

        def infer(self, inputs: Any) -> Any: ...
        def macs(self, inputs: Any) -> Any: ...
        def parameter_count(self, inputs: Any) -> Any: ...
        def build(self, inputs: Any) -> Any: ...

    monkeypatch.setattr(registry.operations, "_loaded", {**registry.operations._loaded, "ensemble": Ensemble})
    files(x_yaml=BODY.replace("op: conv2d, out_channels: $width", "op: ensemble, members: [nets/parts/body.yaml, nets/parts/bdoy.yaml]"))
    assert message("x.yaml") == (
        "x.yaml:4:62: nodes.conv.members[1]: nets/parts/bdoy.yaml: there is no such file\n  fix: did you mean 'body.yaml'?"
    )


def test_every_preset_says_what_it_is() -> None:
    assert list(presets("search_space")) == [
        "aux-g-layer", "aux-g-stage", "aux-head", "aux-nas", "aux-nas-all", "aux-nas-auto", "aux-nas-binary", "aux-nas-clamp",
        "aux-nas-mix", "aux-nas-proximal", "aux-nas-random", "cross-stitch", "mtl-nas", "nddr", "single-task",
    ]  # fmt: skip
    assert presets("search") == {}
    for kind in ("search_space", "network", "task_pair"):
        for name in presets(kind):
            assert len(preset_summary(kind, name)) > 20


def test_a_presets_data_lie_where_the_user_is(files: Files, tmp_path: Path) -> None:
    files()
    for name in presets("task_pair"):
        for source in load_spec(name).sources.values():
            assert (getattr(source, "root", None) or source.train).startswith(str(tmp_path))


def test_a_name_of_two_kinds_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = presets("search_space")["aux-nas"]
    monkeypatch.setattr(loading, "presets", lambda kind: {"same": found})
    assert message("same") == "same: 'same' is a search_space and a task_pair and a network\n  fix: name the file"
    assert load_spec("same", kind="search_space").kind == "search_space"
