"""``attribute``: which auxiliary helps the primary, which harms it, and how sure that is.

For every auxiliary X, by pairs of runs with the same seed and the same budget of primary labels::

    leave one out    all  against  without-X         what X adds to the others
    add one in       only-X  against  single-task    what X does alone

A task is to be dropped where leaving it out makes the primary significantly better: p of the paired t test, corrected for the number of
auxiliaries (Holm). Signals from single runs (``signals.py``) are shown beside it, and decide nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from graphnas.compare.arms import ALL, arm_of
from graphnas.compare.attribution_plot import draw_attribution
from graphnas.compare.methods import SINGLE
from graphnas.compare.plan import Plan, cell_of
from graphnas.compare.results import Compared, Comparison, Direction, compared, read_cell, values_of
from graphnas.compare.running import compare, read, read_plan
from graphnas.compare.signals import Signals, kept_signals, pooled
from graphnas.compare.statistics import holm
from graphnas.errors import ArtifactError, Where
from graphnas.search.checkpoint import write_atomically
from graphnas.search.log import json_ready
from graphnas.search.progress import Progress, ProgressCallback, silent

Verdict = Literal["drop", "keep", "leans drop", "leans keep", "unknown"]


@dataclass(frozen=True)
class Attributed:
    """One auxiliary.

    Args:
        task: It.
        left_out: The primary's metric with all auxiliaries minus that without this one; ``None`` where no pair of runs is finished.
        alone: The same with this one alone minus that of the single task.
        verdict: drop, keep: the first is significant; leans: its mean alone says so; unknown: it does not even do that.
    """

    task: str
    left_out: Compared | None
    alone: Compared | None
    verdict: Verdict


@dataclass(frozen=True)
class Attribution:
    """All of them.

    Args:
        folder: Where it lies.
        primary: The primary.
        metric: What it is judged by; empty where no run is finished.
        direction: Whether less or more of it is better.
        split: Where it was measured.
        seeds: All that were wanted.
        tasks: The auxiliaries.
        signals: Seed -> what the run with all auxiliaries tells.
        comparison: Of all arms with the single task.
    """

    folder: Path
    primary: str
    metric: str
    direction: Direction | None
    split: str | None
    seeds: tuple[int, ...]
    tasks: tuple[Attributed, ...]
    signals: Mapping[int, Signals]
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        pooled_signals = pooled(list(self.signals.values()))
        return json_ready(
            {
                "kind": "attribution",
                "folder": str(self.folder),
                "primary": self.primary,
                "metric": self.metric,
                "direction": self.direction,
                "split": self.split,
                "seeds": list(self.seeds),
                "confidence": self.comparison.confidence,
                "tasks": [asdict(found) | {"signals": pooled_signals.get(found.task)} for found in self.tasks],
                "runs": {str(seed): found.to_dict() for seed, found in self.signals.items()},
                "failed": dict(self.comparison.failed),
            }
        )


def attribute(
    plan: Plan, out: str | Path, *, jobs: int | None = None, plugins: Sequence[str] = (), progress: ProgressCallback | None = None
) -> Attribution:
    """Run what is not finished of an attribution, in processes side by side, and write what it comes to.

    Args:
        plan: Of ``plan_arms``.
        out: Its folder; one that is there is gone on with.
        jobs: Processes at a time.
        plugins: Modules that each process imports first.
        progress: Called when a run has ended.
    Raises:
        GraphNASError: As ``compare``.
        Interrupted: SIGINT or SIGTERM asked to stop; all is saved.
    """
    report, path = progress or silent, Path(out)
    comparison = compare(plan, path, jobs=jobs, plugins=plugins, progress=report)
    signals: dict[int, Signals] = {}
    for seed in _finished(plan, path):
        if not _file(path, seed).exists():
            report(Progress("attribute", line=f"{ALL}, seed {seed}: links, one at a time"))
        signals[seed] = kept_signals(_run_of(plan, path, seed), _file(path, seed))
    found = _judged(plan, path, comparison, signals)
    write_atomically(path / "attribution.json", json.dumps(found.to_dict(), indent=1).encode() + b"\n")
    write_atomically(path / "attribution.svg", draw_attribution(found).encode())
    return found


def read_attribution(out: str | Path) -> Attribution:
    """What the finished runs of an attribution come to; nothing is run or written.

    Raises:
        ArtifactError: There is none.
    """
    path = Path(out)
    plan = read_plan(path)
    if not plan.attributes:
        raise no_attribution(path)
    signals = {
        seed: kept_signals(_run_of(plan, path, seed), _file(path, seed)) for seed in _finished(plan, path) if _file(path, seed).exists()
    }
    return _judged(plan, path, read(path), signals)


def no_attribution(folder: Path) -> ArtifactError:
    """A comparison of methods can't be gone on with as an attribution."""
    fix = f"graphnas compare {folder} goes on with it; graphnas attribute SPEC begins an attribution"
    return ArtifactError("a comparison of methods is there, and no attribution", where=Where(str(folder)), fix=fix)


def _run_of(plan: Plan, out: Path, seed: int) -> Path:
    variant = next(variant for variant in plan.variants if variant.method == ALL)
    return out / cell_of(variant, seed).folder


def _finished(plan: Plan, out: Path) -> list[int]:
    return [seed for seed in plan.seeds if read_cell(_run_of(plan, out, seed)) is not None]


def _file(out: Path, seed: int) -> Path:
    return out / "signals" / f"seed-{seed}.json"


def _judged(plan: Plan, out: Path, comparison: Comparison, signals: Mapping[int, Signals]) -> Attribution:
    metric, direction = comparison.metric, comparison.directions.get(comparison.metric)
    values: dict[str, dict[int, float]] = {}
    for variant in plan.variants:
        cells = {seed: cell for seed in plan.seeds if (cell := read_cell(out / cell_of(variant, seed).folder)) is not None}
        values[variant.method] = values_of(cells, metric)

    def against(own: str, other: str) -> Compared | None:
        found = compared(values[own], values[other], direction, plan.confidence)
        return found if found is not None and found.difference is not None else None

    tasks = plan.attributes
    left_out = _corrected([against(ALL, arm_of([t for t in tasks if t != task], tasks)) for task in tasks])
    alone = _corrected([against(arm_of([task], tasks), SINGLE) for task in tasks])
    attributed = tuple(Attributed(task, one, other, _verdict(one)) for task, one, other in zip(tasks, left_out, alone, strict=True))
    return Attribution(out, comparison.task, metric, direction, comparison.split, plan.seeds, attributed, signals, comparison)


def _corrected(found: Sequence[Compared | None]) -> list[Compared | None]:
    ps = iter(holm([one.p for one in found if one is not None and one.p is not None]))
    return [one if one is None or one.p is None else replace(one, p=next(ps)) for one in found]


def _verdict(left_out: Compared | None) -> Verdict:
    if left_out is None or left_out.better is None:
        return "unknown"
    if left_out.significant:
        return "keep" if left_out.better else "drop"
    return "leans keep" if left_out.better else "leans drop"
