"""docs/results.md from the folders of comparisons on doom-rooms: tables, what is significant, and where the default does not win."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
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
            lines.append(f"- {row.method} against {rival}: {comparison.metric} {interval(estimate(pairs), sign=True)}")
    return lines


def _equal_quality(comparison: Comparison) -> list[str]:
    """How soon the default is as good on validation as the authors' procedure ends, in its training time."""
    ratios: list[float] = []
    never = 0
    direction = comparison.directions[comparison.metric]
    for seed in comparison.seeds:
        theirs, own = (_validated(comparison.folder / "cells" / method / f"seed-{seed}", comparison) for method in ("authors", "default"))
        if not theirs or not own:
            continue
        best = (min if direction == "min" else max)(value for _, value in theirs)
        reached = [seconds for seconds, value in own if (value <= best if direction == "min" else value >= best)]
        never += not reached
        ratios += [reached[0] / theirs[-1][0]] if reached else []
    count, metric = len(ratios) + never, comparison.metric
    lines = [f"- {never} of {count} seeds of `default` never come to the best validation {metric} of `authors`."] if never else []
    if ratios:
        shown = interval(estimate(ratios)) if len(ratios) > 1 else f"{ratios[0]:.2f}"
        share = f"after {shown} of the training time of `authors` ({len(ratios)} seeds)"
        lines.append(f"- `default` first has the best validation {metric} of `authors` {share}.")
    return lines


def _validated(run: Path, comparison: Comparison) -> list[tuple[float, float]]:
    """Seconds of training and the validation metric of what is shipped, of every evaluation of a finished run."""
    if not (run / "results.json").exists():
        return []
    rows: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = [row for row in rows if row["phase"] == "search" and row["split"] == "validation" and row["task"] == comparison.task]
    return [(row["seconds"], (row["cut_metrics"] or row["metrics"])[comparison.metric]) for row in judged]


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
