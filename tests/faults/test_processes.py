"""Workers that die, memory that is short, clocks that jump, samples that are corrupt."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import nn

import graphnas as gn
from graphnas.errors import DataError, RunError
from graphnas.search import loop
from tests.faults.conftest import MODEL, SpecMaker, injected


class Deadly:
    """A data set whose sample of this number ends the process that reads it, unless that is the one of the tests."""

    def __init__(self, samples: list[dict[str, Any]], number: int) -> None:
        self.samples = samples
        self.number = number
        self.home = os.getpid()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.number and os.getpid() != self.home:
            os._exit(1)
        return self.samples[index]


# Torch raises in its handler of the signal, wherever that interrupts Python; where it is a callback of the garbage collector, Python writes
# the exception off, and torch raises again when it is asked for the next batch.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_worker_dies(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    """It is said; without workers the run goes on from its checkpoint and ends as if nothing had been."""
    samples = data["toy"]["train"]
    gn.search(make_spec(), data=data, out=tmp_path / "straight")
    deadly = {"toy": {**data["toy"], "train": Deadly(samples, 5)}}
    with injected("a data worker that dies"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec({"runtime.workers": 1}), data=deadly, out=tmp_path / "run")
        assert str(caught.value) == (
            "a process that loads data has died\n  fix: runtime.workers: 0 shows why; if memory is short, fewer workers; then --resume"
        )
        gn.search(make_spec(), data=data, out=tmp_path / "run", resume=True)
        assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()


def test_a_worker_dies_while_an_update_runs(tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal finds the process that trains anywhere, and torch raises there."""
    original = loop._step

    def step(learner: Any, batches: Any, progress: float) -> dict[str, float]:
        if round(progress * 8) == 5:
            raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly with exit code 1. Details are lost due to multiprocessing.")
        return original(learner, batches, progress)

    gn.search(make_spec(), data=data, out=tmp_path / "straight")
    monkeypatch.setattr(loop, "_step", step)
    with injected("a data worker that dies"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec(), data=data, out=tmp_path / "run")
        assert str(caught.value) == (
            "a process that loads data has died\n  fix: runtime.workers: 0 shows why; if memory is short, fewer workers; then --resume"
        )
        monkeypatch.setattr(loop, "_step", original)
        gn.search(make_spec(), data=data, out=tmp_path / "run", resume=True)
        assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()


def _beyond_all_memory() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def _as_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("allocate", [_beyond_all_memory, _as_on_a_gpu])
@pytest.mark.parametrize("where", ["step", "evaluation"])
def test_out_of_memory(
    allocate: Callable[[], None], where: str, tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop._step

    def step(learner: Any, batches: Any, progress: float) -> dict[str, float]:
        if round(progress * 8) == 5:
            allocate()
        return original(learner, batches, progress)

    def evaluate(validation: Any, **_: Any) -> None:
        allocate()

    if where == "step":
        monkeypatch.setattr(loop, "_step", step)
    else:
        monkeypatch.setattr(loop.Validation, "evaluate", evaluate)
    with injected("out of memory"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec(), data=data, out=tmp_path)
        place = "search, step 6" if where == "step" else "search, evaluation after step 4"
        message = str(caught.value)
        assert message.startswith(f"{place}: out of memory: ")
        assert message.endswith(
            "\n  fix: go on with --set runtime.precision=bfloat16 --resume,"
            " or start again with a lower training.batch_size or auxiliary_batch_size"
        )


def test_other_errors_stay_what_they_are(tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(learner: Any, batches: Any, progress: float) -> dict[str, float]:
        return nn.Linear(2, 2)(torch.zeros(3))

    monkeypatch.setattr(loop, "_step", step)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        gn.search(make_spec(), data=data, out=tmp_path)


def test_a_clock_that_jumps(tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back and forth by years: the results are the same, and checkpoints by the minute go on."""
    gn.search(make_spec(), data=data, out=tmp_path / "straight")
    jumps = iter([1e9, -1e9] * 10_000)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    with injected("a clock that jumps"):
        gn.search(make_spec({"runtime.checkpoint_every": {"minutes": 1}}), data=data, out=tmp_path / "run")
        assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()


def _tar(path: Path, samples: list[dict[str, Any]], broken: int | None = None) -> None:
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples):
            for key, value in sample.items():
                stored = value if key != "depth" else (value * 100).astype(np.uint16)
                content = io.BytesIO()
                Picture.fromarray(stored).save(content, "png")
                written = content.getvalue()[: 40 if number == broken and key == "image" else None]
                info = tarfile.TarInfo(f"{number:04}.{key}.png")
                info.size = len(written)
                tar.addfile(info, io.BytesIO(written))


def test_a_corrupt_sample(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    """It is named with its file; mended, the run goes on and ends as if nothing had been."""
    changes = {
        "task_pair.inputs": {"image": "image.png"},
        "task_pair.tasks.depth.key": "depth.png",
        "task_pair.tasks.depth.scale": 0.01,
        "task_pair.tasks.seg.key": "seg.png",
        "task_pair.sources": {
            "toy": {"layout": "webdataset", "train": f"{tmp_path}/a.tar", "test": f"{tmp_path}/b.tar", "validation": f"{tmp_path}/b.tar"}
        },
    }
    _tar(tmp_path / "b.tar", data["toy"]["test"])
    _tar(tmp_path / "a.tar", data["toy"]["train"])
    spec = make_spec(changes)
    gn.search(spec, out=tmp_path / "straight")
    _tar(tmp_path / "a.tar", data["toy"]["train"], broken=17)
    with injected("a corrupt sample"):
        with pytest.raises(DataError, match=r"a\.tar: 0017\.image\.png: "):
            gn.search(spec, out=tmp_path / "run")
        _tar(tmp_path / "a.tar", data["toy"]["train"])
        gn.search(spec, out=tmp_path / "run", resume=True)
        assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()
