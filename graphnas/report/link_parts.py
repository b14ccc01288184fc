"""Parts of a run's page about links and gradients: gates by direction and by link, the table of links, cosines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphnas.report.chart import Series, lines
from graphnas.report.html import Markup, figure, section, table, tag
from graphnas.report.reading import Run
from graphnas.report.words import DIRECTIONS, number

MOST_LINES = 80
"""Links that are drawn one by one."""
MOST_ROWS = 400
"""Links in the table."""


def gates(run: Run) -> Markup | None:
    """Gates over time, and the links with their last ones."""
    means = _means(run)
    by_direction = lines(
        "mean gate of each direction", means, across="epoch of the phase", note="sum over a link's candidates, mean over links", zero=True
    )
    parts: list[Markup] = [] if by_direction is None else [figure(by_direction, "mean gate of each direction over the epochs")]
    for phase, found in run.gates.items():
        parts += _by_link(run, phase, found)
    return section("Gates", *parts) if parts else None


def _means(run: Run) -> list[Series]:
    found: dict[str, dict[float, float | None]] = {}
    for row in run.rows:
        for direction, value in row["gates"].items():
            found.setdefault(f"{row['phase']}, {DIRECTIONS.get(direction, direction)}", {})[row["epoch"]] = value
    return [Series(name, list(points.items())) for name, points in found.items()]


def _by_link(run: Run, phase: str, found: Sequence[tuple[int, Mapping[str, Sequence[float]]]]) -> list[Markup]:
    """A thin line a link, and a row a link."""
    over_time: dict[str, list[tuple[float, float | None]]] = {}
    for step, values in found:
        for link, gate in values.items():
            over_time.setdefault(link, []).append((step, sum(gate)))
    order = sorted(over_time, key=lambda link: -(over_time[link][-1][1] or 0.0))
    drawn = order[:MOST_LINES]
    series = [Series(_direction(run, link), over_time[link], link) for link in sorted(drawn, key=lambda link: _direction(run, link))]
    several = f"; the {MOST_LINES} of {len(order)} that end with the largest" if len(order) > MOST_LINES else ""
    svg = lines(f"{phase}: gate of each link", series, across="step", note=f"sum over its candidates{several}", thin=True, zero=True)
    parts = [] if svg is None else [figure(svg, f"gates of the links over the steps of {phase}; pointing at a line names it")]
    columns = ("link", "direction", "candidates", "first gate", "last gate")
    rows = [_row(run, link, over_time[link], found[-1][1].get(link)) for link in order[:MOST_ROWS]]
    left = f"; {len(order) - MOST_ROWS} more are in gates.jsonl" if len(order) > MOST_ROWS else ""
    listed = table(f"links of {phase}, the largest last gate first{left}", columns, rows, numbers=columns[3:])
    return [*parts, tag("details", tag("summary", f"{len(order)} links"), listed)]


def _direction(run: Run, link: str) -> str:
    direction: str = run.links.get(link, {}).get("direction", "")
    return DIRECTIONS.get(direction, direction)


def _row(run: Run, link: str, points: Sequence[tuple[float, float | None]], last: Sequence[float] | None) -> tuple[str, ...]:
    operations: Sequence[Any] = run.links.get(link, {}).get("operations", ())
    if last is not None and len(operations) == len(last) > 1:
        shown = ", ".join(f"{name} {number(gate)}" for name, gate in zip(operations, last, strict=True))
    else:
        shown = ", ".join(operations)
    return link, _direction(run, link), shown, number(points[0][1]), "cut" if last is None else number(points[-1][1])


def agreements(run: Run) -> Markup | None:
    """Cosines between the gradients of the auxiliaries and of the primary."""
    parts: list[Markup] = []
    for phase, found in run.agreements.items():
        over_time: dict[tuple[str, str | None], list[tuple[float, float | None]]] = {}
        for step, rows in found:
            for row in rows:
                over_time.setdefault((row.task, row.tap), []).append((step, row.cosine))
        for task in dict.fromkeys(task for task, _ in over_time):
            series = [Series(tap or "all shared weights", points) for (own, tap), points in over_time.items() if own == task]
            note = "1: the same way, 0: unrelated, -1: against each other"
            svg = lines(f"{task} and the primary: cosine of the gradients", series, across="step", note=note, zero=True)
            if svg is not None:
                parts.append(figure(svg, f"at taps of the primary, and over its weights, in {phase}"))
    said = "Whether an auxiliary's loss pulls what the primary's network computes the same way as the primary's own, on training batches."
    return section("Gradients", tag("p", said), *parts) if parts else None
