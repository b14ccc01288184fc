"""A picture of a supernet as SVG: branches side by side, stages as bands, links as curves colored by direction.

Positions follow the rule that chooses links: in a stage of n rows, tap j of m stands in row floor(j n / m), so links run sideways or down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise, product

from graphnas.cli.picture import DIRECTIONS, Column, Picture
from graphnas.graph.links import Direction

BOX_WIDTH, BOX_HEIGHT = 190, 38  # pixels, as all sizes here
COLUMN_STEP, ROW_STEP = 370, 62
LEFT, TOP = 110, 84  # room for the names of stages, and for the names of branches
BAND_GAP = 16  # between two stages
COLORS: Mapping[Direction, str] = {"a2p": "#c2410c", "p2a": "#1d4ed8", "a2a": "#6b7280"}

_DASH = ' stroke-dasharray="6 4"'  # a link that is gone at inference
_STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:12px;fill:#111827}"
    ".name{font-weight:600}.small{font-size:11px;fill:#4b5563}.title{font-size:16px;font-weight:600}"
    ".band{fill:#f3f4f6}.box{fill:#ffffff;stroke:#374151;stroke-width:1.2}.end{fill:#e5e7eb;stroke:#374151;stroke-width:1.2}"
    ".flow{stroke:#374151;stroke-width:1.6;fill:none}.link{fill:none;stroke-width:1.5;stroke-opacity:0.75}"
)


def svg(picture: Picture) -> str:
    """An SVG document."""
    bands, bottom = _bands(picture)
    width = LEFT + COLUMN_STEP * (len(picture.columns) - 1) + BOX_WIDTH + 30
    rows = _rows(picture, bands)
    parts = [f'<rect width="{width}" height="100%" fill="#ffffff"/>']
    for stage, (top, height) in bands.items():
        parts.append(f'<rect class="band" x="8" y="{top}" width="{width - 16}" height="{height}" rx="8"/>')
        parts.append(_text(20, top + height / 2 + 4, stage, "name"))
    parts += _links(picture, rows)
    for number, column in enumerate(picture.columns):
        parts += _column(number, column, rows, bottom)
    legend, height = _legend(picture, bottom + BOX_HEIGHT + 34)
    markers = [_arrow("flow", "#374151"), *(_arrow(name, color) for name, color in COLORS.items())]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<defs><style>{_STYLE}</style>{''.join(markers)}</defs>",
        *parts,
        *legend,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bands(picture: Picture) -> tuple[dict[str, tuple[float, float]], float]:
    """Top and height of each stage's band, and where the outputs stand."""
    y = float(TOP + BOX_HEIGHT + BAND_GAP)
    bands: dict[str, tuple[float, float]] = {}
    for stage, count in picture.stages().items():
        height = count * ROW_STEP - (ROW_STEP - BOX_HEIGHT) + 24
        bands[stage] = (y, height)
        y += height + BAND_GAP
    return bands, y


def _rows(picture: Picture, bands: Mapping[str, tuple[float, float]]) -> dict[tuple[str, str], tuple[float, float]]:
    """The upper left corner of each tap's box."""
    counts = picture.stages()
    corners: dict[tuple[str, str], tuple[float, float]] = {}
    for number, column in enumerate(picture.columns):
        own: dict[str, int] = {}
        for tap in column.taps:
            own[tap.stage] = own.get(tap.stage, 0) + 1
        for tap in column.taps:
            row = tap.index * counts[tap.stage] // own[tap.stage]
            corners[column.task, tap.name] = (LEFT + number * COLUMN_STEP, bands[tap.stage][0] + 12 + row * ROW_STEP)
    return corners


def _column(number: int, column: Column, corners: Mapping[tuple[str, str], tuple[float, float]], bottom: float) -> list[str]:
    left = LEFT + number * COLUMN_STEP
    middle = left + BOX_WIDTH / 2
    parts = [
        _text(left, 26, column.task + (" (primary)" if column.primary else ""), "title"),
        _text(left, 44, column.caption, "small"),
    ]
    boxes = [(TOP - 24.0, _ends(column.inputs), "end")]
    boxes += [(corners[column.task, tap.name][1], (tap.name, str(tap.type)), "box") for tap in column.taps]
    boxes.append((bottom, _ends(column.outputs), "end"))
    for (y, _, _), (below, _, _) in pairwise(boxes):
        parts.append(f'<path class="flow" d="M{middle},{y + BOX_HEIGHT} V{below - 2}" marker-end="url(#flow)"/>')
    for y, lines, style in boxes:
        parts.append(f'<rect class="{style}" x="{left}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>')
        for index, line in enumerate(lines):
            baseline = y + BOX_HEIGHT / 2 - 3.5 + index * 15
            parts.append(_text(middle, baseline, _clipped(line), "name" if index == 0 else "small", anchor="middle"))
    return parts


def _links(picture: Picture, corners: Mapping[tuple[str, str], tuple[float, float]]) -> list[str]:
    """Curves from the side of the source's box to the facing side of the destination's, spread so that two directions do not coincide."""
    parts: list[str] = []
    for link in picture.links:
        x1, y1 = corners[link.source.task, link.source.tap]
        x2, y2 = corners[link.destination.task, link.destination.tap]
        offset = BOX_HEIGHT * (0.3 if link.direction == "a2p" else 0.7)
        start, end = (x1 + BOX_WIDTH, x2 - 3) if x1 < x2 else (x1, x2 + BOX_WIDTH + 3)
        bend = (end - start) / 2
        dash = _DASH if picture.vanishes(link) else ""
        curve = f"M{start},{y1 + offset} C{start + bend},{y1 + offset} {end - bend},{y2 + offset} {end},{y2 + offset}"
        color = COLORS[link.direction]
        parts.append(
            f'<path class="link" d="{curve}" stroke="{color}"{dash} marker-end="url(#{link.direction})">'
            f"<title>{escape(link.id)}: {escape(', '.join(link.operations))}</title></path>"
        )
    return parts


def _legend(picture: Picture, y: float) -> tuple[list[str], float]:
    parts: list[str] = []
    for (direction, words), vanishing in product(DIRECTIONS.items(), (False, True)):
        count = sum(link.direction == direction and picture.vanishes(link) == vanishing for link in picture.links)
        if count:
            text = f"{words}: {count} candidate link{'s' if count > 1 else ''}{', gone at inference' if vanishing else ''}"
            dash = _DASH if vanishing else ""
            parts.append(f'<path class="link" d="M{LEFT},{y} h40" stroke="{COLORS[direction]}"{dash} marker-end="url(#{direction})"/>')
            parts.append(_text(LEFT + 52, y + 4, text, ""))
            y += 22
    for note in picture.notes:
        parts.append(_text(LEFT, y + 4, note, "small"))
        y += 20
    return parts, y + 4


def _ends(ends: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """One line of names, one of types."""
    return ", ".join(name for name, _ in ends), ", ".join(type_ for _, type_ in ends)


def _arrow(name: str, color: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L10,5 L0,10 z" fill="{color}"/></marker>'
    )


def _text(x: float, y: float, text: str, style: str, *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _clipped(text: str, limit: int = 28) -> str:
    return text if len(text) <= limit else f"...{text[3 - limit :]}"
