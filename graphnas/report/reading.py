"""A run folder as what a page shows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphnas.compare.signals import Signals, load_signals
from graphnas.errors import ArtifactError, GraphNASError, Where
from graphnas.runs.folder import RunFolder, spec_of_run
from graphnas.runs.phases import task_types
from graphnas.search.gradient_probe import Agreement
from graphnas.search.recorder import read_gates, read_gradients, read_links
from graphnas.spec import SearchSpec
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Run:
    """All of it.

    Args:
        folder: Where it lies.
        spec: Resolved.
        rows: Of ``metrics.jsonl``.
        links: Id -> direction and operations.
        gates: Phase -> (step, link -> gates) over time.
        agreements: Phase -> (step, cosines) over time.
        results: Of ``results.json``; ``None`` while it is not finished.
        signals: What ``graphnas attribute`` found of it; ``None`` where it was not asked.
    """

    folder: Path
    spec: SearchSpec
    rows: Sequence[Mapping[str, Any]]
    links: Mapping[str, Mapping[str, Any]]
    gates: Mapping[str, Sequence[tuple[int, Mapping[str, Sequence[float]]]]]
    agreements: Mapping[str, Sequence[tuple[int, Sequence[Agreement]]]]
    results: Mapping[str, Any] | None
    signals: Signals | None = None

    @property
    def tasks(self) -> dict[str, TaskType]:
        """The primary first."""
        known = task_types(self.spec.task_pair)
        primary = self.spec.primary_task
        return {primary: known[primary], **{task: kind for task, kind in known.items() if task != primary}}

    @property
    def phases(self) -> list[str]:
        """In order."""
        return list(dict.fromkeys(row["phase"] for row in self.rows))


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        GraphNASError: It is none, nothing was trained there yet, or a file in it is damaged.
    """
    folder = RunFolder(path)
    spec = spec_of_run(folder)
    rows = _rows(folder.metrics)
    if not rows:
        raise GraphNASError(
            "nothing was trained there yet: metrics.jsonl is empty or missing",
            where=Where(str(path)),
            fix=f"graphnas search {folder.spec} --out {path} --resume",
        )
    return Run(
        path,
        spec,
        rows,
        read_links(path),
        read_gates(path),
        read_gradients(path),
        _results(folder.results),
        load_signals(path / "attribution.json"),
    )


def _rows(file: Path) -> list[dict[str, Any]]:
    """The rows; a last line that was cut off is left out.

    Raises:
        ArtifactError: Another line is damaged.
    """
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            complete = isinstance(row, dict) and {"phase", "epoch", "split", "task"} <= cast("dict[str, Any]", row).keys()
        except ValueError:
            row, complete = None, False
        if complete:
            rows.append(cast("dict[str, Any]", row))
        elif number < len(lines):
            raise ArtifactError(
                "not a row of metrics", where=Where(str(file), number), fix="remove the line, or put a copy of the file back"
            )
    return rows


def _results(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ArtifactError(f"not readable: {error}", where=Where(str(file)), fix=f"graphnas prune {file.parent} writes it again") from None
    return cast("dict[str, Any]", found)
