"""The picture of an attribution: for every auxiliary what it adds to the others, and what it does alone, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphnas.compare.statistics import Estimate
from graphnas.compare.svg import Axis, bar, document, dot, line, path, ruled, text
from graphnas.compare.tables import percent

if TYPE_CHECKING:
    from graphnas.compare.attribution import Attribution

WIDTH, LEFT, RIGHT, TOP, ROW = 760, 200, 30, 96, 44  # pixels
_WAYS = ("added to the others (leave one out)", "alone (add one in)")


def draw_attribution(found: Attribution, *, alone: bool = True) -> str:
    """An SVG document; ``alone`` as for ``svg.document``."""
    rows = [(task.task, [None if one is None else one.difference for one in (task.left_out, task.alone)]) for task in found.tasks]
    ends = [0.0, *(end for _, estimates in rows for estimate in estimates for end in _ends(estimate))]
    axis = Axis(min(ends), max(ends), LEFT, WIDTH - RIGHT)
    bottom = TOP + ROW * len(rows)
    title = f"{found.primary}: what each auxiliary changes in {found.metric}"
    better = {"min": "lower is better", "max": "higher is better"}.get(found.direction or "", "")
    note = ", ".join(part for part in (better, f"bar: {percent(found.comparison.confidence)} interval of paired differences") if part)
    parts = [text(20, 28, title, "title"), text(20, 48, note, "small"), line(axis.at(0), TOP - 8, axis.at(0), bottom, "zero")]
    parts += ruled(axis, bottom)
    for number, way in enumerate(_WAYS):
        x = 20 + 290 * number
        parts += [path([(x, 70), (x + 28, 70)], number + 1, dashes=number), text(x + 36, 74, way, "small")]
    for index, (task, estimates) in enumerate(rows):
        parts.append(text(LEFT - 14, TOP + ROW * (index + 0.5) + 4, task, anchor="end"))
        for number, estimate in enumerate(estimates):
            if estimate is not None:
                y, ends = TOP + ROW * (index + 0.35 + 0.3 * number), _ends(estimate)
                parts += [bar(axis.at(min(ends)), y, axis.at(max(ends)), y, number + 1), dot(axis.at(estimate.mean), y, 5, number + 1)]
    return document(parts, WIDTH, bottom + 40, title, alone=alone)


def _ends(value: Estimate | None) -> list[float]:
    if value is None:
        return []
    return [value.mean] if value.low is None or value.high is None else [value.low, value.high]
