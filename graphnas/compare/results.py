"""Run folders -> what each method comes to, with its paired difference to the single task of the same seeds and values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from graphnas.compare.memory import Memory, read_memory
from graphnas.compare.methods import SINGLE
from graphnas.compare.plan import Plan, Variant, cell_of
from graphnas.compare.statistics import CONFIDENCE, Estimate, estimate, holm
from graphnas.runs.folder import RunFolder
from graphnas.runs.phases import task_types
from graphnas.search.log import json_ready

Direction = Literal["min", "max"]
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Measured:
    """What one cell came to.

    Args:
        metrics: Of the network that is shipped; those that are not finite are left out.
        cut_gap: Metric of the supernet minus that of the same network cut.
        macs_ratio: Multiply-accumulates of what is shipped over those of the primary's network alone, from the certificate.
        seconds: Of all training that it took.
        metric: The metric that is judged by.
        split: Where it was measured.
        memory: Of its training; ``None`` where it was not measured.
    """

    metrics: Mapping[str, float]
    cut_gap: float | None
    macs_ratio: float
    seconds: float
    metric: str
    split: str | None
    memory: Memory | None = None


def read_cell(run: Path) -> Measured | None:
    """A finished run; ``None`` where there is none."""
    try:
        found: dict[str, Any] = json.loads(RunFolder(run).results.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    row = next(row for row in found["rows"] if row["name"] == "pruned")
    certificate = found["certificate"]
    metrics = {name: value for name, value in row["metrics"].items() if value is not None}
    ratio = certificate["macs"] / max(1, certificate["macs_single_task"])
    return Measured(metrics, found["cut_gap"], ratio, row["seconds"], found["metric"], found["split"], read_memory(run))


@dataclass(frozen=True)
class Compared:
    """One metric of one method.

    Args:
        value: Mean over its seeds.
        difference: Of its seeds' values minus the single task's, pair by pair; ``None`` for the single task, or without a pair.
        p: That of the difference, corrected for all methods and values by Holm's procedure, each metric by itself.
        delta_percent: Mean difference in percent of the single task's mean, positive where it is better.
        wins: Seeds whose value is better than the single task's.
        better: Whether the mean difference is for the better; ``None`` for equal, or a metric without a direction.
        alpha: The p below which it is significant.
    """

    value: Estimate
    difference: Estimate | None = None
    p: float | None = None
    delta_percent: float | None = None
    wins: int | None = None
    better: bool | None = None
    alpha: float = SIGNIFICANT

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < self.alpha


@dataclass(frozen=True)
class Row:
    """One method with one value of each varied field.

    Args:
        method: Its name.
        values: Varied field -> value.
        seeds: Those that are finished.
        metrics: Metric -> what it comes to; the one that is judged by comes first.
        differences: Seed -> difference to the single task in the metric that is judged by.
        cut_gap: Mean over seeds.
        macs_ratio: Of inference, to the primary's network alone.
        time_ratio: Of training seconds to the single task's, mean over pairs.
        memory_ratio: Of the peak of memory in training to the single task's, mean over pairs that were measured alike.
    """

    method: str
    values: Mapping[str, Any]
    seeds: tuple[int, ...]
    metrics: Mapping[str, Compared]
    differences: Mapping[int, float] = field(default_factory=dict[int, float])
    cut_gap: float | None = None
    macs_ratio: float | None = None
    time_ratio: float | None = None
    memory_ratio: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The end of a comparison.

    Args:
        folder: Where all of it lies.
        task: The primary.
        metric: What is judged by; empty where no cell was finished.
        directions: Metric -> whether less or more is better.
        split: Where it was measured.
        seeds: All that were wanted.
        fields: Those that are varied.
        rows: The single task first; with values of varied fields, all methods of a value together.
        failed: Cell -> why.
        times: With ``budget: time``: the method's name with its values -> (ratio of its training time to the single task's, name of the
            single task that trains as long).
        against_time: The same name -> its metric against that single task's.
        confidence: Of the intervals.
    """

    folder: Path
    task: str
    metric: str
    directions: Mapping[str, Direction]
    split: str | None
    seeds: tuple[int, ...]
    fields: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: Mapping[str, str]
    times: Mapping[str, tuple[float, str]] = field(default_factory=dict[str, tuple[float, str]])
    against_time: Mapping[str, Compared] = field(default_factory=dict[str, Compared])
    confidence: float = CONFIDENCE

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        found = asdict(replace(self, folder=Path()))
        found["folder"] = str(self.folder)
        found["rows"] = [{**row, "differences": {str(seed): value for seed, value in row["differences"].items()}} for row in found["rows"]]
        return json_ready(found)


def read_comparison(
    plan: Plan, extra: Sequence[Variant], times: Mapping[str, tuple[float, str]], out: Path, failed: Mapping[str, str]
) -> Comparison:
    """What the finished cells come to.

    Args:
        plan: Of the comparison.
        extra: Single tasks that train longer.
        times: See ``Comparison``.
        out: Its folder.
        failed: Cell -> why.
    """
    spec = plan.variants[0].spec
    task = spec.primary_task
    directions: Mapping[str, Direction] = dict(task_types(spec.task_pair)[task].metric_directions)
    cells = {id(variant): _cells(variant, plan.seeds, out) for variant in (*plan.variants, *extra)}
    first = next((cell for found in cells.values() for cell in found.values()), None)
    metric = first.metric if first is not None else ""
    ordered = sorted((*plan.variants, *extra), key=lambda variant: _values_order(plan, variant))
    rows = [
        _row(variant, cells[id(variant)], cells[id(plan.baseline_of(variant))], metric, directions, plan.confidence) for variant in ordered
    ]
    named = {variant.name: cells[id(variant)] for variant in (*plan.variants, *extra)}
    return Comparison(
        out, task, metric, directions, first.split if first else None, plan.seeds, tuple(plan.vary), _corrected(rows), failed,
        times, _against_time(times, named, metric, directions, plan.confidence), plan.confidence,
    )  # fmt: skip


def _cells(variant: Variant, seeds: Sequence[int], out: Path) -> dict[int, Measured]:
    found = {seed: read_cell(out / cell_of(variant, seed).folder) for seed in seeds}
    return {seed: cell for seed, cell in found.items() if cell is not None}


def _values_order(plan: Plan, variant: Variant) -> tuple[int, ...]:
    """Values in the order in which they were given; within, methods stay in theirs."""
    return tuple(plan.vary[field].index(value) for field, value in variant.values.items())


def _row(
    variant: Variant,
    own: Mapping[int, Measured],
    single: Mapping[int, Measured],
    metric: str,
    directions: Mapping[str, Direction],
    confidence: float,
) -> Row:
    seeds = tuple(own)
    if not seeds:
        return Row(variant.method, variant.values, (), {})
    names = dict.fromkeys([metric, *(name for cell in own.values() for name in cell.metrics)])
    baseline = variant.method == SINGLE
    metrics = {
        name: found
        for name in names
        if (found := compared(values_of(own, name), {} if baseline else values_of(single, name), directions.get(name), confidence))
        is not None
    }
    pairs = [seed for seed in own if seed in single]
    linked = bool(variant.spec.space.links)
    gaps = [cell.cut_gap for cell in own.values() if linked and cell.cut_gap is not None]
    differences = (
        {} if baseline else {seed: mine - other for seed, mine, other in _pairs(values_of(own, metric), values_of(single, metric))}
    )
    return Row(
        variant.method, variant.values, seeds, metrics, differences,
        cut_gap=fmean(gaps) if gaps else None,
        macs_ratio=fmean(cell.macs_ratio for cell in own.values()),
        time_ratio=_mean(own[seed].seconds / single[seed].seconds for seed in pairs if single[seed].seconds),
        memory_ratio=_mean(_memory_ratios(own[seed].memory, single[seed].memory) for seed in pairs),
    )  # fmt: skip


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _memory_ratios(own: Memory | None, single: Memory | None) -> float | None:
    if own is None or single is None or own.measure != single.measure or not single.peak_bytes:
        return None
    return own.peak_bytes / single.peak_bytes


def values_of(cells: Mapping[int, Measured], metric: str) -> dict[int, float]:
    """Seed -> a metric, of the seeds that have it."""
    return {seed: cell.metrics[metric] for seed, cell in cells.items() if metric in cell.metrics}


def _pairs(own: Mapping[int, float], single: Mapping[int, float]) -> list[tuple[int, float, float]]:
    return [(seed, own[seed], single[seed]) for seed in own if seed in single]


def compared(
    own: Mapping[int, float], single: Mapping[int, float], direction: Direction | None, confidence: float = CONFIDENCE
) -> Compared | None:
    """One metric of one method against another, pair by pair; ``None`` where no seed has it.

    Args:
        own: Seed -> value.
        single: The same of what it is compared with.
        direction: Whether less or more is better.
        confidence: Of the intervals.
    """
    alpha = round(1 - confidence, 12)
    if not own:
        return None
    pairs = _pairs(own, single)
    if not pairs:
        return Compared(estimate(list(own.values()), confidence), alpha=alpha)
    sign = {"min": -1, "max": 1}.get(direction or "")
    difference = estimate([mine - other for _, mine, other in pairs], confidence)
    reference = abs(fmean(other for _, _, other in pairs))
    delta = wins = better = None
    if sign is not None:
        delta = 100 * sign * difference.mean / reference if reference else None
        wins = sum(sign * (mine - other) > 0 for _, mine, other in pairs)
        better = sign * difference.mean > 0 if difference.mean else None
    return Compared(estimate(list(own.values()), confidence), difference, difference.p, delta, wins, better, alpha)


def _corrected(rows: Sequence[Row]) -> tuple[Row, ...]:
    """With p-values corrected for all rows, each metric by itself."""
    made = [dict(row.metrics) for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row.metrics):
        tested = [(metrics, metrics[name]) for metrics in made if name in metrics and metrics[name].p is not None]
        for (metrics, found), p in zip(tested, holm([found.p or 0.0 for _, found in tested]), strict=True):
            metrics[name] = replace(found, p=p)
    return tuple(replace(row, metrics=metrics) for row, metrics in zip(rows, made, strict=True))


def _against_time(
    times: Mapping[str, tuple[float, str]],
    named: Mapping[str, Mapping[int, Measured]],
    metric: str,
    directions: Mapping[str, Direction],
    confidence: float,
) -> dict[str, Compared]:
    """Each method against the single task of its time, corrected among themselves."""
    found: dict[str, Compared] = {}
    for name, (_, as_long) in times.items():
        if as_long.partition(",")[0] == SINGLE:
            continue  # the method takes no longer than it: that comparison is made already
        against = compared(values_of(named[name], metric), values_of(named[as_long], metric), directions.get(metric), confidence)
        if against is not None and against.difference is not None:
            found[name] = against
    tested = [name for name, against in found.items() if against.p is not None]
    for name, p in zip(tested, holm([found[name].p or 0.0 for name in tested]), strict=True):
        found[name] = replace(found[name], p=p)
    return found
