"""What plots are drawn with: axes, lines, dots and text as SVG, with colors for light and for dark surroundings.

Numbers are pixels. Series are told apart by color and by dashes, so that neither color vision nor a printer is needed to tell them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

COLORS = ("#374151", "#c2410c", "#1d4ed8", "#047857", "#7c3aed", "#92400e", "#be185d", "#0e7490")
_IN_THE_DARK = ("#d1d5db", "#fb923c", "#60a5fa", "#34d399", "#a78bfa", "#fbbf24", "#f472b6", "#22d3ee")
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


def _rules(text: str, small: str, axis: str, ground: str, colors: Sequence[str]) -> str:
    """Style rules of one scheme."""
    series = "".join(f".gn .l{i}{{stroke:{color}}}.gn .d{i}{{fill:{color}}}" for i, color in enumerate(colors))
    return (
        f".gn text{{fill:{text}}}.gn .small{{fill:{small}}}.gn .axis{{stroke:{axis}}}.gn .zero{{stroke:{small}}}"
        f".gn .ground{{fill:{ground}}}{series}"
    )


STYLE = (
    ".gn text{font-family:system-ui,sans-serif;font-size:12px}.gn .small{font-size:11px}.gn .title{font-size:15px;font-weight:600}"
    ".gn .axis{stroke-width:1}.gn .zero{stroke-dasharray:4 3}.gn .line{fill:none;stroke-width:2}.gn .thin{stroke-width:1}"
    f"{_rules('#111827', '#4b5563', '#9ca3af', '#ffffff', COLORS)}"
    f"@media (prefers-color-scheme:dark){{{_rules('#f3f4f6', '#b6bcc6', '#6b7280', '#111827', _IN_THE_DARK)}}}"
)
"""Of every plot: a document of its own holds it, a page that holds several has it once."""


def document(parts: Sequence[str], width: float, height: float, title: str, *, alone: bool = True) -> str:
    """An SVG document.

    Args:
        parts: Its elements.
        width: Of the picture.
        height: Of the picture.
        title: What it shows, for those who don't see it.
        alone: Whether it stands alone; in a page, the page has the style.
    """
    style = [f"<defs><style>{STYLE}</style></defs>"] if alone else []
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gn" role="img" {size}>',
        f"<title>{escape(title)}</title>",
        *style,
        f'<rect class="ground" width="{width:g}" height="{height:g}"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


class Axis:
    """Numbers -> pixels, with some room at both ends.

    Args:
        low: The smallest number.
        high: The largest.
        start: Where the axis starts.
        end: Where it ends.
        room: Share of the span that is left free at each end.
    """

    def __init__(self, low: float, high: float, start: float, end: float, room: float = 0.06) -> None:
        span = (high - low) * room or abs(high) * 0.1 * (high == low) or float(high == low)
        self.low, self.high, self.start, self.end = low - span, high + span, start, end

    def at(self, value: float) -> float:
        """Where a number stands."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Four to eight round numbers."""
        rough = (self.high - self.low) / 8
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def ruled(axis: Axis, y: float) -> list[str]:
    """A horizontal axis at a height, with its ticks."""
    parts = [line(axis.start, y, axis.end, y, "axis")]
    for tick in axis.ticks():
        at = axis.at(tick)
        parts += [line(at, y, at, y + 4, "axis"), text(at, y + 18, tick_text(tick), "small", "middle")]
    return parts


def ruled_upright(axis: Axis, x: float, right: float) -> list[str]:
    """The ticks of a vertical axis at a place, and the line below its plane."""
    parts = [line(x, axis.start, right, axis.start, "axis"), line(x, axis.start, x, axis.end, "axis")]
    for tick in axis.ticks():
        at = axis.at(tick)
        parts += [line(x - 4, at, x, at, "axis"), text(x - 8, at + 4, tick_text(tick), "small", "end")]
    return parts


def tick_text(value: float) -> str:
    """A round number, without the noise of its last digits."""
    return f"{value:.4g}"


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line of a style: ``axis``, ``zero``."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def bar(x1: float, y1: float, x2: float, y2: float, series: int) -> str:
    """A solid line in a series' color: an interval."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="line l{series % len(COLORS)}"/>'


def dot(x: float, y: float, radius: float, series: int, opacity: float = 1) -> str:
    """A point in a series' color."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="d{series % len(COLORS)}" fill-opacity="{opacity:g}"/>'


def path(points: Sequence[tuple[float, float]], series: int, *, dashes: int | None = None, thin: bool = False, title: str = "") -> str:
    """A line through points in a series' color, and its dashes unless others are given; nothing for no points."""
    if not points:
        return ""
    data = " ".join(f"{'ML'[index > 0]}{x:.1f},{y:.1f}" for index, (x, y) in enumerate(points))
    dash = _DASHES[(series // len(COLORS) if dashes is None else dashes) % len(_DASHES)]
    drawn = f' stroke-dasharray="{dash}"' if dash else ""
    said = f"<title>{escape(title)}</title>" if title else ""
    style = f"line l{series % len(COLORS)}{' thin' if thin else ''}"
    return f'<path d="{data}" class="{style}"{drawn}>{said}</path>' if said else f'<path d="{data}" class="{style}"{drawn}/>'


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Words of a style: ``title``, ``small``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'
