"""A search so small that it takes a second or two: 24 images of 12 x 16 pixels, networks of two convolutions."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphnas as gn
from graphnas.search.progress import Progress

NETWORK = {
    "kind": "network",
    "parameters": {"out_channels": {"type": "integer"}},
    "inputs": {"image": "image[3, H, W]"},
    "nodes": {
        "conv1": {"op": "conv2d", "out_channels": 6},
        "norm1": "batch_norm",
        "act1": "relu",
        "conv2": {"op": "conv2d", "out_channels": 8},
        "norm2": "batch_norm",
        "act2": "relu",
        "drop": {"op": "dropout", "p": 0.1},
        "head": {"op": "conv2d", "out_channels": "$out_channels", "kernel_size": 1},
    },
    "outputs": {"prediction": "head"},
    "taps": {"s1": "act1", "s2": "act2"},
}
SPACE = {
    "kind": "search_space",
    "links": [
        {
            "direction": "auxiliary -> primary",
            "operations": [{"op": "conv1x1", "initial": 0.1}],
            "gate": {"function": "projected01", "initial": 0.5},
            "penalty": {"type": "proximal", "strength": 40, "ramp": [0.2, 0.6]},
            "converges_to": "zero",
        },
        {
            "direction": "primary -> auxiliary",
            "operations": [{"op": "conv1x1", "initial": 1}],
            "gate": {"function": "sigmoid", "initial": 0.9},
            "converges_to": "free",
            "combine": "mix",
        },
    ],
}
SEARCH = {
    "kind": "search",
    "task_pair": {
        "kind": "task_pair",
        "primary": "depth",
        "sources": {"toy": {"layout": "python", "validation": {"fraction": 0.34}}},
        "inputs": {"image": "image"},
        "tasks": {
            "depth": {"type": "depth", "key": "depth", "labeled": 8},
            "seg": {"type": "semantic_segmentation", "key": "seg", "classes": 3},
        },
        "transforms": ["horizontal_flip"],
    },
    "networks": {"*": {"use": NETWORK}},
    "space": SPACE,
    "training": {
        "epochs": 4,
        "batch_size": 2,
        "auxiliary_batch_size": 2,
        "updates": "joint",
        "optimizers": {
            "weights": {"type": "adamw", "lr": 1e-2, "schedule": "cosine"},
            "alphas": {"type": "sgd", "lr": 0.1},
        },
        "select": {"metric": "rel"},
    },
    "runtime": {"device": "cpu"},
}


def make_samples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Depth is the brightness of a smooth image, the class its thirds."""
    random = np.random.default_rng(seed)
    samples: list[dict[str, Any]] = []
    for _ in range(count):
        a, b, c = random.uniform(0.5, 3, 3)
        y, x = np.mgrid[0:12, 0:16] / 12
        value = (np.sin(a * x + b * y + c) + 1) / 2
        image = np.stack([value, value**2, 1 - value], 2)
        depth, classes = (1 + value).astype(np.float32), np.minimum(value * 3, 2).astype(np.uint8)
        samples.append({"image": (image * 255).astype(np.uint8), "depth": depth, "seg": classes})
    return samples


def changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with other values at dotted paths; ``None`` removes a field."""
    made = copy.deepcopy(spec)
    for path, value in changes.items():
        *parents, last = path.split(".")
        part = made
        for parent in parents:
            part = part[parent]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return made


@pytest.fixture
def make_spec() -> Callable[..., gn.SearchSpec]:
    def make(changes: dict[str, Any] | None = None) -> gn.SearchSpec:
        spec = gn.parse_spec(changed(SEARCH, changes or {}), kind="search")
        assert isinstance(spec, gn.SearchSpec)
        return spec

    return make


@pytest.fixture
def data() -> dict[str, Any]:
    return {"toy": {"train": make_samples(24), "test": make_samples(6, seed=1)}}


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without wall-clock fields."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def metrics() -> Callable[[Path], list[dict[str, Any]]]:
    return metrics_of


class Stop(Exception):
    """The power goes off."""


def stop_at(phase: str, step: int) -> Callable[[Progress], None]:
    """What a search reports to; raises ``Stop`` after this update."""

    def watch(progress: Progress) -> None:
        if (progress.phase, progress.step, progress.line) == (phase, step, None):
            raise Stop

    return watch
