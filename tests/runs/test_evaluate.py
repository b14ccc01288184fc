"""Evaluating runs and artifacts, and what is said where that can't be done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.errors import GraphNASError
from graphnas.runs import prune_run

Make = Callable[..., gn.SearchSpec]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def run(folder: Path, make_spec: Make, data: Any) -> Path:
    if not (folder / "run").exists():
        gn.search(make_spec({"baseline": "none"}), data=data, out=folder / "run")
    return folder / "run"


def test_a_run_its_artifact_and_a_copy_of_it_give_the_same(run: Path, tmp_path: Path, make_spec: Make, data: Any) -> None:
    found = gn.evaluate(run, data=data)
    assert (found.task, found.split, found.samples) == ("depth", "test", 6)
    assert gn.evaluate(run / "artifact", data=data) == found
    shutil.copytree(run / "artifact", tmp_path / "copy")
    assert gn.evaluate(tmp_path / "copy", task_pair=make_spec().task_pair, data=data) == found
    assert gn.evaluate(run, data=data, batch_size=1).metrics == pytest.approx(found.metrics)


def test_each_split(run: Path, data: Any) -> None:
    assert {split: gn.evaluate(run, split=split, data=data).samples for split in ("training", "validation", "test")} == {
        "training": 8,
        "validation": 8,
        "test": 6,
    }
    del data["toy"]["test"]
    assert gn.evaluate(run, data=data).split == "validation"


@pytest.mark.parametrize(
    ("where", "split", "message"),
    [
        ("nowhere", None, "{path}: there is no such folder\n  fix: name the folder of a run or of an artifact"),
        (
            "copy",
            None,
            "{path}: this artifact lies outside its run's folder, so its data are not known\n"
            "  fix: name the task pair: --task-pair SPEC (from Python: task_pair=...)",
        ),
        ("run", "tset", "unknown split 'tset'\n  fix: did you mean 'test'?"),
    ],
)
def test_what_can_not_be_evaluated(where: str, split: Any, message: str, run: Path, tmp_path: Path, data: Any) -> None:
    path = run if where == "run" else tmp_path / where
    if where == "copy":
        shutil.copytree(run / "artifact", path)
    with pytest.raises(GraphNASError) as caught:
        gn.evaluate(path, split=split, data=data)
    assert str(caught.value) == message.replace("{path}", str(path))


def test_a_run_whose_training_is_not_over_is_not_pruned(tmp_path: Path, make_spec: Make, data: Any) -> None:
    def stop(progress: Any) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        gn.search(make_spec(), data=data, out=out, progress=stop)
    with pytest.raises(GraphNASError) as caught:
        prune_run(out, data=data)
    assert str(caught.value) == (
        f"{out}: the training of this run is not over\n  fix: graphnas search {out}/spec.json --out {out} --resume"
    )
    with pytest.raises(GraphNASError) as caught:
        prune_run(tmp_path, data=data)
    assert str(caught.value) == f"{tmp_path}: no run is there: spec.json is missing\n  fix: name the folder of a run"
