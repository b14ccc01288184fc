"""Searches, their optimizers and task pairs: what fits together and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graphnas import SpecError
from graphnas.schema import in_yaml
from graphnas.spec import Every, Optimizer, Schedule, SearchSpec, load_spec, parse_spec
from graphnas.spec.optimizer import optimizer_classes
from tests.spec.conftest import Refused, Write

PAIR: dict[str, Any] = {
    "primary": "normals",
    "sources": {"rooms": {"layout": "webdataset", "train": "data/train.tar"}},
    "inputs": {"image": "img.png"},
    "tasks": {
        "normals": {"type": "surface_normal", "key": "n.png"},
        "seg": {"type": "semantic_segmentation", "key": "s.png", "classes": 3},
    },
}
NETWORK = {"inputs": {"image": "image[3, H, W]"}, "parameters": {"width": "integer"}, "nodes": {"n": "relu"}, "outputs": "n"}


def search(**changed: Any) -> SearchSpec:
    optimizers = {"weights": {"type": "adamw", "lr": 3e-3}, "alphas": {"type": "adam", "lr": 1e-2}}
    data = {"kind": "search", "task_pair": PAIR, "space": "aux-nas", "training": {"epochs": 2, "batch_size": 4, "optimizers": optimizers}}
    return parse_spec(data | changed)


def message(**changed: Any) -> str:
    with pytest.raises(SpecError) as caught:
        search(**changed)
    return str(caught.value)


def test_what_is_left_out() -> None:
    spec = search()
    assert (spec.primary_task, spec.auxiliaries) == ("normals", ("seg",))
    assert (spec.balance.type, spec.balance.weights) == ("sum", {})
    assert (spec.start_from, spec.baseline, spec.seed, spec.networks) == ("scratch", "single-task", 0, {})
    assert (spec.training.updates, spec.training.select.metric, spec.training.evaluate_every) == ("alternate", "last", Every(epochs=1))
    assert (spec.runtime.device, spec.runtime.precision, spec.runtime.checkpoint_every) == ("auto", "float32", Every(epochs=1))


def test_a_space_brings_the_balance_of_searches_that_name_none() -> None:
    own = search(space="aux-nas-auto").balance
    assert (own.type, own.until) == ("label_ratio", 0.5)
    assert search(space="aux-nas-auto", balance="sum").balance.type == "sum"
    assert search(space="aux-nas-auto", task_pair=PAIR | {"tasks": {"normals": PAIR["tasks"]["normals"]}}).balance.type == "sum"


def test_a_search_may_choose_another_primary() -> None:
    spec = search(primary="seg", networks={"*": {"use": NETWORK}, "seg": {"use": NETWORK, "parameters": {"width": 2}}})
    assert (spec.primary_task, spec.auxiliaries) == ("seg", ("normals",))
    used = [spec.network_of(task) for task in ("seg", "normals")]
    assert used == [spec.networks["seg"], spec.networks["*"]]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"primary": "normal"}, "primary: 'normal' is no task\n  fix: did you mean 'normals'?"),
        ({"networks": {"sge": {"use": NETWORK}}}, "networks.sge: 'sge' is no task\n  fix: did you mean 'seg'?"),
        ({"networks": {"seg": {"use": NETWORK, "parameters": {"wdith": 2, "width": 2.5}}}},
         "networks.seg.parameters.wdith: the network has no parameter 'wdith'\n  fix: did you mean 'width'?\n"
         "networks.seg.parameters.width: expected a whole number, got 2.5"),
        ({"networks": {"seg": NETWORK}}, None),
        ({"networks": {"seg": {"use": NETWORK, "into": "encoder", "allow_missing": ["head.**"]}}},
         "networks.seg.allow_missing: allow_missing is of weights, and there are none\n  fix: start_from: FILE\n"
         "networks.seg.into: into is of weights, and there are none\n  fix: start_from: FILE"),
        ({"balance": {"weights": {"sge": 3}}}, "balance.weights.sge: 'sge' is no task\n  fix: did you mean 'seg'?"),
        ({"balance": {"weights": {"seg": -3}}}, None),
        ({"balance": "som"}, "balance: unknown balance 'som'\n  fix: did you mean 'sum'?"),
        ({"balance": "pcgard"}, "balance: unknown balance 'pcgard'\n  fix: did you mean 'pcgrad'?"),
        ({"balance": {"type": "cagrad", "c": -1, "weights": {"sge": 1}}}, "balance.c: must be 0 or more, got -1\n  fix: c: 0"),
        ({"balance": "pcgrad", "runtime": {"precision": "float16"}},
         "runtime.precision: 'pcgrad' compares gradients, which the scaler of float16 multiplies and leaves out\n"
         "  fix: precision: bfloat16"),
        ({"runtime": {"compile": "reduce-overhead"},
          "training": {"epochs": 1, "batch_size": 1, "accumulate": 4, "optimizers": {"weights": {"type": "sgd", "lr": 1}}}},
         "runtime.compile: CUDA graphs write a batch's gradients over those of the one before, and accumulate: 4 adds them up\n"
         "  fix: compile: true, or accumulate: 1"),
        ({"balance": "pcgrad", "runtime": {"compile": True, "precision": "float16"}},
         "runtime.compile: 'pcgrad' asks which weights a loss reaches: torch.compile gives zeros, not nothing, to the others\n"
         "  fix: compile: false, or balance: sum\n"
         "runtime.precision: 'pcgrad' compares gradients, which the scaler of float16 multiplies and leaves out\n"
         "  fix: precision: bfloat16"),
        ({"runtime": {"compile": "reduce-overheads"}},
         "runtime.compile: torch.compile has no mode 'reduce-overheads'\n  fix: did you mean 'reduce-overhead'?"),
        ({"runtime": {"compile": 1}}, None),
        ({"space": {"links": [{"direction": "sge -> primary", "operations": ["conv1x1"], "converges_to": "zero"}]}},
         "links[0].direction: unknown role or task 'sge'\n  fix: did you mean 'seg'?"),
        ({"space": {"links": [{"direction": "seg -> normals", "operations": ["conv1x1"], "converges_to": "free"}]}},
         "links[0].converges_to: seg -> normals converges to free, and would stay in the primary\n"
         "  fix: converges_to: zero, or constraints: {inference: all}"),
        ({"start_from": "single"}, "start_from: unknown value 'single'\n  fix: did you mean 'single-task'?"),
        ({"runtime": {"checkpoint_every": {"epochs": 1, "steps": 3}}},
         "runtime.checkpoint_every: give one of epochs, steps, minutes\n  fix: epochs: 1"),
        ({"runtime": {"precision": "float8", "workers": -1}},
         "runtime.precision: unknown value 'float8'\n  fix: did you mean 'float32'?\nruntime.workers: must be 0 or more, got -1\n"
         "  fix: workers: 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit(changed: dict[str, Any], expected: str | None) -> None:
    found = message(**changed)
    assert expected is None or found == expected


def test_a_balance_of_losses_works_with_float16() -> None:
    assert search(balance="dwa", runtime={"precision": "float16"}).balance.type == "dwa"


@pytest.mark.parametrize("balance", ["upgrad", "gcs", "uncertainty", "famo"])
def test_a_balance_of_several_tasks_needs_an_auxiliary(balance: str, write: Write) -> None:
    tasks = {"normals": PAIR["tasks"]["normals"]}
    write("search.yaml", in_yaml({"kind": "search", "task_pair": PAIR | {"tasks": tasks}, "space": "single-task",
        "training": {"epochs": 2, "batch_size": 4, "optimizers": {"weights": {"type": "sgd", "lr": 1}}}})[:-1]
        + f",\n balance: {{type: {balance}}}}}")  # fmt: skip
    with pytest.raises(SpecError) as caught:
        load_spec("search.yaml")
    assert str(caught.value) == (
        f"search.yaml:2:11: balance: {balance!r} is about two tasks or more, and 'normals' is the only one\n"
        "  fix: balance: sum, or add an auxiliary task"
    )


def test_a_solver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphnas.search.balance.base.find_spec", lambda name: None if name == "quadprog" else name)
    assert message(balance="upgrad") == "balance: 'upgrad' needs quadprog, not installed here\n  fix: pip install 'graphnas[balances]'"
    assert search(balance="pcgrad").balance.type == "pcgrad"


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, "training: give epochs or steps, one of them\n  fix: epochs: 60"),
        ({"epochs": 1, "steps": 1}, "training: give epochs or steps, one of them\n  fix: epochs: 60"),
        ({"epochs": "3"}, "training.epochs: expected a whole number, got text '3'\n  fix: epochs: 3"),
        ({"epochs": 3.0}, "training.epochs: expected a whole number, got 3.0\n  fix: epochs: 3"),
        ({"epochs": True}, "training.epochs: expected a whole number, got true\n  fix: epochs: 1"),
        ({"epochs": 1, "select": "mean_angel"},
         "training.select: normals has no metric 'mean_angel'\n  fix: did you mean 'mean_angle'?"),
        ({"epochs": 1, "select": {"metric": "miou"}}, "training.select.metric: normals has no metric 'miou'"),
        ({"epochs": 1, "select": {"metric": "last", "after": "never"}},
         "training.select.after: expected ramp_end or a number, got text 'never'\n  fix: after: ramp_end"),
        ({"epochs": 1, "select": {"metric": "last", "after": 1.5}}, "training.select.after: must be 1 or less, got 1.5\n  fix: after: 1"),
        ({"epochs": 1, "finetune": {"optimizer": {"type": "sgd", "lr": 0}}},
         "training.finetune.optimizer.lr: must be more than 0, got 0"),
        ({"epochs": 1, "batch_size": 0, "clip_gradient": 0},
         "training.batch_size: must be 1 or more, got 0\n  fix: batch_size: 1\ntraining.clip_gradient: must be more than 0, got 0"),
    ],
)  # fmt: skip
def test_training(training: dict[str, Any], expected: str) -> None:
    optimizers = {"weights": {"type": "sgd", "lr": 1}}
    found = message(training={"batch_size": 1, "optimizers": optimizers} | training)
    assert found.partition("\n  fix: one of")[0] == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "adamw", "lr": 1, "weight_decya": 0}, "weight_decya: unknown field 'weight_decya'\n  fix: did you mean 'weight_decay'?"),
        ({"type": "adamw", "lr": 1, "momentum": 0.9}, "momentum: unknown field 'momentum'"),
        ({"type": "adamww", "lr": 1}, "type: unknown optimizer 'adamww'\n  fix: did you mean 'adamw'?"),
        ({"type": "lbfgs", "lr": 1}, "type: unknown optimizer 'lbfgs'"),
        ({"type": "adam"}, ": missing field 'lr'\n  fix: lr: 0.003"),
        ({"type": "adam", "lr": 1, "weight_decay": "much"}, "weight_decay: expected a number, got text 'much'"),
        ({"type": "adam", "lr": 1, "betas": [0.9]}, "betas: expected a list of 2 numbers, got a list"),
        ({"type": "adam", "lr": 1, "betas": [0.9, 1.9]}, ": torch refuses these: Invalid beta parameter at index 1: 1.9"),
        ({"type": "sgd", "lr": 1, "nesterov": "yes"}, "nesterov: expected true or false, got text 'yes'"),
        ({"type": "sgd", "lr": 1, "nesterov": True}, ": torch refuses these: Nesterov momentum requires a momentum and zero dampening"),
        ({"type": "sgd", "lr": 1, "groups": {"head.*": {"lr": -1, "wd": 0}}},
         "groups.head.*.lr: expected a number of 0 or more, got -1\n  fix: lr: 1e-3\n"
         "training.optimizers.weights.groups.head.*.wd: unknown field 'wd'"),
        ({"type": "sgd", "lr": 1, "schedule": "cosin"}, "schedule: unknown value 'cosin'\n  fix: did you mean 'cosine'?"),
        ({"type": "sgd", "lr": 1, "schedule": "step"}, "schedule: step has no milestones, so the rate would never change\n"
                                                      "  fix: milestones: [0.5, 0.75]"),
        ({"type": "sgd", "lr": 1, "schedule": {"warmup": 2}}, "schedule.warmup: must be 1 or less, got 2\n  fix: warmup: 1"),
    ],
)  # fmt: skip
def test_optimizers(fields: dict[str, Any], expected: str) -> None:
    found = message(training={"epochs": 1, "batch_size": 1, "optimizers": {"weights": fields}})
    assert found.partition("\n  fix: one of")[0] == f"training.optimizers.weights{'' if expected[0] == ':' else '.'}{expected}"


def test_every_optimizer_of_torch_that_can_be_used() -> None:
    assert {"adam", "adamw", "sgd", "rmsprop", "nadam"} <= optimizer_classes().keys()
    for name in optimizer_classes():
        assert Optimizer.model_validate({"type": name, "lr": 0.1}).type == name


def test_lists_of_a_file_are_torchs_tuples() -> None:
    made = Optimizer.model_validate({"type": "adam", "lr": 0.1, "betas": [0.5, 0.75], "groups": {"a": {"betas": [0.5, 0.5]}}})
    assert made.model_extra == {"betas": (0.5, 0.75)}
    assert made.groups["a"] == {"betas": (0.5, 0.5)}
    assert made == Optimizer(type="adam", lr=0.1, betas=(0.5, 0.75), groups={"a": {"betas": (0.5, 0.5)}})  # pyright: ignore[reportCallIssue]
    assert made.schedule == Schedule()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"primary": "normal"}, "primary: 'normal' is no task\n  fix: did you mean 'normals'?"),
        ({"tasks": {"primary": {"type": "depth", "key": "d"}}},
         "tasks.primary: 'primary' is a role, and no name of a task\n  fix: name the task after what it predicts"),
        ({"tasks": {"1st": {"type": "depth", "key": "d"}}},
         "tasks.1st: '1st' is no name of a task\n  fix: letters, digits, - and _; a letter first"),
        ({"tasks": {"normals": {"type": "surface_normals", "key": "n"}, "seg": {"type": "semantic_segmentation", "key": "s"}}},
         "tasks.normals.type: unknown task type 'surface_normals'\n  fix: did you mean 'surface_normal'?\n"
         "tasks.seg: missing field 'classes'\n  fix: classes: 11"),
        ({"sources": {}}, "sources: expected at least 1, got none"),
        ({"sources": {"a": {"layout": "webdatset", "train": "x"}}},
         "sources.a.layout: unknown layout 'webdatset'\n  fix: did you mean 'webdataset'?"),
        ({"sources": {"a": {"train": "x"}}}, "sources.a: no layout is named\n"
         "  fix: one of cityscapes, folder, huggingface, nyuv2, python, taskonomy, webdataset"),
        ({"sources": {"a": {"layout": "webdataset"}}}, "sources.a: missing field 'train'\n  fix: train: data/training.tar"),
        ({"inputs": {"image": {"key": "i", "normalize": "imgnet"}}},
         "inputs.image.normalize: unknown normalization 'imgnet'\n  fix: did you mean 'imagenet'?"),
        ({"inputs": {"image": {"key": "i", "normalize": {"mean": [0.5], "std": [0]}}}},
         "inputs.image.normalize.std[0]: must be more than 0, got 0"),
        ({"inputs": {"image": {"key": "i", "normalize": {"mean": [0.5, 0.5], "std": [1]}}}},
         "inputs.image.normalize: 2 means and 1 deviations\n  fix: one of each a channel"),
        ({"transforms": ["flip", {"random_crop": [0, 4]}, {"a": 1, "b": 2}, 3]},
         "transforms[0]: unknown transform 'flip'\n"
         "  fix: one of color_jitter, horizontal_flip, random_crop, random_scale, resize, rotation\n"
         "transforms[1].random_crop[0]: must be 1 or more, got 0\n  fix: 1\n"
         "transforms[2]: expected one transform, got a mapping\n  fix: write NAME, or {NAME: {...}}\n"
         "transforms[3]: expected one transform, got 3\n  fix: write NAME, or {NAME: {...}}"),
    ],
)  # fmt: skip
def test_task_pairs(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(PAIR | changed, kind="task_pair")
    assert str(caught.value) == expected


def test_paths_of_data_are_absolute(tmp_path: Path, write: Write) -> None:
    paths = {"train": "data/a.tar", "test": str(tmp_path / "b.tar"), "validation": "../c.tar"}
    pair = parse_spec(PAIR | {"sources": {"a": {"layout": "webdataset", **paths}}}, kind="task_pair", folder="there")
    source = pair.sources["a"]
    assert (source.train, source.test, source.validation.path) == (
        str(tmp_path / "there" / "data" / "a.tar"),
        str(tmp_path / "b.tar"),
        str(tmp_path / "c.tar"),
    )


def test_a_fix_can_be_pasted(refused: Refused) -> None:
    text = refused("kind: search\ntask_pair: nyuv2-normals-segmentation\nspace: aux-nas\n")
    assert text == (
        "x.yaml:1:1: missing field 'training'\n"
        "  fix: training: {epochs: 60, batch_size: 8, optimizers: {weights: {type: adamw, lr: 0.003}}}"
    )
    Path("y.yaml").write_text("kind: search\ntask_pair: nyuv2-normals-segmentation\nspace: aux-nas\n" + text.partition("fix: ")[2])
    assert isinstance(load_spec("y.yaml"), SearchSpec)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True], "b": "x y"}, "{a: [1, 2.5, null, true], b: x y}"),
        ("image[3, H, W]", '"image[3, H, W]"'),
        ("auxiliary -> primary", "auxiliary -> primary"),
        ({"**.head": "$n"}, '{"**.head": $n}'),
    ],
)
def test_values_in_fixes_are_yaml(value: object, text: str) -> None:
    assert in_yaml(value) == text
