"""A request to stop: the first SIGINT or SIGTERM lets the update that runs come to its end and be saved, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Training was stopped on request, after an update, and all of it was saved.

    Args:
        signal: What asked for it.
        phase: Where training stands.
        step: Updates done.
        steps: All of them.
    """

    def __init__(self, signal: signal.Signals, phase: str, step: int, steps: int) -> None:
        super().__init__(f"{signal.name} after step {step} of {steps} of {phase}")
        self.signal = signal
        self.phase = phase
        self.step = step
        self.steps = steps


class Requests:
    """Whether anything asked to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextmanager
def listening() -> Generator[Requests]:
    """Take requests meanwhile, in the main thread; elsewhere signals stay what they are, and nothing is ever asked."""
    requests = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        requests.signal = signal.Signals(number)
        give_back()  # the next one stops at once

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield requests
    finally:
        give_back()
