"""Cells in processes side by side; a request to stop is handed on to them, and each ends its update and saves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from graphnas.compare.files import failure_file, log_file
from graphnas.compare.plan import Cell
from graphnas.search.stopping import Requests, listening
from graphnas.size_limits import max_nodes
from graphnas.spec import dump_spec

_POLL_SECONDS = 0.05


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Pool:
    """Runs cells, so many at a time.

    Args:
        out: Folder of the comparison.
        jobs: Processes at a time; torch's threads are divided among them, unless the spec says how many.
        plugins: Modules that each process imports first.
        ended: Called with a cell that ended, and why it failed (``None``: it did not).
        failed: Cell -> why, filled while it runs.
    """

    out: Path
    jobs: int
    plugins: Sequence[str]
    ended: Callable[[Cell, str | None], None]
    failed: dict[str, str] = field(default_factory=dict[str, str])
    _running: list[tuple[Cell, subprocess.Popen[str], IO[bytes]]] = field(
        default_factory=list[tuple[Cell, "subprocess.Popen[str]", "IO[bytes]"]]
    )

    def run(self, cells: Sequence[Cell]) -> signal.Signals | None:
        """Run all of them; what asked to stop, if anything did before all had ended."""
        waiting = list(cells)
        with listening() as requests:
            try:
                self._until_done(waiting, requests)
            finally:
                for _, process, _ in self._running:  # something went wrong here, or a second request: what is saved is saved
                    process.kill()
        stopped = requests.signal
        return stopped if stopped is not None and waiting else None

    def _until_done(self, waiting: list[Cell], requests: Requests) -> None:
        told = False
        while self._running or (waiting and requests.signal is None):
            if requests.signal is not None and not told:
                told = True
                for _, process, _ in self._running:
                    process.send_signal(requests.signal)
            started = {cell.folder for cell, _, _ in self._running}
            for cell in [cell for cell in waiting if cell.folder not in started][: self.jobs - len(self._running)]:
                if requests.signal is None:
                    self._running.append((cell, *self._start(cell)))
            time.sleep(_POLL_SECONDS)
            for entry in [entry for entry in self._running if entry[1].poll() is not None]:
                self._running.remove(entry)
                self._end(*entry, waiting, told=told)

    def _start(self, cell: Cell) -> tuple[subprocess.Popen[str], IO[bytes]]:
        """A session of its own, so that a terminal's Ctrl-C reaches this process alone."""
        run = self.out / cell.folder
        run.parent.mkdir(parents=True, exist_ok=True)
        failure_file(run).unlink(missing_ok=True)
        threads = cell.spec.runtime.threads or max(1, cores() // self.jobs)
        runtime = cell.spec.runtime.model_copy(update={"threads": threads})
        spec = dump_spec(cell.spec.model_copy(update={"runtime": runtime}))
        log = log_file(run).open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "graphnas.compare.cell"],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once: its status says so
            process.stdin.write(json.dumps({"spec": spec, "out": str(run), "plugins": list(self.plugins), "max_nodes": max_nodes()}) + "\n")
            process.stdin.flush()
        return process, log

    def _end(self, cell: Cell, process: subprocess.Popen[str], log: IO[bytes], waiting: list[Cell], *, told: bool) -> None:
        log.close()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        status = process.returncode
        if told and status in (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM):
            return  # saved, and still waiting
        waiting.remove(cell)
        if status == 0:
            self.ended(cell, None)
            return
        run = self.out / cell.folder
        try:
            reason = str(json.loads(failure_file(run).read_bytes())["message"])
        except FileNotFoundError:
            how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            reason = f"its process has died ({how}); {log_file(run)} holds what it said"
        self.failed[cell.folder] = reason
        self.ended(cell, reason)
