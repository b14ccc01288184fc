"""Batches of one sample, of which a batch norm on maps of 1x1 sees one value a channel: told, before training where that can be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.errors import RunError, SpecError
from tests.runs.conftest import NETWORK, SEARCH, changed, make_samples

POINT: dict[str, Any] = {
    **NETWORK,
    "nodes": {
        "conv1": {"op": "conv2d", "out_channels": 4, "stride": 16},
        "norm1": "batch_norm",
        "act1": "relu",
        "act2": "tanh",
        "up": {"op": "upsample", "inputs": ["act2", "image"]},
        "head": {"op": "conv2d", "out_channels": "$out_channels", "kernel_size": 1},
    },
}


def searched(changes: dict[str, Any], folder: Path) -> None:
    spec = gn.parse_spec(changed(SEARCH, {"networks": {"*": {"use": POINT}}, **changes}), kind="search")
    assert isinstance(spec, gn.SearchSpec)
    gn.search(spec, data={"toy": {"train": make_samples(12), "test": make_samples(2)}}, out=folder / "run")


@pytest.mark.parametrize(
    ("changes", "tasks"),
    [
        ({"training.auxiliary_batch_size": 0, "baseline": "none"}, ["depth", "seg"]),
        ({"training.auxiliary_batch_size": 2}, ["depth"]),  # the baseline has no others in its batches
        ({"training.auxiliary_batch_size": 2, "start_from": "single-task"}, ["depth", "seg"]),
    ],
)
def test_a_batch_size_of_one(changes: dict[str, Any], tasks: list[str], tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        searched({"training.batch_size": 1, **changes}, tmp_path)
    assert str(caught.value).splitlines() == [
        line
        for task in tasks
        for line in (
            f"training.batch_size: a batch of one sample has one value a channel for a batch norm in the network of {task!r}",
            "  fix: batch_size: 2 or more",
        )
    ]


def test_one_labeled_sample(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        searched({"task_pair.tasks.depth.labeled": 1, "training.select": "last"}, tmp_path)
    assert str(caught.value) == (
        "single-task, step 1: branches.depth.norm1 (BatchNorm2d) sees one value a channel in this batch of one sample\n"
        "  fix: two samples or more in every batch (training.batch_size, labeled samples), or larger images"
    )


def test_one_sample_among_others(tmp_path: Path) -> None:
    searched({"training.batch_size": 1, "training.auxiliary_batch_size": 2, "baseline": "none", "training.epochs": 1}, tmp_path)
    assert (tmp_path / "run" / "artifact").is_dir()
