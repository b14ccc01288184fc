"""What a run comes to: the rows of its table, written to ``results.json`` once all is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphnas.prune import Certificate, Pruned


@dataclass(frozen=True)
class SearchResult:
    """The end of a search.

    Args:
        folder: The run folder; the pruned network lies in its ``artifact``.
        pruned: The primary's network, and the proof of what it costs.
        certificate: The same proof.
        rows: single-task (if a baseline was trained), supernet, pruned: ``name``, ``metrics`` of the primary, ``macs``, ``parameters``, and
            ``seconds`` of training (for pruned: all that it took to get there).
        cut_gap: Metric of the supernet minus that of the same network with its links cut; ``None`` without data to tell.
        metric: The metric that is judged by.
        split: Where the rows were measured: test, or validation where the data has no test split; ``None`` where it has neither.
        details: All of ``results.json``.
    """

    folder: Path
    pruned: Pruned
    certificate: Certificate
    rows: list[dict[str, Any]]
    cut_gap: float | None
    metric: str
    split: str | None
    details: Mapping[str, Any]
