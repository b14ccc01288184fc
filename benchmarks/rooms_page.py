"""docs/results.md from the folders of comparisons on doom-rooms: tables, what is significant, and where the default does not win."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import table
from graphnas.compare import SINGLE, Comparison, read
from graphnas.compare.results import Row
from graphnas.compare.statistics import estimate
from graphnas.compare.tables import interval, judged_columns, judged_row, words

AUTO, HEAD = "aux-nas-auto", "aux-head"
HEAD_OF_PAGE = """# Results on doom-rooms

This page is written by `python -m benchmarks.doom_rooms` from its run folders, which hold specs, seeds, logs and metrics of every run;
nothing on it is typed, and what is not finished is not on it. Each table is a [comparison](compare.md) against the single task, the
primary's network alone on equally many of its labels, paired by seed; for every seed another 100 images keep their labels. Images are 64x48
pixels; other maps for testing than for training. Settings stand in [benchmarks/rooms](../benchmarks/rooms/search.yaml). Times are of
processes side by side.
"""


def page(out: Path, parts: Mapping[str, tuple[str, str]]) -> str:
    """The page of all parts that are there.

    Args:
        out: Folder of the comparisons' folders.
        parts: Folder -> title, and what to say below it.
    """
    found = {name: read(out / name) for name in parts if (out / name / "compare.json").exists()}
    found = {name: comparison for name, comparison in found.items() if any(row.seeds for row in comparison.rows)}
    text = [HEAD_OF_PAGE, *_made_with(found.values())]
    cells = {name: comparison for name, comparison in found.items() if name.endswith(("-100", "-all"))}
    if cells:
        text += ["## All cells at once\n", _overview(cells), "", *_verdicts(cells), ""]
    for name, comparison in found.items():
        title, about = parts[name]
        rows = [judged_row(row, comparison) for row in comparison.rows if row.seeds]
        text += [
            f"## {title}\n",
            *([f"{about}\n"] if about else []),
            table(list(judged_columns(comparison)), [list(row) for row in rows]),
            "",
        ]
        text += [*(f"- {line}" for line in words(comparison)), ""]
        text += [*(_equal_quality(comparison) if name == "default" else _against(comparison, "joint") if name == "options" else []), ""]
    return "\n".join(text)


def _made_with(comparisons: Iterable[Comparison]) -> list[str]:
    """Versions, from the first line of the runs' logs."""
    lines: dict[str, None] = {}
    for comparison in comparisons:
        for log in sorted((comparison.folder / "cells").glob("*/seed-*.log")):
            first = log.read_text(encoding="utf-8").partition("\n")[0]
            lines[first.partition(", seed")[0]] = None
    return [f"Made with {line}.\n" for line in lines]


def _overview(cells: Mapping[str, Comparison]) -> str:
    """Method x cell: difference to the single task in percent; significant ones are bold."""
    methods = dict.fromkeys(row.method for comparison in cells.values() for row in comparison.rows if row.seeds and row.method != SINGLE)
    rows: list[list[str]] = []
    for method in methods:
        of_method = [(comparison, _row(comparison, method)) for comparison in cells.values()]
        deltas = [_delta(comparison, row) for comparison, row in of_method]
        known = [delta for delta in deltas if delta is not None]
        times = [row.time_ratio for _, row in of_method if row is not None and row.time_ratio is not None]
        shown = [_bold(delta, _significant(comparison, row)) for delta, (comparison, row) in zip(deltas, of_method, strict=True)]
        mean = f"{statistics.fmean(known):+.1f}" if len(known) == len(cells) else "-"
        rows.append([method, *shown, mean, f"{statistics.fmean(times):.1f}" if times else "-"])
    note = "Difference to the single task in percent, positive is better; bold: significant (p < 0.05 after Holm's correction)."
    return f"{note}\n\n{table(['method', *cells, 'mean', 'time'], rows)}"


def _verdicts(cells: Mapping[str, Comparison]) -> list[str]:
    """What became of the default's targets, and where it does not win."""
    few = {name: comparison for name, comparison in cells.items() if name.endswith("-100")}
    many = {name: comparison for name, comparison in cells.items() if name.endswith("-all")}
    lines = [*_count(few, AUTO, better=True), *_count(many, AUTO, better=False)]
    means = {method: [_delta(comparison, _row(comparison, method)) for comparison in cells.values()] for method in (AUTO, HEAD)}
    if all(delta is not None for deltas in means.values() for delta in deltas):
        auto, head = (statistics.fmean(delta for delta in means[method] if delta is not None) for method in (AUTO, HEAD))
        lines.append(f"- Over all cells `{AUTO}` gains {auto:+.1f} % on average, `{HEAD}` {head:+.1f} %.")
    lines += [f"- {line}" for name, comparison in cells.items() for line in _not_won(name, comparison)]
    return lines


def _count(cells: Mapping[str, Comparison], method: str, *, better: bool) -> list[str]:
    hit = [name for name, comparison in cells.items() if _is(comparison, method, better=better)]
    known = [name for name, comparison in cells.items() if _delta(comparison, _row(comparison, method)) is not None]
    word = "better" if better else "worse"
    where = f"in {len(hit)} of {len(known)} cells ({', '.join(known)}): {', '.join(hit) or 'none'}"
    return [f"- `{method}` is significantly {word} than the single task {where}."] if known else []


def _not_won(name: str, comparison: Comparison) -> list[str]:
    """Why the default is not significantly better, as far as the other rows show it."""
    own = _delta(comparison, _row(comparison, AUTO))
    if own is None or _is(comparison, AUTO, better=True):
        return []
    others = {
        row.method: delta for row in comparison.rows if row.method not in (SINGLE, AUTO) and (delta := _delta(comparison, row)) is not None
    }
    winners = {method: delta for method, delta in others.items() if _is(comparison, method, better=True)}
    if not others:
        return []
    best = max(others, key=lambda method: others[method])
    start = f"{name}: `{AUTO}` {own:+.1f} %"
    if winners:
        best = max(winners, key=lambda method: winners[method])
        return [f"{start}, though `{best}` gains significantly ({winners[best]:+.1f} %): there is something to gain that it does not."]
    return [f"{start}; no method gains significantly here (the best mean is `{best}`'s, {others[best]:+.1f} %)."]


def _against(comparison: Comparison, rival: str) -> list[str]:
    """Each method's differences to one of them, paired by seed."""
    own = _row(comparison, rival)
    lines: list[str] = []
    for row in comparison.rows:
        pairs = (
            [] if own is None else [row.differences[seed] - own.differences[seed] for seed in row.differences if seed in own.differences]
        )
        if row.method not in (SINGLE, rival) and pairs:
            lines.append(f"- {row.method} against {rival}: {comparison.metric} {_interval(pairs, sign=True)}")
    return lines


def _equal_quality(comparison: Comparison) -> list[str]:
    """What a shorter whole search of the default comes to on validation, and in training time, beside the authors' procedure."""
    metric, sign = comparison.metric, -1 if comparison.directions[comparison.metric] == "min" else 1
    lines: list[str] = []
    for method in (row.method for row in comparison.rows if row.method.startswith("default")):
        pairs = [
            (own, theirs)
            for seed in comparison.seeds
            if (own := _selected(comparison, method, seed)) is not None and (theirs := _selected(comparison, "authors", seed)) is not None
        ]
        if pairs:
            times = _interval([own.seconds / theirs.seconds for own, theirs in pairs])
            differences = [own.value - theirs.value for own, theirs in pairs]
            better = sum(sign * difference >= 0 for difference in differences)
            lines.append(
                f"- {method} takes {times} of the training time of authors; the {metric} on validation that it is selected by differs by"
                f" {_interval(differences, sign=True)}, and is at least as good in {better} of {len(pairs)} seeds."
            )
    return lines


def _interval(values: Sequence[float], *, sign: bool = False) -> str:
    return interval(estimate(values), sign=sign)


@dataclass(frozen=True)
class _Selected:
    """The state that a run selected on validation, and how long the run trained."""

    value: float
    seconds: float


def _selected(comparison: Comparison, method: str, seed: int) -> _Selected | None:
    """Of a finished run."""
    results = comparison.folder / "cells" / method / f"seed-{seed}" / "results.json"
    if not results.exists():
        return None
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    shipped = next(row for row in found["rows"] if row["name"] == "pruned")
    return _Selected(found["selected"]["value"], shipped["seconds"])


def _row(comparison: Comparison, method: str) -> Row | None:
    return next((row for row in comparison.rows if row.method == method and row.seeds), None)


def _delta(comparison: Comparison, row: Row | None) -> float | None:
    return row.metrics[comparison.metric].delta_percent if row is not None and comparison.metric in row.metrics else None


def _significant(comparison: Comparison, row: Row | None) -> bool:
    return row is not None and comparison.metric in row.metrics and row.metrics[comparison.metric].significant


def _is(comparison: Comparison, method: str, *, better: bool) -> bool:
    row = _row(comparison, method)
    return row is not None and _significant(comparison, row) and row.metrics[comparison.metric].better is better


def _bold(delta: float | None, significant: bool) -> str:
    return "-" if delta is None else f"**{delta:+.1f}**" if significant else f"{delta:+.1f}"
