"""Peak memory of training, above what the process holds once its networks are built, measured in the process of one cell.

On the CPU it is resident memory as Linux counts it (``VmHWM``, reset when training begins): activations, gradients, optimizers, decoded
samples that are kept, evaluation on validation, and what torch's allocator holds on to; not that of loaders' processes. On CUDA it is
``torch.cuda.max_memory_allocated`` above what was allocated. The network itself, and the test at the end, don't count.
"""

from __future__ import annotations

import ctypes
import gc
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from graphnas.compare.files import memory_file
from graphnas.search.checkpoint import write_atomically
from graphnas.search.progress import Progress

Measure = Literal["resident", "cuda"]


@dataclass(frozen=True)
class Memory:
    """What training took.

    Args:
        peak_bytes: Above ``before_bytes``.
        before_bytes: Held when training began.
        measure: What was measured: resident memory of the process, or memory that torch allocated on a CUDA device.
    """

    peak_bytes: int
    before_bytes: int
    measure: Measure


class Gauge(Protocol):
    """A way to measure."""

    @property
    def measure(self) -> Measure:
        """What it measures."""
        ...

    def reset(self) -> int | None:
        """Bytes now, from which on the peak is counted; ``None`` where that can't be told."""
        ...

    def peak(self) -> int:
        """The most bytes since then."""
        ...


class Resident:
    """Of this process, from Linux."""

    measure: Measure = "resident"

    def reset(self) -> int | None:
        """Free memory must not hide any of what training takes."""
        gc.collect()
        with suppress(OSError, AttributeError):  # another C library keeps it
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")
            return _status_bytes("VmRSS")
        except (OSError, LookupError):
            return None

    def peak(self) -> int:
        return _status_bytes("VmHWM")


@dataclass(frozen=True)
class Allocated:
    """On a CUDA device, from torch.

    Args:
        device: Which.
    """

    device: torch.device
    measure: Measure = "cuda"

    def reset(self) -> int | None:
        gc.collect()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated(self.device)


def gauge_for(device: torch.device) -> Gauge | None:
    """How memory is measured there; ``None`` where it can't be."""
    if device.type == "cuda":
        return Allocated(device)
    return Resident() if device.type == "cpu" and Path("/proc/self/clear_refs").exists() else None


class Meter:
    """Watches a run by what it reports: from the first report, when all networks but those of baselines are built, until the test.

    Args:
        run: The run folder; what was found is left beside it.
        gauge: How to measure.
    """

    def __init__(self, run: Path, gauge: Gauge | None) -> None:
        self._run = run
        self._gauge = gauge
        self._before: int | None = None
        self._started = self._trained = self._over = False

    def __call__(self, progress: Progress) -> None:
        """Take notice of a report."""
        if self._gauge is None or self._over:
            return
        if not self._started:
            self._started, self._before = True, self._gauge.reset()
        self._over = progress.phase == "test"
        if self._over and self._trained and self._before is not None:
            self._write(Memory(max(0, self._gauge.peak() - self._before), self._before, self._gauge.measure))
        self._trained = self._trained or progress.line is None  # one after every update

    def _write(self, found: Memory) -> None:
        write_atomically(memory_file(self._run), json.dumps(asdict(found)).encode())


def watched_by(meter: Meter, callback: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """A callback that also tells a meter."""

    def both(progress: Progress) -> None:
        meter(progress)
        callback(progress)

    return both


def read_memory(run: Path) -> Memory | None:
    """What a cell's training took; ``None`` where it was not measured."""
    try:
        found: dict[str, Any] = json.loads(memory_file(run).read_bytes())
        return Memory(int(found["peak_bytes"]), int(found["before_bytes"]), found["measure"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _status_bytes(name: str) -> int:
    """A field of /proc/self/status, which has kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)
