"""Parts of a page about auxiliaries: which to drop, how sure that is, and the hints of single runs."""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.compare.attribution import Attribution
from graphnas.compare.attribution_plot import draw_attribution
from graphnas.compare.attribution_words import LINK_COLUMNS, SIGNAL_COLUMNS, TASK_COLUMNS, link_rows, signal_rows, task_row, words
from graphnas.compare.signals import Signals
from graphnas.report.chart import dots
from graphnas.report.html import Markup, figure, section, table, tag

MOST_LINKS = 40
"""Links in the plot."""
_KEY = (
    "cosine: between the gradients of the auxiliary and of the primary on the primary's weights, mean over training, over its first and "
    "over its last third. negative: share of the measurements in which it is. gradient ratio: length of the auxiliary's gradient over "
    "the primary's. gate: mean of the links through which it reads the primary. links' worth: what closing them one at a time costs it."
)


def attribution_parts(found: Attribution) -> list[Markup]:
    """Sections of an attribution."""
    said = tag("ul", *(tag("li", line) for line in words(found)))
    if not found.metric:
        return [section("Auxiliaries", said)]
    ways = "with all auxiliaries minus without this one, and with it alone minus the single task"
    caption = f"{found.metric} of {found.primary}, paired by seed: {ways}"
    rows = table(caption, TASK_COLUMNS, [task_row(task) for task in found.tasks], numbers=TASK_COLUMNS[1:-1])
    plot = figure(draw_attribution(found, alone=False), "what each auxiliary changes, added to the others and alone")
    parts = [section("Auxiliaries", said, rows, plot)]
    if found.signals:
        parts.append(hints(list(found.signals.values()), f"{len(found.signals)} run{'s' * (len(found.signals) > 1)}"))
    return parts


def hints(found: Sequence[Signals], of: str) -> Markup:
    """What runs tell by themselves, which proves nothing."""
    rows = table(f"means over {of} with all auxiliaries; hints, no proof", SIGNAL_COLUMNS, signal_rows(found), numbers=SIGNAL_COLUMNS[1:])
    worths: dict[str, list[float]] = {}
    for signals in found:
        for effect in signals.effects:
            worths.setdefault(effect.link, []).append(effect.worth)
    note = "in the metric of who reads it, on validation; right of zero: it helps; a dot a run"
    svg = dots("what each primary-to-auxiliary link is worth", list(worths.items())[:MOST_LINKS], note=note)
    parts = [rows, tag("p", _KEY, class_="quiet")]
    if svg is not None:
        parts.append(figure(svg, "links closed one at a time, at the trained weights"))
    if len(found) == 1 and found[0].effects:
        listed = table("links, what is worth most first", LINK_COLUMNS, link_rows(found[0]), numbers=LINK_COLUMNS[2:])
        parts.append(tag("details", tag("summary", f"{len(found[0].effects)} links"), listed))
    return section("Hints of single runs", *parts)
