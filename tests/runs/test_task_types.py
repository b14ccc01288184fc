"""Every task type the whole way at tiny scale: 50 steps on 8 samples overfit them; and a search with all types at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphnas as gn
from graphnas.errors import SpecError
from graphnas.registry import task_types

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]

TASKS: dict[str, tuple[dict[str, Any], float]] = {  # fields, and the share of the first loss that 50 steps may leave
    "surface_normal": ({}, 0.2),
    "semantic_segmentation": ({"classes": 3, "loss": {"cross_entropy": 1, "dice": 1}}, 0.3),
    "depth": ({"loss": "berhu"}, 0.2),
    "disparity": ({"unit": "inverse_metres"}, 0.2),
    "classification": ({"classes": 2, "names": ["dark", "bright"]}, 0.2),
    "boundary": ({}, 0.5),
    "regression": ({"channels": 2, "geometry": "vector", "unit": "pixels", "loss": "huber"}, 0.2),
}
WITHOUT_MAPS = {"classification"}
BODY = {
    "conv1": {"op": "conv2d", "out_channels": 12},
    "norm1": "batch_norm",
    "act1": "relu",
    "conv2": {"op": "conv2d", "out_channels": 12},
    "norm2": "batch_norm",
    "act2": "relu",
}
HEADS = {
    "map": {"op": "conv2d", "out_channels": "$out_channels", "kernel_size": 3},
    "vector": {"op": "linear_head", "out_channels": "$out_channels"},
}


def network(head: str) -> dict[str, Any]:
    return {
        "kind": "network",
        "parameters": {"out_channels": {"type": "integer"}},
        "inputs": {"image": "image[3, H, W]"},
        "nodes": {**BODY, "head": HEADS[head]},
        "outputs": {"prediction": "head"},
        "taps": {"s1": "act1", "s2": "act2"},
    }


def sample(random: np.random.Generator) -> dict[str, Any]:
    """A smooth image, and labels that a few convolutions can read off."""
    a, b, c = random.uniform(0.5, 3, 3)
    y, x = np.mgrid[0:12, 0:16] / 12
    value = (np.sin(a * x + b * y + c) + 1) / 2
    slope = np.stack([np.gradient(value, axis=1), -np.gradient(value, axis=0), np.full_like(value, 0.2)], axis=2)
    classes = np.minimum(value * 3, 2).astype(np.uint8)
    edges = (np.diff(classes, axis=1, prepend=classes[:, :1]) != 0) | (np.diff(classes, axis=0, prepend=classes[:1]) != 0)
    return {
        "image": (255 * np.stack([value, value**2, 1 - value], axis=2)).astype(np.uint8),
        "surface_normal": slope.astype(np.float32),
        "semantic_segmentation": classes,
        "depth": (1 + value).astype(np.float32),
        "disparity": (1 / (1 + value)).astype(np.float32),
        "classification": "bright" if value.mean() > 0.5 else "dark",
        "boundary": edges,
        "regression": np.stack([value, 1 - value], axis=2).astype(np.float32),
    }


@pytest.fixture
def samples() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [sample(random) for _ in range(8)]


def search(primary: str, tasks: dict[str, Any], space: Any, **training: Any) -> dict[str, Any]:
    return {
        "kind": "search",
        "task_pair": {
            "kind": "task_pair",
            "primary": primary,
            "sources": {"toy": {"layout": "python"}},
            "inputs": {"image": "image"},
            "tasks": {name: {"type": name, "key": name, **fields} for name, fields in tasks.items()},
        },
        "networks": {name: {"use": network("vector" if name in WITHOUT_MAPS else "map")} for name in tasks},
        "space": space,
        "training": {
            "batch_size": 8,
            "updates": "joint",
            "optimizers": {"weights": {"type": "adamw", "lr": 3e-2, "schedule": "cosine"}, "alphas": {"type": "adam", "lr": 1e-2}},
            **training,
        },
        "runtime": {"device": "cpu"},
        "baseline": "none",
    }


def test_every_type_is_here() -> None:
    assert set(TASKS) == set(task_types.names())


@pytest.mark.parametrize("name", TASKS)
def test_fifty_steps_on_eight_samples_overfit_them(name: str, samples: Any, tmp_path: Path, metrics: Rows) -> None:
    fields, left = TASKS[name]
    written = search(name, {name: fields}, "single-task", steps=50, evaluate_every={"epochs": 50})
    spec = gn.parse_spec(written, kind="search")
    assert isinstance(spec, gn.SearchSpec)
    result = gn.search(spec, data={"toy": {"train": samples, "validation": samples, "test": samples}}, out=tmp_path / "run")
    losses = [row["loss"] for row in metrics(tmp_path / "run") if row["split"] == "training"]
    assert len(losses) == 50
    assert losses[-1] < left * losses[0]
    [row] = [row for row in result.rows if row["name"] == "pruned"]
    assert set(row["metrics"]) >= set(spec.task_pair.tasks[name].metric_directions)


def test_all_types_in_one_search(samples: Any, tmp_path: Path, metrics: Rows) -> None:
    """Each label is missing for another sample; the log names every metric, the lines of the run no class."""
    for index, name in enumerate(TASKS):
        samples[index][name] = None
    tasks = {name: fields for name, (fields, _) in TASKS.items()}
    spec = gn.parse_spec(search("depth", tasks, "aux-head", epochs=2, auxiliary_batch_size=4, batch_size=4), kind="search")
    assert isinstance(spec, gn.SearchSpec)
    lines: list[str] = []
    gn.search(
        spec,
        data={"toy": {"train": samples, "validation": samples, "test": samples}},
        out=tmp_path / "run",
        progress=lambda now: lines.append(now.line or ""),
    )
    rows = metrics(tmp_path / "run")
    for name in TASKS:
        found = [row for row in rows if row["task"] == name and row["split"] == "validation"]
        assert set(found[-1]["metrics"]) >= set(spec.task_pair.tasks[name].metric_directions)
        assert all(row["loss"] is not None and np.isfinite(row["loss"]) for row in rows if row["task"] == name)
    said = "".join(lines)
    assert "miou" in said
    assert "iou/" not in said


def test_a_test_takes_the_threshold_of_validation(samples: Any, tmp_path: Path) -> None:
    spec = gn.parse_spec(search("boundary", {"boundary": {}}, "single-task", steps=5), kind="search")
    assert isinstance(spec, gn.SearchSpec)
    others = [sample(np.random.default_rng(7)) for _ in range(3)]
    data = {"toy": {"train": samples, "validation": samples, "test": others}}
    result = gn.search(spec, data=data, out=tmp_path / "run")
    [row] = [row for row in result.rows if row["name"] == "pruned"]
    on = {split: gn.evaluate(tmp_path / "run", split=split, data=data).metrics for split in ("validation", "test")}
    assert row["metrics"] == on["test"]
    assert on["test"]["threshold"] == on["validation"]["threshold"]
    assert on["test"]["f1"] <= on["test"]["best_f1"]
    alone = gn.search(spec, data={"toy": {"train": samples, "validation": samples}}, out=tmp_path / "alone")
    assert alone.split == "validation"
    [row] = [row for row in alone.rows if row["name"] == "pruned"]
    assert row["metrics"]["f1"] == row["metrics"]["best_f1"]


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        (
            "classification",
            "map",
            "networks.classification: the network of 'classification' does not fit: it predicts image[2, 12, 16], and the task is of "
            "vector[2]\n  fix: a head with out_channels: $out_channels; linear_head predicts a vector",
        ),
        (
            "regression",
            "vector",
            "networks.regression: the network of 'regression' does not fit: it predicts vector[2], and the task is of image[2, H, W]\n"
            "  fix: a head with out_channels: $out_channels",
        ),
    ],
)
def test_a_network_that_predicts_something_else(name: str, head: str, message: str, samples: Any, tmp_path: Path) -> None:
    written = search(name, {name: TASKS[name][0]}, "single-task", steps=5)
    written["networks"] = {"*": {"use": network(head)}}
    spec = gn.parse_spec(written, kind="search")
    assert isinstance(spec, gn.SearchSpec)
    with pytest.raises(SpecError) as raised:
        gn.search(spec, data={"toy": samples}, out=tmp_path / "run")
    assert str(raised.value) == message
    assert not (tmp_path / "run").exists()


def test_what_an_artifact_says_of_its_task(samples: Any, tmp_path: Path) -> None:
    spec = gn.parse_spec(search("classification", {"classification": TASKS["classification"][0]}, "single-task", steps=2), kind="search")
    assert isinstance(spec, gn.SearchSpec)
    gn.search(spec, data={"toy": samples}, out=tmp_path / "run")
    about = json.loads((tmp_path / "run" / "artifact" / "spec.json").read_text())["task"]["task"]
    assert {**about, "name": "classification", "names": ["dark", "bright"], "multi_label": False} == about
