"""A run that was stopped anywhere and gone on with ends as one that was never stopped; what may differ, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.errors import GraphNASError
from graphnas.search import checkpoint
from tests.runs.conftest import Stop, stop_at

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]
MODEL = Path("artifact", "model.safetensors")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that were never stopped, by what they train."""
    return {"folder": tmp_path_factory.mktemp("straight")}


@pytest.fixture
def never_stopped(straight: dict[str, Path], make_spec: Make, data: Any) -> Callable[[str, gn.SearchSpec], Path]:
    def run(name: str, spec: gn.SearchSpec) -> Path:
        if name not in straight:
            gn.search(spec, data=data, out=straight["folder"] / name)
            straight[name] = straight["folder"] / name
        return straight[name]

    return run


FINETUNE = {"training.finetune": {"epochs": 2, "optimizer": {"type": "adamw", "lr": 1e-3}}, "training.updates": "alternate"}


@pytest.mark.parametrize(
    ("name", "changes", "phase", "step"),
    [
        ("joint", {}, "single-task", 3),
        ("joint", {}, "single-task", 10),
        ("joint", {}, "search", 1),
        ("joint", {}, "search", 7),
        ("joint", {}, "search", 16),
        ("finetune", FINETUNE, "search", 5),
        ("finetune", FINETUNE, "single-task-finetune", 3),
        ("finetune", FINETUNE, "finetune", 6),
    ],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    name: str, changes: dict[str, Any], phase: str, step: int, tmp_path: Path, make_spec: Make, data: Any, never_stopped: Any, metrics: Rows
) -> None:
    spec = make_spec(changes)
    expected = never_stopped(name, spec)
    run = tmp_path / "run"
    with pytest.raises(Stop):
        gn.search(spec, data=data, out=run, progress=stop_at(phase, step))
    assert not (run / "results.json").exists()
    result = gn.search(spec, data=data, out=run, resume=True)
    assert (run / MODEL).read_bytes() == (expected / MODEL).read_bytes()
    assert metrics(run) == metrics(expected)
    before = json.loads((expected / "results.json").read_text())
    assert [row["metrics"] for row in result.rows] == [row["metrics"] for row in before["rows"]]
    assert result.details["certificate"] == before["certificate"]


def test_going_on_with_a_finished_run_tests_nothing_again(
    never_stopped: Any, make_spec: Make, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = never_stopped("joint", make_spec())
    before = (run / "results.json").read_bytes()
    monkeypatch.setattr("graphnas.runs.finish.score", None)
    result = gn.search(make_spec(), data=data, out=run, resume=True)
    assert (run / "results.json").read_bytes() == before
    assert result.rows == json.loads(before)["rows"]


def test_a_damaged_checkpoint_falls_back_and_ends_the_same(tmp_path: Path, make_spec: Make, data: Any, never_stopped: Any) -> None:
    expected = never_stopped("joint", make_spec())
    with pytest.raises(Stop):
        gn.search(make_spec(), data=data, out=tmp_path / "run", progress=stop_at("search", 15))
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"damaged")
    lines: list[str] = []
    gn.search(make_spec(), data=data, out=tmp_path / "run", resume=True, progress=lambda progress: lines.append(progress.line or ""))
    assert [line for line in lines if "checkpoint" in line] == [
        "the last checkpoint can't be read (checkpoint.safetensors: checksum differs); going on from the one before it"
    ]
    assert (tmp_path / "run" / MODEL).read_bytes() == (expected / MODEL).read_bytes()


def test_a_longer_training_goes_on_and_is_tested_again(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    gn.search(make_spec({"training.epochs": 2}), data=data, out=tmp_path / "run")
    before = (tmp_path / "run" / "results.json").read_text()
    gn.search(make_spec({"training.epochs": 3}), data=data, out=tmp_path / "run", resume=True)
    steps = [(row["phase"], row["step"]) for row in metrics(tmp_path / "run") if row["split"] == "validation" and row["task"] == "depth"]
    assert steps == [("single-task", 4), ("single-task", 8), ("search", 4), ("search", 8), ("single-task", 12), ("search", 12)]
    assert (tmp_path / "run" / "results.json").read_text() != before
    assert json.loads((tmp_path / "run" / "spec.json").read_text())["training"]["epochs"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training.batch_size": 4, "seed": 1, "space.links": []},
            "training.batch_size: 2 in the run {run}, 4 now\n  fix: start again in another folder\n"
            "seed: 0 in the run {run}, 1 now\n  fix: start again in another folder",
        ),
        ({"training.epochs": 3}, "training.epochs: the run {run} has 4, 3 is less\n  fix: 4 or more, or another folder"),
    ],
)
def test_another_spec_is_refused(changes: dict[str, Any], message: str, never_stopped: Any, make_spec: Make, data: Any) -> None:
    run = never_stopped("joint", make_spec())
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(GraphNASError) as caught:
        gn.search(make_spec(changes), data=data, out=run, resume=True)
    found = [line for problem in caught.value.problems for line in [str(problem)] if not problem.path.startswith("space")]
    assert "\n".join(found) == message.replace("{run}", str(run))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_runtime_may_change(tmp_path: Path, make_spec: Make, data: Any, never_stopped: Any) -> None:
    with pytest.raises(Stop):
        gn.search(make_spec(), data=data, out=tmp_path / "run", progress=stop_at("search", 7))
    gn.search(make_spec({"runtime.checkpoint_every": {"steps": 1}}), data=data, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / MODEL).read_bytes() == (never_stopped("joint", make_spec()) / MODEL).read_bytes()


def test_what_to_do_about_nan_may_change_and_fields_may_be_new(tmp_path: Path, make_spec: Make, data: Any, never_stopped: Any) -> None:
    """As after a run that stopped at a loss that is NaN, of a graphnas that did not know all of today's fields."""
    with pytest.raises(Stop):
        gn.search(make_spec(), data=data, out=tmp_path / "run", progress=stop_at("search", 7))
    file = tmp_path / "run" / "spec.json"
    spec = json.loads(file.read_text())
    del spec["training"]["on_nan"], spec["training"]["clip_gradient"], spec["task_pair"]["tasks"]["seg"]["ignore_index"]
    file.write_text(json.dumps(spec))
    gn.search(make_spec({"training.on_nan": "skip"}), data=data, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / MODEL).read_bytes() == (never_stopped("joint", make_spec()) / MODEL).read_bytes()


@pytest.mark.slow
def test_kill_9_in_the_middle(tmp_path: Path, make_spec: Make, data: Any, never_stopped: Any, metrics: Rows) -> None:
    """A process that saves at every step is killed at several moments and goes on each time."""
    changes = {"runtime.checkpoint_every": {"steps": 1}}
    expected = never_stopped("joint", make_spec())
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(f"""
        import importlib.util, sys
        found = importlib.util.spec_from_file_location("toys", {str(Path(__file__).with_name("conftest.py"))!r})
        toys = importlib.util.module_from_spec(found)
        found.loader.exec_module(toys)
        import torch, graphnas as gn
        torch.set_num_threads(1)
        spec = gn.parse_spec(toys.changed(toys.SEARCH, {changes!r}), kind="search")
        data = {{"toy": {{"train": toys.make_samples(24), "test": toys.make_samples(6, seed=1)}}}}
        out = {str(tmp_path / "run")!r}
        import pathlib
        print("ready", flush=True)
        gn.search(spec, data=data, out=out, resume=(pathlib.Path(out) / "spec.json").exists())
        """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for wait in (0.4, 0.6, None):
        with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if wait is not None:
                time.sleep(wait)
                process.send_signal(signal.SIGKILL)
        assert process.returncode == (0 if wait is None else -signal.SIGKILL)
    assert (tmp_path / "run" / MODEL).read_bytes() == (expected / MODEL).read_bytes()
    assert metrics(tmp_path / "run") == metrics(expected)


def test_a_corrupt_pair_of_checkpoints_is_named(tmp_path: Path, make_spec: Make, data: Any) -> None:
    with pytest.raises(Stop):
        gn.search(make_spec(), data=data, out=tmp_path / "run", progress=stop_at("search", 15))
    for file in (tmp_path / "run").glob("checkpoint*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(GraphNASError) as caught:
        gn.search(make_spec(), data=data, out=tmp_path / "run", resume=True)
    assert str(caught.value) == (
        f"{tmp_path}/run/checkpoint.json: no checkpoint can be read: checkpoint.safetensors: checksum differs; "
        "checkpoint.previous.safetensors: checksum differs\n"
        "  fix: start again with --overwrite, or put a copy of the checkpoint files back"
    )


def test_logged_bytes_of_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "phases").mkdir()
    assert checkpoint.logged_bytes(tmp_path / "checkpoint", tmp_path / "phases") is None
