"""A comparison as rows for a table, as CSV, and in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.compare.methods import SINGLE
from graphnas.compare.plan import shown
from graphnas.compare.results import Compared, Comparison, Row
from graphnas.compare.statistics import Estimate

_COSTS = ("cut_gap", "macs_ratio", "time_ratio", "memory_ratio")
_CSV = ("n", "mean", "low", "high", "difference", "difference_low", "difference_high", "p_holm", "delta_percent", "wins", "pairs", *_COSTS)


def number(value: float | None, *, sign: bool = False) -> str:
    """Four significant digits, a dash for none."""
    return "-" if value is None else f"{value:{'+' if sign else ''}.4g}"


def interval(found: Estimate | None, *, sign: bool = False) -> str:
    """``12.3 ± 0.4``, or the mean alone where one value can't say more."""
    if found is None:
        return "-"
    return number(found.mean, sign=sign) + ("" if found.half is None else f" ± {found.half:.2g}")


def name_of(row: Row) -> str:
    """``aux-nas, training.batch_size=8``."""
    return ", ".join([row.method, *(f"{field}={shown(value)}" for field, value in row.values.items())])


def judged_columns(found: Comparison) -> tuple[str, ...]:
    """Headings of the main table."""
    return ("method", *found.fields, "seeds", found.metric, "difference", "p", "delta %", "wins", "cut gap", "MACs", "time", "memory")


def judged_row(row: Row, found: Comparison) -> tuple[str, ...]:
    """A row of the main table, in the metric that is judged by."""
    head = (row.method, *(shown(row.values[field]) for field in found.fields), _seeds(row, found))
    compared = row.metrics.get(found.metric)
    ratios = (number(row.cut_gap), *(f"{ratio:.2f}" if ratio is not None else "-" for ratio in _ratios(row)))
    if compared is None:
        return (*head, "-", "-", "-", "-", "-", *ratios)
    wins = "-" if compared.wins is None or compared.difference is None else f"{compared.wins}/{compared.difference.n}"
    p = "-" if compared.p is None else p_text(compared.p)
    return (
        *head, interval(compared.value), interval(compared.difference, sign=True), p,
        "-" if compared.delta_percent is None else f"{compared.delta_percent:+.1f}", wins, *ratios,
    )  # fmt: skip


def _ratios(row: Row) -> tuple[float | None, ...]:
    return row.macs_ratio, row.time_ratio, row.memory_ratio


def _seeds(row: Row, found: Comparison) -> str:
    """``5``, or ``3/5`` where some are not finished."""
    return str(len(row.seeds)) if len(row.seeds) == len(found.seeds) else f"{len(row.seeds)}/{len(found.seeds)}"


def all_metrics(found: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of the table of every metric; details (with a slash in their name) are in the files alone."""
    names = dict.fromkeys(name for row in found.rows for name in row.metrics if "/" not in name)
    columns = ("method", *found.fields, *names)
    rows = [
        (
            row.method, *(shown(row.values[field]) for field in found.fields),
            *(interval(row.metrics[name].value) + _star(row.metrics[name]) if name in row.metrics else "-" for name in names),
        )
        for row in found.rows
    ]  # fmt: skip
    return columns, rows


def p_text(p: float) -> str:
    """``0.012``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def csv_text(found: Comparison) -> str:
    """One line for each method, values and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", *found.fields, "metric", *_CSV])
    for row in found.rows:
        for metric, compared in row.metrics.items():
            writer.writerow([row.method, *(shown(row.values[field]) for field in found.fields), metric, *_numbers(row, compared)])
    return text.getvalue()


def _numbers(row: Row, compared: Compared) -> list[Any]:
    value, difference = compared.value, compared.difference
    return [
        value.n, value.mean, value.low, value.high,
        *((difference.mean, difference.low, difference.high) if difference is not None else (None, None, None)),
        compared.p, compared.delta_percent, compared.wins, difference.n if difference is not None else None,
        *(getattr(row, name) for name in _COSTS),
    ]  # fmt: skip


def words(found: Comparison) -> list[str]:
    """What is significant and what is not, a sentence each."""
    tested = {name_of(row): row.metrics[found.metric] for row in found.rows if found.metric in row.metrics and row.method != SINGLE}
    lines = [f"{name}: {_verdict(compared, 'the single task', found.metric)}" for name, compared in tested.items()]
    for name, (ratio, as_long) in found.times.items():
        if name in found.against_time:
            rival = f"{as_long}, which trains as long ({ratio:.1f} times the single task)"
            lines.append(f"{name}: {_verdict(found.against_time[name], rival, found.metric)}")
    count = sum(compared.p is not None for compared in tested.values())
    if count:
        comparisons = f"{count} comparison{'s' * (count > 1)}"
        lines.append(
            f"± and [] are {percent(found.confidence)} t intervals, differences are paired by seed; "
            f"p is corrected for {comparisons} (Holm), significant below {1 - found.confidence:.3g}"
        )
    elif tested:
        lines.append("one seed: no intervals and no tests; two runs often differ as much by their seeds alone: --seeds 5 tells")
    lines += [f"failed, and not in the table: {cell_name(cell)}: {reason.splitlines()[0]}" for cell, reason in found.failed.items()]
    return lines


def cell_name(folder: str) -> str:
    """``cells/aux-nas/seed-0`` -> ``aux-nas, seed 0``."""
    *parts, seed = folder.split("/")[1:]
    return ", ".join([*parts, seed.replace("-", " ")])


def percent(share: float) -> str:
    """``95 %``."""
    return f"{100 * share:.3g} %"


def _verdict(compared: Compared, rival: str, metric: str) -> str:
    """One method against another."""
    difference = compared.difference
    if difference is None:
        return f"no seed to compare with {rival}"
    size = f"{metric} {number(difference.mean, sign=True)}"
    if difference.low is None or difference.high is None:
        return f"{size} against {rival}, on one seed"
    size += f" [{number(difference.low, sign=True)}, {number(difference.high, sign=True)}], p {_with_equals(compared.p)}"
    if compared.wins is not None:
        size += f", {compared.wins} of {difference.n} seeds"
    if not compared.significant:
        return f"no significant difference from {rival}: {size}"
    word = {True: "significantly better than", False: "significantly worse than", None: "significantly different from"}[compared.better]
    return f"{word} {rival}: {size}"


def _with_equals(p: float | None) -> str:
    return "-" if p is None else p_text(p) if p < 0.001 else f"= {p_text(p)}"


def _star(compared: Compared) -> str:
    """Marks what differs significantly from the single task."""
    return " *" if compared.significant else ""


def by_values(rows: Sequence[Row], field: str) -> Mapping[str, list[Row]]:
    """Method -> its rows in the order of a field's values."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        others = [shown(value) for name, value in row.values.items() if name != field]
        found.setdefault(", ".join([row.method, *others]), []).append(row)
    return found
