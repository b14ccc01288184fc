"""Processes that end when they should not, that are asked to end, and that meet in one folder."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.errors import Interrupted, RunError
from graphnas.runs.lock import locked
from graphnas.search import checkpoint
from graphnas.search.progress import Progress
from tests.faults.conftest import MODEL, SpecMaker, in_a_child, injected

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


def test_killed_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    """At 20 random instants; what is loaded afterwards is one state as a whole, and never an older one than before."""
    stem, moments = tmp_path / "checkpoint", random.Random(0)
    before = 0

    def write() -> None:
        number = before
        while True:
            number += 1
            checkpoint.save(stem, {"x": torch.full((100_000,), float(number)), "y": torch.tensor(float(number))}, {"number": number})

    def kill(child: int) -> None:
        time.sleep(moments.uniform(0.01, 0.12))
        os.kill(child, signal.SIGKILL)

    for _ in range(20):
        with injected("kill -9 while a checkpoint is written"):
            assert in_a_child(write, kill) == -signal.SIGKILL
            found = checkpoint.load(stem)
            if found is not None:
                number = found.values["number"]
                assert bool((found.tensors["x"] == number).all())
                assert float(found.tensors["y"]) == number
                assert number >= before
                before = number
    assert before > 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop(number: signal.Signals, status: int, tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    """The update ends and is saved, in the middle of an epoch too; going on ends as if nothing had been."""
    spec = make_spec()
    gn.search(spec, data=data, out=tmp_path / "straight")
    run = tmp_path / "run"

    def ask(progress: Progress) -> None:
        if (progress.step, progress.line) == (3, None):
            os.kill(os.getpid(), number)

    with injected(f"{number.name} in the middle of an epoch"):
        with pytest.raises(Interrupted) as caught:
            gn.search(spec, data=data, out=run, progress=ask)
        assert str(caught.value) == (
            f"{run}: stopped by {number.name} after step 3 of 8 of search; all is saved\n  fix: gn.search(..., resume=True) goes on"
        )
        assert caught.value.exit_status == status
        gn.search(spec, data=data, out=run, resume=True)
        assert (run / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()


def test_asked_in_the_last_update(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    run = tmp_path / "run"

    def ask(progress: Progress) -> None:
        if (progress.step, progress.line) == (8, None):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="after step 8 of 8 of search; all is saved"):
        gn.search(make_spec(), data=data, out=run, progress=ask)
    assert not (run / "artifact").exists()
    assert gn.search(make_spec(), data=data, out=run, resume=True).certificate.holds


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as in a terminal: a process that a shell has put into the background inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_second_request_stops_at_once(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    def ask_twice(progress: Progress) -> None:
        if (progress.step, progress.line) == (3, None):
            signal.raise_signal(signal.SIGINT)  # to this thread: of two sent to the process before one is seen, one is left
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        gn.search(make_spec(), data=data, out=tmp_path, progress=ask_twice)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_process_a_run(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    with injected("a second process on one run folder"):
        with locked(tmp_path):
            before = sorted(tmp_path.rglob("*"))
            holder = json.loads((tmp_path / ".lock").read_text())
            with pytest.raises(RunError) as caught:
                gn.search(make_spec(), data=data, out=tmp_path)
            assert str(caught.value) == (
                f"{tmp_path}: another process works in this run: process {os.getpid()} on {holder['host']}, since {holder['since']}\n"
                f"  fix: wait for it, or choose another --out; if there is no such process any more, remove {tmp_path}/.lock"
            )
            assert sorted(tmp_path.rglob("*")) == before
        assert not (tmp_path / ".lock").exists()


def test_a_lock_ends_with_its_process(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    def hold() -> None:
        with locked(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)

    with injected("a lock left by a process that was killed"):
        assert in_a_child(hold) == -signal.SIGKILL
        assert (tmp_path / ".lock").exists()
        gn.search(make_spec(), data=data, out=tmp_path)
        assert (tmp_path / MODEL).exists()
        assert not (tmp_path / ".lock").exists()


def test_a_lock_of_another_machine_is_believed(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text('{"pid": 7, "host": "elsewhere", "since": "2026-01-01 00:00:00"}')
    with pytest.raises(RunError, match="process 7 on elsewhere, since 2026-01-01 00:00:00"), locked(tmp_path):
        pass
    (tmp_path / ".lock").write_text("damaged")
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
