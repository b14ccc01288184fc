"""The picture of a comparison as SVG: the paired difference of each method to the single task, or the curve of each method over a field.

Bars are intervals; small dots are single seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphnas.compare.methods import SINGLE
from graphnas.compare.plan import shown
from graphnas.compare.results import Comparison, Row
from graphnas.compare.statistics import Estimate
from graphnas.compare.svg import Axis, bar, document, dot, line, path, ruled, ruled_upright, text
from graphnas.compare.tables import by_values, name_of, percent

WIDTH = 760  # pixels, as all sizes here
LEFT, RIGHT, TOP, ROW = 240, 30, 70, 34
HEIGHT = 340  # of the plane of curves


def draw(found: Comparison, *, alone: bool = True) -> str:
    """An SVG document; ``alone`` as for ``svg.document``."""
    parts, height = _curves(found, found.fields[0]) if found.fields else _differences(found)
    over = f"{found.metric} over {found.fields[0]}" if found.fields else f"{found.metric} minus that of the single task"
    return document(parts, WIDTH, height, f"{found.task}: {over}", alone=alone)


def _differences(found: Comparison) -> tuple[list[str], int]:
    """A row a method, zero being the single task."""
    rows = [row for row in found.rows if row.method != SINGLE and _difference(row, found) is not None]
    ends = [0.0]
    for row in rows:
        ends += [*_ends(_difference(row, found)), *row.differences.values()]
    axis = Axis(min(ends), max(ends), LEFT, WIDTH - RIGHT)
    bottom = TOP + ROW * max(1, len(rows))
    about = [*_better(found), f"bar: {percent(found.confidence)} interval of the paired difference", "dot: a seed"]
    parts = [
        text(20, 28, f"{found.task}: {found.metric} minus that of the single task", "title"),
        text(20, 48, ", ".join(about), "small"),
        line(axis.at(0), TOP - 8, axis.at(0), bottom, "zero"),
        *ruled(axis, bottom),
    ]
    for index, row in enumerate(rows):
        y, color = TOP + ROW * index + ROW / 2, index + 1
        parts.append(text(LEFT - 14, y + 4, name_of(row), anchor="end"))
        parts += [dot(axis.at(value), y, 2.5, color, 0.45) for value in row.differences.values()]
        difference = _difference(row, found)
        if difference is not None:
            low, high = min(_ends(difference)), max(_ends(difference))
            parts += [bar(axis.at(low), y, axis.at(high), y, color), dot(axis.at(difference.mean), y, 5, color)]
    return parts, bottom + 40


def _curves(found: Comparison, field: str) -> tuple[list[str], int]:
    """A line a method over the values of a field."""
    values = list(dict.fromkeys(shown(row.values[field]) for row in found.rows))
    across = _positions([row.values[field] for row in found.rows], values)
    curves = by_values(found.rows, field)
    points = {name: [row for row in rows if found.metric in row.metrics] for name, rows in curves.items()}
    ends = [end for rows in points.values() for row in rows for end in _ends(row.metrics[found.metric].value)] or [0.0]
    bottom = TOP + HEIGHT
    axis = Axis(min(ends), max(ends), bottom, TOP)
    parts = [
        text(20, 28, f"{found.task}: {found.metric} over {field}", "title"),
        text(20, 48, ", ".join([*_better(found), f"bar: {percent(found.confidence)} interval of the mean over seeds"]), "small"),
        *ruled_upright(axis, 90, WIDTH - RIGHT),
    ]
    parts += [text(across[value], bottom + 18, value, "small", "middle") for value in values]
    for index, (name, rows) in enumerate(points.items()):
        color, shift = index, 3 * (index - (len(points) - 1) / 2)  # so that bars don't hide each other
        places = [(across[shown(row.values[field])] + shift, row.metrics[found.metric].value) for row in rows]
        parts.append(path([(x, axis.at(value.mean)) for x, value in places], color, dashes=index))
        for x, value in places:
            low, high = min(_ends(value)), max(_ends(value))
            parts += [bar(x, axis.at(low), x, axis.at(high), color), dot(x, axis.at(value.mean), 4, color)]
        y = bottom + 46 + 20 * index
        parts += [path([(90, y), (120, y)], color, dashes=index), text(128, y + 4, name)]
    return parts, bottom + 46 + 20 * len(points)


def _positions(values: Sequence[object], names: Sequence[str]) -> dict[str, float]:
    """Where each value stands: numbers by their size (by their logarithm where they span much), anything else side by side."""
    left, right = 120.0, WIDTH - RIGHT - 30.0
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values) and min(numbers) < max(numbers):
        logs = min(numbers) > 0 and max(numbers) / min(numbers) >= 8
        scaled = [math.log(value) if logs else value for value in numbers]
        low, high = min(scaled), max(scaled)
        return {shown(value): left + (right - left) * (place - low) / (high - low) for value, place in zip(values, scaled, strict=True)}
    step = (right - left) / max(1, len(names) - 1)
    return {name: left + step * index for index, name in enumerate(names)}


def _better(found: Comparison) -> list[str]:
    return {"min": ["lower is better"], "max": ["higher is better"]}.get(found.directions.get(found.metric, ""), [])


def _difference(row: Row, found: Comparison) -> Estimate | None:
    compared = row.metrics.get(found.metric)
    return None if compared is None else compared.difference


def _ends(value: Estimate | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return (value.mean,) if value.low is None or value.high is None else (value.low, value.high)
