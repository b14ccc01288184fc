"""``--set``: what can be reached, and how messages name it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graphnas import SpecError
from graphnas.spec import SearchSpec, load_spec, parse_spec
from tests.spec.conftest import Write

SEARCH = """
kind: search
task_pair: pair.yaml
networks: {"*": network.yaml}
space: space.yaml
training:
  epochs: 2
  batch_size: 4
  optimizers: {weights: {type: sgd, lr: 0.1, schedule: cosine, groups: {"**.head.**": {lr: 1e-3}}}}
"""
PAIR = """
kind: task_pair
primary: normals
sources: {rooms: {layout: webdataset, train: data/train.tar}}
inputs: {image: img.png}
tasks:
  normals: {type: surface_normal, key: n.png}
  seg: {type: semantic_segmentation, key: s.png, classes: 3}
transforms: [horizontal_flip, {random_crop: [8, 8]}]
"""
NETWORK = """
kind: network
parameters: {out_channels: integer, width: {type: integer, default: 4}}
inputs: {image: "image[3, H, W]"}
nodes:
  stem.conv: {op: conv2d, out_channels: $width}
  stem.act: relu
  body: {op: network, use: body.yaml}
  head: {op: conv2d, out_channels: $out_channels}
outputs: head
taps: {s1: stem.act}
"""
BODY = "kind: network\ninputs: {x: 'image[4, H, W]'}\nnodes: {a: relu, b: &r {op: relu}, c: *r}\noutputs: c\n"
SPACE = """
kind: search_space
links:
  - {direction: auxiliary -> primary, operations: [conv1x1], gate: sigmoid, converges_to: zero}
  - {direction: primary -> auxiliary, operations: [conv1x1], converges_to: free}
"""


@pytest.fixture(autouse=True)
def _files(write: Write) -> None:
    for name, text in (("search", SEARCH), ("pair", PAIR), ("network", NETWORK), ("body", BODY), ("space", SPACE)):
        write(f"{name}.yaml", text)


def at(spec: Any, path: str) -> Any:
    for part in path.split("/"):
        spec = spec[int(part)] if isinstance(spec, tuple) else spec[part] if isinstance(spec, dict) else getattr(spec, part)
    return spec


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=3", "training/epochs", 3),
        ("training.optimizers.weights.lr=1e-2", "training/optimizers/weights/lr", 0.01),
        ("training.optimizers.weights.schedule.warmup=0.1", "training/optimizers/weights/schedule/warmup", 0.1),
        ("training.optimizers.weights.groups.**.head.**.lr=1", "training/optimizers/weights/groups/**.head.**/lr", 1),
        ("training.optimizers.alphas={type: adam, lr: 1}", "training/optimizers/alphas/type", "adam"),
        ("training.clip_gradient=null", "training/clip_gradient", None),
        ("runtime.checkpoint_every={minutes: 5}", "runtime/checkpoint_every/minutes", 5),
        ("runtime.threads=2", "runtime/threads", 2),
        ("primary=seg", "primary_task", "seg"),
        ("seed = 7", "seed", 7),
        ("task_pair.tasks.normals.loss=l1", "task_pair/tasks/normals/loss", "l1"),
        ("task_pair.tasks.normals.labeled.count=9", "task_pair/tasks/normals/labeled/count", 9),
        ("task_pair.inputs.image.normalize=none", "task_pair/inputs/image/normalize", "none"),
        ("task_pair.transforms.0.horizontal_flip.probability=0.25", "task_pair/transforms/0/probability", 0.25),
        ("task_pair.transforms[1].random_crop=[4, 6]", "task_pair/transforms/1/size", (4, 6)),
        ("task_pair.transforms=[]", "task_pair/transforms", ()),
        ("space.links[0].gate.initial=0.125", "space/links/0/gate/initial", 0.125),
        ("space.links.1.where.max_gap=1", "space/links/1/where/max_gap", 1),
        ("space.links[0].operations[0].initial=kaiming", "space/links/0/operations/0/initial", "kaiming"),
        ("space.fusion.norm.eps=0.5", "space/fusion/norm/eps", 0.5),
        ("networks.*.parameters.width=8", "networks/*/parameters/width", 8),
        ("networks.*.use.nodes.stem.conv.out_channels=5", "networks/*/use/nodes/stem.conv/out_channels", 5),
        ("networks.*.use.nodes.stem.act.repeat=2", "networks/*/use/nodes/stem.act/repeat", 2),
        ("networks.*.use.nodes.body.use.nodes.a.op=gelu", "networks/*/use/nodes/body/use/nodes/a/op", "gelu"),
        ("networks.*.use.nodes.body.use.nodes.c.op=gelu", "networks/*/use/nodes/body/use/nodes/b/op", "relu"),
        ("networks.*.use.taps.s1.layout=nchw", "networks/*/use/taps/s1/layout", "nchw"),
        ("networks.seg.use=network.yaml", "networks/seg/use/outputs/prediction", "head"),
    ],
)
def test_a_field_can_be_set(override: str, path: str, value: object) -> None:
    spec = load_spec("search.yaml", overrides=[override])
    assert at(spec, path) == value


def test_one_after_the_other() -> None:
    gate = ["space=aux-nas", "space.links[1].gate=fixed", "space.links[1].gate.initial=0.5"]
    spec = load_spec("search.yaml", overrides=[*gate, "training.epochs=null", "training.steps=9"])
    assert (spec.space.links[1].gate.function, spec.space.links[1].gate.initial, spec.training.steps) == ("fixed", 0.5, 9)
    assert spec.space.links[0] == load_spec("aux-nas").links[0]


def test_paths_start_from_here_not_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "empty.yaml").write_text("kind: search_space\nlinks: []\n")
    overrides = ["task_pair.sources.rooms.train=a.tar", "networks.normals={use: ../network.yaml, start_from: b}", "space=empty.yaml"]
    spec = load_spec("../search.yaml", overrides=overrides)
    assert spec.task_pair.sources["rooms"].train == str(tmp_path / "elsewhere" / "a.tar")
    assert spec.networks["normals"].start_from == str(tmp_path / "elsewhere" / "b")
    assert spec.networks["normals"].use == spec.networks["*"].use
    assert spec.space.links == ()


def test_what_is_set_is_equal_to_what_is_written() -> None:
    spec = load_spec("search.yaml", overrides=["networks.*.parameters={width: 8}", "task_pair.tasks.normals.loss=l1"])
    Path("pair.yaml").write_text(PAIR.replace("key: n.png", "key: n.png, loss: l1").lstrip())
    Path("search.yaml").write_text(SEARCH.replace('"*": network.yaml', '"*": {use: network.yaml, parameters: {width: 8}}').lstrip())
    assert spec == load_spec("search.yaml")
    assert isinstance(spec, SearchSpec)
    assert [str(spec.where("networks", "*", "parameters", "width")), str(spec.task_pair.where("tasks", "normals", "loss"))] == [
        "--set networks.*.parameters",
        "--set task_pair.tasks.normals.loss",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=0", "--set training.epochs: must be 1 or more, got 0\n  fix: epochs: 1"),
        ("trainig.epochs=3", "--set trainig.epochs: trainig: unknown field 'trainig'\n  fix: did you mean 'training'?"),
        ("training.epoch=3", "--set training.epoch: unknown field 'epoch'\n  fix: did you mean 'epochs'?"),
        ("task_pair.tasks.normals.loss=cosin", "--set task_pair.tasks.normals.loss: unknown value 'cosin'\n  fix: did you mean 'cosine'?"),
        ("space.links[2].gate=1", "--set space.links[2].gate: space.links has no item 2, it has 2\n  fix: an index from 0 to 1"),
        ("space.links.gate=1", "--set space.links.gate: space.links has no item gate, it has 2\n  fix: an index from 0 to 1"),
        ("seed.x=3", "--set seed.x: seed is 0, it has no fields\n  fix: --set seed=..."),
        ("networks={'*': {use: 3}}", "--set networks: networks.*.use: expected a network, got 3\n"
                                     "  fix: name a file or a preset, or write the fields"),
        ("space=aux-nsa", "--set space: unknown search_space 'aux-nsa'\n  fix: did you mean 'aux-nas'?"),
        ("space=sapce.yaml", "--set space: sapce.yaml: there is no such file\n  fix: did you mean 'space.yaml'?"),
        ("space.links[0].gate=sigmoyd", "--set space.links[0].gate: unknown gate function 'sigmoyd'\n  fix: did you mean 'sigmoid'?"),
        ("seed=[1", "--set seed: not YAML: a list is never closed\n  fix: add ] or a comma"),
        ("seed", "--set: expected FIELD=VALUE, got 'seed'\n  fix: --set training.epochs=3"),
        ("=3", "--set: expected FIELD=VALUE, got '=3'\n  fix: --set training.epochs=3"),
        ("a..b=3", "--set a..b: not the name of a field\n  fix: names with dots between them: training.epochs"),
        ("task_pair.primary=segm", "--set task_pair.primary: 'segm' is no task\n  fix: did you mean 'seg'?"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_named(override: str, message: str) -> None:
    Path("search.yaml").write_text((SEARCH + "seed: 0\n").lstrip())
    with pytest.raises(SpecError) as caught:
        load_spec("search.yaml", overrides=[override])
    assert str(caught.value) == message


def test_all_of_them_with_the_files_own_problems() -> None:
    Path("space.yaml").write_text("kind: search_space\nlinks: none\n")
    with pytest.raises(SpecError) as caught:
        load_spec("search.yaml", overrides=["seed=-1", "space.links[0].gate=fixed", "runtime.workers=x"])
    assert str(caught.value) == (
        "--set runtime.workers: expected a whole number, got text 'x'\n  fix: workers: 1\n"
        "--set seed: must be 0 or more, got -1\n  fix: seed: 0\n"
        "--set space.links[0].gate: space.links is text 'none', it has no fields\n  fix: --set space.links=...\n"
        "space.yaml:2:8: links: expected a list, got text 'none'\n  fix: links: [...]"
    )


def test_loading_changes_no_data() -> None:
    data = {"kind": "search_space", "links": []}
    assert parse_spec(data) == load_spec("single-task")
    assert data == {"kind": "search_space", "links": []}
