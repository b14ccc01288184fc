"""The picture of a comparison as SVG: the paired difference of each method to the single task, or the curve of each method over a field.

Bars are 95 % intervals; small dots are single seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from graphnas.compare.methods import SINGLE
from graphnas.compare.plan import shown
from graphnas.compare.results import Comparison, Row
from graphnas.compare.statistics import Estimate
from graphnas.compare.tables import by_values, name_of, number, percent

WIDTH = 760  # pixels, as all sizes here
LEFT, RIGHT, TOP, ROW = 240, 30, 70, 34
HEIGHT = 340  # of the plane of curves
COLORS = ("#374151", "#c2410c", "#1d4ed8", "#047857", "#7c3aed", "#b45309", "#be185d", "#0e7490")
_STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:12px;fill:#111827}.small{font-size:11px;fill:#4b5563}"
    ".title{font-size:15px;font-weight:600}.axis{stroke:#9ca3af;stroke-width:1}.zero{stroke:#374151;stroke-dasharray:4 3}"
)


def draw(found: Comparison) -> str:
    """An SVG document."""
    parts, height = _curves(found, found.fields[0]) if found.fields else _differences(found)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<defs><style>{_STYLE}</style></defs>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _differences(found: Comparison) -> tuple[list[str], int]:
    """A row a method, zero being the single task."""
    rows = [row for row in found.rows if row.method != SINGLE and _difference(row, found) is not None]
    ends = [0.0]
    for row in rows:
        ends += [*_ends(_difference(row, found)), *row.differences.values()]
    axis = _Axis(min(ends), max(ends), LEFT, WIDTH - RIGHT)
    bottom = TOP + ROW * max(1, len(rows))
    better = {"min": "less is better", "max": "more is better"}.get(found.directions.get(found.metric, ""), "")
    parts = [
        _text(20, 28, f"{found.task}: {found.metric} minus that of the single task", "title"),
        _text(
            20,
            48,
            ", ".join(
                part for part in (better, f"bar: {percent(found.confidence)} interval of the paired difference", "dot: a seed") if part
            ),
            "small",
        ),
        _line(axis.at(0), TOP - 8, axis.at(0), bottom, "zero"),
        *_ticks(axis, bottom),
    ]
    for index, row in enumerate(rows):
        y, color = TOP + ROW * index + ROW / 2, COLORS[(index + 1) % len(COLORS)]
        parts.append(_text(LEFT - 14, y + 4, name_of(row), "", "end"))
        parts += [_dot(axis.at(value), y, 2.5, color, 0.45) for value in row.differences.values()]
        difference = _difference(row, found)
        if difference is not None:
            low, high = min(_ends(difference)), max(_ends(difference))
            parts += [_bar(axis.at(low), y, axis.at(high), y, color), _dot(axis.at(difference.mean), y, 5, color)]
    return parts, bottom + 40


def _curves(found: Comparison, field: str) -> tuple[list[str], int]:
    """A line a method over the values of a field."""
    values = list(dict.fromkeys(shown(row.values[field]) for row in found.rows))
    across = _positions([row.values[field] for row in found.rows], values)
    curves = by_values(found.rows, field)
    points = {name: [row for row in rows if found.metric in row.metrics] for name, rows in curves.items()}
    ends = [end for rows in points.values() for row in rows for end in _ends(row.metrics[found.metric].value)] or [0.0]
    bottom = TOP + HEIGHT
    axis = _Axis(min(ends), max(ends), bottom, TOP)
    parts = [
        _text(20, 28, f"{found.task}: {found.metric} over {field}", "title"),
        _text(20, 48, f"bar: {percent(found.confidence)} interval of the mean over seeds", "small"),
        _line(90, bottom, WIDTH - RIGHT, bottom, "axis"),
    ]
    parts += [_text(across[value], bottom + 18, value, "small", "middle") for value in values]
    for tick in axis.ticks():
        parts += [_line(86, axis.at(tick), 90, axis.at(tick), "axis"), _text(80, axis.at(tick) + 4, number(tick), "small", "end")]
    for index, (name, rows) in enumerate(points.items()):
        color, shift = COLORS[index % len(COLORS)], 3 * (index - (len(points) - 1) / 2)  # so that bars don't hide each other
        places = [(across[shown(row.values[field])] + shift, row.metrics[found.metric].value) for row in rows]
        path = " ".join(f"{'ML'[number > 0]}{x:.1f},{axis.at(value.mean):.1f}" for number, (x, value) in enumerate(places))
        if path:
            parts.append(f'<path d="{path}" stroke="{color}" stroke-width="2" fill="none"/>')
        for x, value in places:
            low, high = min(_ends(value)), max(_ends(value))
            parts += [_bar(x, axis.at(low), x, axis.at(high), color), _dot(x, axis.at(value.mean), 4, color)]
        y = bottom + 46 + 20 * index
        parts += [_bar(90, y, 120, y, color), _text(128, y + 4, name, "")]
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


class _Axis:
    """Numbers -> pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def at(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """About five round numbers."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def _difference(row: Row, found: Comparison) -> Estimate | None:
    compared = row.metrics.get(found.metric)
    return None if compared is None else compared.difference


def _ends(value: Estimate | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return (value.mean,) if value.low is None or value.high is None else (value.low, value.high)


def _ticks(axis: _Axis, y: float) -> list[str]:
    parts = [_line(axis.start, y, axis.end, y, "axis")]
    for tick in axis.ticks():
        parts += [_line(axis.at(tick), y, axis.at(tick), y + 4, "axis"), _text(axis.at(tick), y + 18, number(tick), "small", "middle")]
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def _bar(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="2"/>'


def _dot(x: float, y: float, radius: float, color: str, opacity: float = 1) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}" fill-opacity="{opacity}"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
