"""What a run tells whoever watches it; the command line draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run stands: one after every update, and one with a ``line`` where there is something to read.

    Args:
        phase: ``single-task``, ``search``, ``finetune``, ``test``; ``single-task: TASK`` for an auxiliary that is trained alone first.
        step: Weight updates done in this phase.
        steps: All of them; 0 for a phase without any.
        line: Text to print, if any: an epoch's results, a warning.
    """

    phase: str
    step: int = 0
    steps: int = 0
    line: str | None = None


ProgressCallback = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """For runs that nobody watches."""
