"""Cells in their processes: finished ones stay, unfinished ones go on, one that fails does not stop the others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import graphnas as gn
from graphnas.compare import Comparison, Plan, compare, make_plan, read_methods
from graphnas.compare.plan import cell_of
from graphnas.search import checkpoint
from tests.compare.conftest import finish, write_search

MODEL = Path("artifact", "model.safetensors")
EVERY_STEP = "runtime.checkpoint_every={steps: 1}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_search(folder)
    return folder


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def plan_of(*methods: str, seeds: int = 1, overrides: tuple[str, ...] = ()) -> Plan:
    return make_plan("search.json", read_methods(methods or ("./toy-space.json",)), seeds=seeds, overrides=overrides)


@pytest.fixture(scope="module")
def never_stopped(home: Path) -> tuple[Path, Comparison, list[str]]:
    """A comparison of two methods and one seed, what it came to, and its lines."""
    before = Path.cwd()
    os.chdir(home)
    lines: list[str] = []
    found = compare(plan_of(), "straight", jobs=2, progress=lambda progress: lines.append(progress.line or ""))
    os.chdir(before)
    return home / "straight", found, lines


def state_of(out: Path) -> dict[str, float]:
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.glob("cells/**/*") if file.is_file()}


@pytest.mark.slow
def test_cells_are_runs_and_are_never_run_again(never_stopped: tuple[Path, Comparison, list[str]]) -> None:
    out, found, lines = never_stopped
    assert not found.failed
    assert sorted(line.partition(":")[0] for line in lines) == ["single-task, seed 0", "toy-space, seed 0"]
    for row in found.rows:
        run = out / "cells" / row.method / "seed-0"
        assert gn.evaluate(run).metrics["rel"] == pytest.approx(row.metrics["rel"].value.mean)
        spec = json.loads((run / "spec.json").read_text())
        assert (spec["seed"], spec["baseline"], spec["runtime"]["threads"]) == (0, "none", 1)
        assert "search epoch 6/6" in (out / "cells" / row.method / "seed-0.log").read_text()
    toy = next(row for row in found.rows if row.method == "toy-space")
    assert (toy.macs_ratio, toy.cut_gap) == (1, 0)
    before = state_of(out)
    again: list[str] = []
    repeated = compare(plan_of(), out, progress=lambda progress: again.append(progress.line or ""))
    assert (repeated.rows, again, state_of(out)) == (found.rows, ["2 of 2 cells are finished already"], before)


def when_there(file: Path, act: Callable[[], None]) -> threading.Thread:
    """Do something as soon as a file is there."""

    def watch() -> None:
        end = time.monotonic() + 60
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.001)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_cell_that_was_stopped_twice_ends_as_one_that_never_was(never_stopped: tuple[Path, Comparison, list[str]]) -> None:
    """Its parent is gone in the middle; then Ctrl-C; then it goes on to its end."""
    straight = never_stopped[0]
    plan = plan_of(overrides=(EVERY_STEP,))
    out = Path("stopped").absolute()
    shutil.copytree(straight / "cells" / "single-task", out / "cells" / "single-task")
    (out / "compare.json").write_text('{"kind": "comparison"}')
    cell = cell_of(plan.variants[1], 0)
    run = out / cell.folder

    with subprocess.Popen([sys.executable, "-m", "graphnas.compare.cell"], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"spec": gn.dump_spec(cell.spec), "out": str(run), "plugins": []}) + "\n")
        process.stdin.flush()
        when_there(run / "checkpoint.json", lambda: None).join()
        process.stdin.close()
        assert process.wait() == 128 + signal.SIGTERM
    saved = checkpoint.load(run / "checkpoint")
    assert saved is not None

    when_there(run / ".lock", lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(gn.Interrupted) as caught:
        compare(plan, out)
    assert str(caught.value) == (
        f"{out}: stopped by SIGINT with 1 of 2 cells finished; all is saved\n  fix: graphnas compare {out} goes on"
    )
    assert caught.value.exit_status == 130
    assert not (run / "results.json").exists()

    found = compare(plan, out)
    assert not found.failed
    for method in ("single-task", "toy-space"):
        ours, theirs = (folder / "cells" / method / "seed-0" for folder in (out, straight))
        assert (ours / MODEL).read_bytes() == (theirs / MODEL).read_bytes()
    assert [row.metrics for row in found.rows] == [row.metrics for row in never_stopped[1].rows]


@pytest.mark.slow
def test_a_cell_that_fails_is_shown_and_stops_no_other(home: Path) -> None:
    Path("methods.yaml").write_text("wild: {space: aux-head, set: {training.optimizers.weights.lr: 1e30}}\n")
    plan = make_plan("search.json", read_methods([], Path("methods.yaml")), seeds=2)
    finish(plan, home / "failing", {"single-task": {0: 1.0, 1: 2.0}, "wild": {1: 1.5}})
    found = compare(plan, "failing")
    [(cell, reason)] = found.failed.items()
    assert cell == "cells/wild/seed-0"
    assert reason.startswith("search, step 2: the loss of ")
    assert json.loads(Path("failing/cells/wild/seed-0.failed.json").read_text()) == {"message": reason}
    assert [row.seeds for row in found.rows] == [(0, 1), (1,)]
    assert found.rows[1].metrics["rel"].difference is not None


def test_a_comparison_of_which_nothing_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = compare(plan_of("aux-head"), tmp_path / "out")
    assert list(found.failed) == ["cells/single-task/seed-0", "cells/aux-head/seed-0"]
    assert (found.metric, [row.seeds for row in found.rows]) == ("", [(), ()])
    assert (tmp_path / "out" / "results.csv").read_text().count("\n") == 1


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("aux-head")
    finish(plan, tmp_path / "out", {"single-task": {0: 1.0}})
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    lines: list[str] = []
    found = compare(plan, tmp_path / "out", progress=lambda progress: lines.append(progress.line or ""))
    said = f"its process has died (ended by SIGKILL); {tmp_path}/out/cells/aux-head/seed-0.log holds what it said"
    assert found.failed == {"cells/aux-head/seed-0": said}
    assert lines == ["1 of 2 cells are finished already", f"aux-head, seed 0: failed: {said} (2 of 2)"]
    assert [row.seeds for row in found.rows] == [(0,), ()]
