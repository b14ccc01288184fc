"""Lines over the length of a training, as SVG for a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphnas.compare.svg import Axis, document, dot, line, path, ruled, ruled_upright, text

WIDTH, HEIGHT = 720.0, 260.0  # pixels; the height is that of the plane
LEFT, RIGHT, TOP = 76.0, 20.0, 64.0
_KEY_WIDTH, _KEY_ROW = 224.0, 20.0


@dataclass(frozen=True)
class Series:
    """A line.

    Args:
        name: In the key; lines of one name share a color, and an entry there.
        points: (across, up); numbers that are not finite are left out.
        title: Of this line, where it is pointed at.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    title: str = ""


def lines(title: str, series: Sequence[Series], *, across: str, note: str = "", thin: bool = False, zero: bool = False) -> str | None:
    """A plot; ``None`` where there is nothing to draw.

    Args:
        title: What it shows, with the unit.
        series: The lines.
        across: What the horizontal axis is.
        note: Under the title: which direction is better, what lines mean.
        thin: Whether lines are many, and thin.
        zero: Whether zero is drawn in.
    """
    drawn = [Series(one.name, points, one.title) for one in series if (points := _finite(one.points))]
    if not drawn:
        return None
    names = list(dict.fromkeys(one.name for one in drawn))
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points if y is not None] + ([0.0] if zero else [])
    bottom = TOP + HEIGHT
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, room=0.02)
    y_axis = Axis(min(ys), max(ys), bottom, TOP)
    parts = [text(16, 26, title, "title"), text(16, 46, note, "small"), *ruled_upright(y_axis, LEFT, WIDTH - RIGHT)]
    parts += [*ruled(x_axis, bottom), text(WIDTH - RIGHT, bottom + 34, across, "small", "end")]
    if zero:
        parts.append(line(LEFT, y_axis.at(0), WIDTH - RIGHT, y_axis.at(0), "zero"))
    for one in drawn:
        number = names.index(one.name)
        places = [(x_axis.at(x), y_axis.at(y)) for x, y in one.points if y is not None]
        parts.append(path(places, number, dashes=0 if thin else number, thin=thin, title=one.title or one.name))
        if not thin:
            parts += [dot(x, y, 2, number) for x, y in (places if len(places) <= 60 else places[-1:])]
    parts += _key(names, bottom + 54, dashed=not thin)
    rows = math.ceil(len(names) / _columns())
    return document(parts, WIDTH, bottom + 50 + _KEY_ROW * rows, title, alone=False)


def dots(title: str, rows: Sequence[tuple[str, Sequence[float]]], *, note: str = "") -> str | None:
    """A row a name, a dot a value, and zero drawn in; ``None`` where there is nothing to draw."""
    known = [(name, found) for name, values in rows if (found := [value for value in values if math.isfinite(value)])]
    if not known:
        return None
    left, row = 300.0, 22.0
    ends = [0.0, *(value for _, values in known for value in values)]
    axis = Axis(min(ends), max(ends), left, WIDTH - RIGHT)
    bottom = TOP + row * len(known)
    parts = [text(16, 26, title, "title"), text(16, 46, note, "small"), line(axis.at(0), TOP - 6, axis.at(0), bottom, "zero")]
    parts += ruled(axis, bottom)
    for index, (name, values) in enumerate(known):
        y = TOP + row * (index + 0.5)
        parts.append(text(left - 12, y + 4, _clipped(name), "small", "end"))
        parts += [dot(axis.at(value), y, 4, 2, 0.75) for value in values]
    return document(parts, WIDTH, bottom + 30, title, alone=False)


def _finite(points: Iterable[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    return [(x, y) for x, y in points if y is not None and math.isfinite(y)]


def _columns() -> int:
    return max(1, int((WIDTH - LEFT) // _KEY_WIDTH))


def _key(names: Sequence[str], top: float, *, dashed: bool) -> list[str]:
    parts: list[str] = []
    for number, name in enumerate(names):
        x, y = LEFT + _KEY_WIDTH * (number % _columns()), top + _KEY_ROW * (number // _columns())
        parts += [path([(x, y - 4), (x + 28, y - 4)], number, dashes=number if dashed else 0), text(x + 34, y, _clipped(name, 32), "small")]
    return parts


def _clipped(words: str, limit: int = 48) -> str:
    return words if len(words) <= limit else f"{words[: limit // 2 - 2]}...{words[-(limit // 2 - 1) :]}"
