"""Peak memory of training: from the first report to the test, above what was held before."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from graphnas.compare.memory import Allocated, Measure, Memory, Meter, Resident, gauge_for, read_memory, watched_by
from graphnas.search.progress import Progress

MIB = 2**20


@dataclass
class Fake:
    """A process that holds ten bytes, and twelve more at its peak."""

    measure: Measure = "resident"
    before: int | None = 10
    asked: list[str] = field(default_factory=list)

    def reset(self) -> int | None:
        self.asked.append("reset")
        return self.before

    def peak(self) -> int:
        self.asked.append("peak")
        return 22


def test_from_the_first_report_to_the_test(tmp_path: Path) -> None:
    gauge = Fake()
    seen: list[str] = []
    watch = watched_by(Meter(tmp_path / "seed-0", gauge), lambda progress: seen.append(progress.phase))
    for progress in (Progress("search", 0, 2, "a line"), Progress("search", 1, 2), Progress("search", 2, 2), Progress("test")):
        assert read_memory(tmp_path / "seed-0") is None
        watch(progress)
    watch(Progress("test"))
    assert (gauge.asked, len(seen)) == (["reset", "peak"], 5)
    assert read_memory(tmp_path / "seed-0") == Memory(12, 10, "resident")
    assert json.loads((tmp_path / "seed-0.memory.json").read_text()) == {"peak_bytes": 12, "before_bytes": 10, "measure": "resident"}


@pytest.mark.parametrize("gauge", [None, Fake(before=None)])
def test_what_can_not_be_measured_is_not_there(gauge: Fake | None, tmp_path: Path) -> None:
    meter = Meter(tmp_path / "seed-0", gauge)
    for progress in (Progress("search", 1, 1), Progress("test")):
        meter(progress)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_only_had_its_test_left_tells_nothing(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "seed-0", Fake())
    meter(Progress("search", 0, 4, "a line"))
    meter(Progress("test"))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "seed-0.memory.json").write_text('{"peak_bytes": null}')
    assert read_memory(tmp_path / "seed-0") is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is told by Linux alone")
def test_resident_memory_is_what_was_used_meanwhile_and_not_before() -> None:
    earlier = torch.ones(64 * MIB // 4)
    del earlier
    gauge = gauge_for(torch.device("cpu"))
    assert isinstance(gauge, Resident)
    before = gauge.reset()
    assert before is not None
    meanwhile = torch.ones(32 * MIB // 4)
    assert len(meanwhile)
    del meanwhile
    assert 31 * MIB < gauge.peak() - before < 40 * MIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_device_tells_what_torch_allocated() -> None:
    gauge = gauge_for(torch.device("cuda"))
    assert isinstance(gauge, Allocated)
    before = gauge.reset()
    assert before is not None
    meanwhile = torch.ones(8 * MIB // 4, device="cuda")
    del meanwhile
    assert gauge.peak() - before == 8 * MIB


def test_other_devices_are_not_measured() -> None:
    assert gauge_for(torch.device("meta")) is None
