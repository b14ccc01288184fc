"""Shows where a run stands: a bar on a terminal, plain lines elsewhere; on stderr, so that stdout holds the results alone."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from graphnas.cli.terminal import console

if TYPE_CHECKING:
    from graphnas.search.progress import Progress


@contextmanager
def shown() -> Generator[Callable[[Progress], None]]:
    """A callback that shows what a run reports."""
    err = console(stderr=True)
    if not err.is_terminal:

        def line(progress: Progress) -> None:
            if progress.line is not None:
                err.print(progress.line)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True) as bar:
        bars: dict[str, TaskID] = {}

        def draw(progress: Progress) -> None:
            if progress.line is not None:
                bar.print(progress.line)
            if progress.phase not in bars:
                bars[progress.phase] = bar.add_task(progress.phase, total=progress.steps or None)
            bar.update(bars[progress.phase], completed=progress.step)

        yield draw
