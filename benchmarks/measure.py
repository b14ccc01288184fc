"""Timing in turn, peak memory in a process of its own, and the JSON of a benchmark.

This is how all files of this folder measure: what is compared runs in turn in one process (A B A B ..., the order changes from round to
round), medians are taken over the rounds, and a ratio is the median of the rounds' own ratios. On the CPU it is processor time that counts,
which other work on the machine disturbs least, and wall time stands beside it; on CUDA the time between two events.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Seconds:
    """Of one run of something.

    Args:
        wall: By the clock.
        busy: Of the processor; on CUDA between two events on the device.
    """

    wall: float
    busy: float


@dataclass(frozen=True)
class Timings:
    """What was timed, round by round.

    Args:
        rounds: Name -> its seconds in each round.
    """

    rounds: Mapping[str, list[Seconds]]

    def seconds(self, name: str) -> Seconds:
        """Medians."""
        found = self.rounds[name]
        return Seconds(statistics.median(s.wall for s in found), statistics.median(s.busy for s in found))

    def ratio(self, name: str, to: str) -> float:
        """The median over the rounds of busy seconds of ``name`` over those of ``to``."""
        return statistics.median(a.busy / b.busy for a, b in zip(self.rounds[name], self.rounds[to], strict=True))

    def row(self, name: str, to: str) -> dict[str, float]:
        """For the JSON."""
        seconds = self.seconds(name)
        return {"wall_s": seconds.wall, "busy_s": seconds.busy, "ratio": self.ratio(name, to)}


def in_turn(works: Mapping[str, Work], rounds: int, *, warm_up: int = 2, device: torch.device | None = None) -> Timings:
    """Time all of it in every round."""
    cuda = device is not None and device.type == "cuda"
    for _ in range(warm_up):
        for work in works.values():
            work()
    found: dict[str, list[Seconds]] = {name: [] for name in works}
    with no_garbage():
        for number in range(rounds):
            for name in list(works)[:: -1 if number % 2 else 1]:
                found[name].append(_cuda_seconds(works[name]) if cuda else _cpu_seconds(works[name]))
    return Timings(found)


def busy_seconds(work: Work, device: torch.device) -> float:
    """Of one run: of the processor; on CUDA between two events on the device."""
    return (_cuda_seconds(work) if device.type == "cuda" else _cpu_seconds(work)).busy


def _cpu_seconds(work: Work) -> Seconds:
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - busy)


def _cuda_seconds(work: Work) -> Seconds:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    wall = time.perf_counter()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return Seconds(time.perf_counter() - wall, start.elapsed_time(end) / 1000)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Python collects none meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def peak_mib(work: Work, runs: int = 3, device: torch.device | None = None) -> float:
    """MiB by which some runs raise what this process holds above where it stood: resident memory (Linux), or the device's."""
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        for _ in range(runs):
            work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what building freed goes back, else the work would use it unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = _status("VmRSS")
    for _ in range(runs):
        work()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def alone(module: str, *arguments: str) -> float:
    """The number that ``python -m benchmarks.MODULE ARGUMENTS`` prints last, in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - a module of this folder
    return float(done.stdout.splitlines()[-1])


def arguments(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="medians are taken over so many")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--json", type=Path, help="where the figures go")
    return parser


def prepared(parser: argparse.ArgumentParser, given: list[str] | None = None) -> argparse.Namespace:
    """The arguments; threads are set."""
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    return options


def write(options: argparse.Namespace, **figures: Any) -> None:
    """The JSON of a benchmark: on what it ran, with which settings, and what came out."""
    if options.json is None:
        return
    device = options.device
    machine = {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": options.threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", "torch": torch.__version__,
        "python": platform.python_version(), "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    settings = {name: value for name, value in vars(options).items() if isinstance(value, int | float | str | list | tuple)}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, "settings": settings, **figures}, indent=2) + "\n")


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
