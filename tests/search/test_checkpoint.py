"""Checkpoints: round trip, crashes between any two file operations, damage, and what the user is told."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from graphnas.errors import ArtifactError, RunError
from graphnas.search import checkpoint, random_state


def save(stem: Path, step: int) -> None:
    checkpoint.save(
        stem, {"network/a": torch.full((3,), float(step)), "tied": torch.arange(4.0).reshape(2, 2).T}, {"step": step, "lr": 1e-3}
    )


def step_of(stem: Path) -> int:
    found = checkpoint.load(stem)
    assert found is not None
    assert torch.equal(found.tensors["network/a"], torch.full((3,), float(found.values["step"])))
    return found.values["step"]


def test_round_trip(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "checkpoint") is None
    save(tmp_path / "checkpoint", 1)
    found = checkpoint.load(tmp_path / "checkpoint")
    assert found is not None
    assert found.note is None
    assert found.values == {"step": 1, "lr": 1e-3}
    assert torch.equal(found.tensors["tied"], torch.tensor([[0.0, 2.0], [1.0, 3.0]]))
    save(tmp_path / "checkpoint", 2)
    save(tmp_path / "checkpoint", 3)
    assert step_of(tmp_path / "checkpoint") == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checkpoint.json",
        "checkpoint.previous.json",
        "checkpoint.previous.safetensors",
        "checkpoint.safetensors",
    ]


class Crash(BaseException):
    """The machine stops."""


@pytest.mark.parametrize("operation", range(12))
def test_a_crash_between_any_two_file_operations_leaves_a_whole_checkpoint(
    operation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = tmp_path / "checkpoint"
    save(stem, 1)
    save(stem, 2)
    left = iter(range(operation))

    def crashing(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                raise Crash
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crashing(os.replace))
        patch.setattr(os, "fsync", crashing(os.fsync))
        patch.setattr(Path, "unlink", crashing(Path.unlink))
        patch.setattr(Path, "open", crashing(Path.open))
        try:
            save(stem, 3)
            finished = True
        except Crash:
            finished = False
    assert step_of(stem) in ((3,) if finished else (2, 3))
    save(stem, 4)
    assert step_of(stem) == 4


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(damage: str, suffix: str, tmp_path: Path) -> None:
    stem = tmp_path / "checkpoint"
    save(stem, 1)
    save(stem, 2)
    spoil(stem.with_suffix(f".{suffix}"), damage)
    found = checkpoint.load(stem)
    assert found is not None
    assert found.values["step"] == 1
    reason = {
        ("json", "truncated"): "checkpoint.json is damaged",
        ("json", "flipped"): "checkpoint.json: checksum differs",
        ("json", "missing"): "checkpoint.json is missing",
    }.get((suffix, damage), "checkpoint.safetensors: checksum differs")
    assert found.note == f"the last checkpoint can't be read ({reason}); going on from the one before it"


def spoil(file: Path, damage: str) -> None:
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif file.suffix == ".json":
        file.write_bytes(data.replace(b'"lr": 0.001', b'"lr": 0.002'))
    else:
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_two_damaged_checkpoints_are_an_error_with_the_fix(tmp_path: Path) -> None:
    stem = tmp_path / "checkpoint"
    save(stem, 1)
    save(stem, 2)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    (tmp_path / "checkpoint.previous.json").write_text("{")
    with pytest.raises(ArtifactError) as caught:
        checkpoint.load(stem)
    assert str(caught.value) == (
        f"{tmp_path}/checkpoint.json: no checkpoint can be read: checkpoint.safetensors: checksum differs; "
        "checkpoint.previous.json is damaged\n"
        "  fix: start again with --overwrite, or put a copy of the checkpoint files back"
    )
    assert caught.value.exit_status == 2


def test_a_checkpoint_of_another_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        save(tmp_path / "checkpoint", 1)
    with pytest.raises(ArtifactError, match=r"checkpoint\.json has format 2, this graphnas reads 1"):
        checkpoint.load(tmp_path / "checkpoint")


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stem = tmp_path / "checkpoint"
    save(stem, 1)

    def full(file: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_durably", full)
        with pytest.raises(RunError) as caught:
            save(stem, 2)
    assert str(caught.value) == (
        f"{tmp_path}/checkpoint.new.safetensors: the checkpoint can't be written: No space left on device\n"
        "  fix: make room or allow writing there, then --resume; the last checkpoint is whole"
    )
    assert step_of(stem) == 1


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    random_state.seed_all(3)
    _ = torch.randn(3), np.random.randn(3), random.gauss(0, 1)
    tensors, values = random_state.capture(cpu)
    checkpoint.save(tmp_path / "c", tensors, values)
    expected = (torch.randn(2).tolist(), np.random.randn(2).tolist(), random.gauss(0, 1), random.random())
    found = checkpoint.load(tmp_path / "c")
    assert found is not None
    random_state.seed_all(4)
    random_state.restore(found.tensors, found.values, cpu)
    assert (torch.randn(2).tolist(), np.random.randn(2).tolist(), random.gauss(0, 1), random.random()) == expected


def test_generators_are_given_back() -> None:
    before = random_state.capture(torch.device("cpu"))
    with random_state.given_back(torch.device("cpu")):
        random_state.seed_all(7)
    after = random_state.capture(torch.device("cpu"))
    assert after[1] == before[1]
    assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())


def test_derived_seeds_are_fixed() -> None:
    assert random_state.derive(0, "search") == 2495450141071111691
    assert random_state.derive(1, "search") != random_state.derive(0, "search") != random_state.derive(0, "finetune")
