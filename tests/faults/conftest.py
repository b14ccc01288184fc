"""What is injected is counted, and printed as a table at the end: fault, times injected, survived, lost."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from tests.runs.conftest import SEARCH, changed, make_samples

SpecMaker = Callable[..., gn.SearchSpec]
MODEL = Path("artifact", "model.safetensors")
_COUNTS: dict[str, list[int]] = {}


@pytest.fixture
def make_spec() -> SpecMaker:
    def make(changes: dict[str, Any] | None = None) -> gn.SearchSpec:
        spec = gn.parse_spec(changed(SEARCH, {"training.epochs": 2, "baseline": "none", **(changes or {})}), kind="search")
        assert isinstance(spec, gn.SearchSpec)
        return spec

    return make


@pytest.fixture
def data() -> dict[str, Any]:
    return {"toy": {"train": make_samples(24), "test": make_samples(6, seed=1)}}


@contextmanager
def injected(fault: str) -> Iterator[None]:
    """Count a fault, and whether what stands inside found the user's work whole."""
    counts = _COUNTS.setdefault(fault, [0, 0])
    counts[0] += 1
    yield
    counts[1] += 1


def in_a_child(work: Callable[[], object], until: Callable[[int], None] | None = None) -> int:
    """Run something in a process of its own; the status that it ended with, as ``os.waitstatus_to_exitcode`` says it.

    Args:
        work: What the child does.
        until: What the parent does meanwhile, with the child's process id.
    """
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = 1
        try:
            work()
            status = 0
        except gn.GraphNASError as error:
            status = error.exit_status
        except BaseException:  # noqa: BLE001  # the child must not go on as a second pytest
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    if until is not None:
        until(child)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _COUNTS:
        return
    width = max(map(len, _COUNTS))
    terminalreporter.write_line("")
    terminalreporter.write_line(f"{'fault':<{width}}  injected  survived  lost")
    for fault, (times, survived) in sorted(_COUNTS.items()):
        terminalreporter.write_line(f"{fault:<{width}}  {times:>8}  {survived:>8}  {times - survived:>4}")
