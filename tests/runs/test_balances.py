"""Whole runs with every balance, and what a baseline, a resumed run and a run of one task have of it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import graphnas as gn
from graphnas.registry import balances
from tests.runs.conftest import Stop, stop_at

Make = Callable[..., gn.SearchSpec]
MODEL = Path("artifact", "model.safetensors")
SHORT = {"training.epochs": None, "training.steps": 4, "baseline": "none", "training.evaluate_every": {"steps": 4}}


@pytest.fixture
def three_tasks(make_spec: Make, data: Any) -> tuple[Make, Any]:
    """Depth with two auxiliaries: segmentation, and brightness, of which every other image has a label."""

    def make(changes: dict[str, Any]) -> gn.SearchSpec:
        brightness = {"type": "regression", "key": "bright", "channels": 1, "per": "sample", "geometry": "none"}
        networks = {"*": {"use": SEGMENTER}, "bright": {"use": CLASSIFIER}}
        return make_spec({"task_pair.tasks.bright": brightness, "networks": networks, **changes})

    samples = copy.deepcopy(data)
    for split in samples["toy"].values():
        for index, sample in enumerate(split):
            if index % 2 == 0:
                sample["bright"] = [float(sample["image"].mean()) / 255]
    return make, samples


LAYERS = {"conv1": {"op": "conv2d", "out_channels": 4}, "act1": "relu", "conv2": {"op": "conv2d", "out_channels": 4}, "act2": "relu"}
SEGMENTER = {
    "kind": "network",
    "parameters": {"out_channels": {"type": "integer"}},
    "inputs": {"image": "image[3, H, W]"},
    "nodes": {**LAYERS, "head": {"op": "conv2d", "out_channels": "$out_channels", "kernel_size": 1}},
    "outputs": {"prediction": "head"},
    "taps": {"s1": "act1", "s2": "act2"},
}
CLASSIFIER = SEGMENTER | {"nodes": {**LAYERS, "head": {"op": "linear_head", "out_channels": "$out_channels"}}}


@pytest.mark.parametrize("name", balances.names())
def test_a_run_with_two_auxiliaries_ends_with_a_certificate(name: str, tmp_path: Path, three_tasks: tuple[Make, Any]) -> None:
    make, data = three_tasks
    updates = "alternate" if balances.names().index(name) % 2 else "joint"
    spec = make({**SHORT, "balance": {"type": name, "weights": {"seg": {"start": 2, "end": 1}}}, "training.updates": updates})
    result = gn.search(spec, data=data, out=tmp_path / "run")
    assert result.certificate.holds
    assert all(math.isfinite(value) for row in result.rows for value in row["metrics"].values())


@pytest.mark.parametrize("name", ["uncertainty", "famo", "gradvac"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name: str, tmp_path: Path, three_tasks: tuple[Make, Any]) -> None:
    make, data = three_tasks
    spec = make({**SHORT, "training.steps": 8, "balance": name, "runtime.checkpoint_every": {"steps": 1}})
    gn.search(spec, data=data, out=tmp_path / "straight")

    with pytest.raises(Stop):
        gn.search(spec, data=data, out=tmp_path / "broken", progress=stop_at("search", 6))
    gn.search(spec, data=data, out=tmp_path / "broken", resume=True)
    assert (tmp_path / "broken" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()
    saved = [safetensors.torch.load_file(tmp_path / run / "phases" / "search.safetensors") for run in ("straight", "broken")]
    states = [{key: tensor for key, tensor in tensors.items() if key.startswith("balance/")} for tensors in saved]
    assert states[0].keys() == states[1].keys() != set()
    assert all(torch.equal(states[1][key], tensor) for key, tensor in states[0].items())


def test_one_task_alone_descends_its_weighted_loss(tmp_path: Path, make_spec: Make, data: Any) -> None:
    """The baseline of a run is the same whatever the balance."""
    rows: list[list[Any]] = []
    for balance in ("sum", "uncertainty", "upgrad"):
        changes = {**SHORT, "baseline": "single-task", "balance": {"type": balance, "weights": {"depth": 3}}}
        gn.search(make_spec(changes), data=data, out=tmp_path / balance)
        found = [json.loads(line) for line in (tmp_path / balance / "metrics.jsonl").read_text().splitlines()]
        rows.append([(row["split"], row["loss"], row["metrics"]) for row in found if row["phase"] == "single-task"])
    assert rows[0] == rows[1] == rows[2] != []


def test_mixed_precision_compares_gradients_of_float32(tmp_path: Path, make_spec: Make, data: Any) -> None:
    spec = make_spec({**SHORT, "balance": "pcgrad", "runtime.precision": "bfloat16", "training.clip_gradient": 0.5})
    assert gn.search(spec, data=data, out=tmp_path / "run").certificate.holds


@pytest.mark.parametrize("space", ["single-task", "aux-head", "aux-g-stage", "aux-nas", "aux-nas-mix"])
@pytest.mark.parametrize("auxiliaries", [1, 3])
def test_every_space(space: str, auxiliaries: int, tmp_path: Path, make_spec: Make, data: Any) -> None:
    """Shared parameters are all, some or none, by the links of the space."""
    more = {f"task_pair.tasks.seg{index}": {"type": "semantic_segmentation", "key": "seg", "classes": 3} for index in range(1, auxiliaries)}
    net = SEGMENTER | {"taps": {"s1": "act1", "s2": "act2"}}
    changes = {**SHORT, **more, "space": space, "networks": {"*": {"use": net}}, "balance": "upgrad", "training.select": {"metric": "last"}}
    optimizers = {name: {"type": "sgd", "lr": 1e-3} for name in ("weights", "alphas")}
    assert gn.search(make_spec({**changes, "training.optimizers": optimizers}), data=data, out=tmp_path / "run").certificate.holds
