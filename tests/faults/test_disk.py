"""Disks that are full or read-only, files that are damaged or gone."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.errors import ArtifactError, RunError
from graphnas.runs import finish
from graphnas.search import checkpoint
from graphnas.search.progress import Progress
from tests.faults.conftest import MODEL, SpecMaker, in_a_child, injected


class PowerOff(Exception):
    """The run ends here."""


def off_at(step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if (progress.step, progress.line) == (step, None):
            raise PowerOff

    return watch


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_the_disk_is_full(tmp_path: Path) -> None:
    """No file may grow beyond a limit that a checkpoint does not fit in; the one before stays whole."""
    stem = tmp_path / "checkpoint"
    checkpoint.save(stem, {"x": torch.ones(10)}, {"step": 1})

    def write() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(RunError) as caught:
            checkpoint.save(stem, {"x": torch.ones(100_000)}, {"step": 2})
        assert str(caught.value) == (
            f"{stem}.new.safetensors: the checkpoint can't be written: File too large\n"
            "  fix: make room or allow writing there, then --resume; the last checkpoint is whole"
        )

    with injected("the disk is full while a checkpoint is written"):
        assert in_a_child(write) == 0
        found = checkpoint.load(stem)
        assert found is not None
        assert (found.values["step"], found.note) == (1, None)


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="takes the right to write away, which only root can")
def test_the_folder_is_read_only(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(0o755)
    stem = tmp_path / "checkpoint"
    checkpoint.save(stem, {"x": torch.ones(10)}, {"step": 1})

    def write() -> None:
        os.setuid(65534)
        with pytest.raises(RunError) as caught:
            checkpoint.save(stem, {"x": torch.ones(10)}, {"step": 2})
        assert str(caught.value) == (
            f"{stem}.new.safetensors: the checkpoint can't be written: Permission denied\n"
            "  fix: make room or allow writing there, then --resume; the last checkpoint is whole"
        )

    with injected("a read-only folder"):
        assert in_a_child(write) == 0
        found = checkpoint.load(stem)
        assert found is not None
        assert found.values["step"] == 1


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``half_way`` keeps its run."""
    return tmp_path_factory.mktemp("stopped")


@pytest.fixture
def half_way(stopped: Path, tmp_path: Path, make_spec: SpecMaker, data: Any) -> tuple[Path, Path]:
    """A run that was stopped after its first epoch, with a checkpoint at every step; and the same, never stopped."""
    spec = make_spec({"runtime.checkpoint_every": {"steps": 1}})
    if not (stopped / "run").exists():
        gn.search(spec, data=data, out=stopped / "straight")
        with pytest.raises(PowerOff):
            gn.search(spec, data=data, out=stopped / "run", progress=off_at(6))
    shutil.copytree(stopped / "run", tmp_path / "run")
    return tmp_path / "run", stopped / "straight"


def _truncate(file: Path, at: int) -> None:
    file.write_bytes(file.read_bytes()[:at])


def _flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << at % 8
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", [_truncate, _flip])
def test_a_damaged_checkpoint(name: str, damage: Callable[[Path, int], None], half_way: tuple[Path, Path]) -> None:
    """At ten places each: the one before is taken, and said."""
    run, _ = half_way
    whole, places = (run / name).read_bytes(), random.Random(name)
    for _ in range(10):
        at = places.randrange(len(whole))
        (run / name).write_bytes(whole)
        damage(run / name, at)
        with injected("a truncated checkpoint" if damage is _truncate else "a flipped bit in a checkpoint"):
            found = checkpoint.load(run / "checkpoint")
            assert found is not None
            assert found.note is not None, at
            assert found.note.startswith("the last checkpoint can't be read (")
            assert found.note.endswith("); going on from the one before it")
            assert found.values["state"]["step"] == 4


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint.safetensors", "checkpoint.previous.json"])
def test_a_missing_file_of_a_checkpoint(name: str, half_way: tuple[Path, Path], make_spec: SpecMaker, data: Any) -> None:
    run, straight = half_way
    (run / name).unlink()
    with injected("a missing file of a checkpoint"):
        gn.search(make_spec({"runtime.checkpoint_every": {"steps": 1}}), data=data, out=run, resume=True)
        assert (run / MODEL).read_bytes() == (straight / MODEL).read_bytes()


def test_a_damaged_artifact_is_never_loaded(half_way: tuple[Path, Path], tmp_path: Path) -> None:
    """At thirty places of each file; what can't be loaded is said to be no whole artifact."""
    _, straight = half_way
    for name in ("model.safetensors", "spec.json", "certificate.json"):
        shutil.copytree(straight / "artifact", tmp_path / "artifact", dirs_exist_ok=True)
        whole, places = (straight / "artifact" / name).read_bytes(), random.Random(name)
        expected = gn.load(straight / "artifact").state_dict()
        for _ in range(30):
            at = places.randrange(len(whole))
            (tmp_path / "artifact" / name).write_bytes(whole)
            _flip(tmp_path / "artifact" / name, at)
            with injected("a flipped bit in an artifact"):
                try:
                    state = gn.load(tmp_path / "artifact").state_dict()
                except ArtifactError as error:
                    assert error.problems[0].fix  # noqa: PT017
                else:  # in what the weights do not depend on
                    assert name != "model.safetensors"
                    assert all(torch.equal(state[key], value) for key, value in expected.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
@pytest.mark.parametrize(
    ("what", "limit", "place", "message"),
    [
        (
            "the spec", 1_000, "start",
            "{run}/spec.json: can't be written: File too large\n  fix: make room or allow writing there, and try again",
        ),
        ("metrics", 600, "train", "{run}/metrics.jsonl: can't be written: File too large\n  fix: make room there, then --resume"),
        (
            "a checkpoint", 30_000, "train",
            "{run}/checkpoint.new.safetensors: the checkpoint can't be written: File too large\n"
            "  fix: make room or allow writing there, then --resume; the last checkpoint is whole",
        ),
        (
            "the artifact", 3_000, "finish",
            "{run}/artifact: the artifact can't be written: Error while serializing: I/O error: File too large (os error 27)\n"
            "  fix: make room or allow writing there, and try again; an artifact that was there is whole",
        ),
        (
            "results", 500, "results",
            "{run}/results.json: can't be written: File too large\n  fix: make room or allow writing there, and try again",
        ),
    ],
)  # fmt: skip
def test_the_disk_is_full_in_a_run(
    what: str, limit: int, place: str, message: str, tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said where; with room again the run goes on, and ends as if nothing had been."""
    spec, run = make_spec(), tmp_path / "run"
    gn.search(spec, data=data, out=tmp_path / "straight")

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def watch(progress: Progress) -> None:
        if place == "train" and (progress.step, progress.line) == (3, None):
            full()
        if place == "finish" and progress.phase == "test":
            full()

    def results(*args: Any) -> None:
        full()
        write(*args)

    def fill() -> None:
        if place == "start":
            full()
        if place == "results":
            monkeypatch.setattr(finish, "write_atomically", results)
        with pytest.raises(RunError) as caught:
            gn.search(spec, data=data, out=run, progress=watch)
        assert str(caught.value) == message.replace("{run}", str(run))

    write = finish.write_atomically
    with injected(f"the disk is full: {what}"):
        assert in_a_child(fill) == 0
        gn.search(spec, data=data, out=run, resume=place != "start")
        assert (run / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()
        assert not list(run.rglob("*.new*"))


def test_a_truncated_artifact_is_never_loaded(half_way: tuple[Path, Path], tmp_path: Path) -> None:
    _, straight = half_way
    for name in ("model.safetensors", "spec.json", "certificate.json"):
        shutil.copytree(straight / "artifact", tmp_path / "artifact", dirs_exist_ok=True)
        whole, places = (straight / "artifact" / name).read_bytes(), random.Random(name)
        for _ in range(10):
            (tmp_path / "artifact" / name).write_bytes(whole[: places.randrange(len(whole) - 1)])
            with injected("a truncated artifact"):
                with pytest.raises(ArtifactError) as caught:
                    gn.load(tmp_path / "artifact")
                assert str(tmp_path / "artifact" / name) in str(caught.value)
