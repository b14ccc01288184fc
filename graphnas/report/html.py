"""HTML of which nothing needs to be trusted: what is no ``Markup`` is text, and escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from graphnas.compare.svg import STYLE as PLOT_STYLE

_STYLE = """
:root{color-scheme:light dark;--ground:#ffffff;--text:#111827;--quiet:#4b5563;--rule:#d1d5db;--band:#f3f4f6}
@media (prefers-color-scheme:dark){:root{--ground:#111827;--text:#f3f4f6;--quiet:#b6bcc6;--rule:#4b5563;--band:#1f2937}}
body{margin:0 auto;max-width:62rem;padding:1.5rem;background:var(--ground);color:var(--text);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--rule)}
p.quiet,figcaption,caption{color:var(--quiet)}caption,figcaption{text-align:left;font-size:.9rem;padding:.2rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.6rem 0}
th,td{padding:.25rem .7rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}th{font-weight:600}
thead th{background:var(--band)}td.n,th.n{text-align:right;white-space:nowrap}figure{margin:1rem 0;overflow-x:auto}
svg{max-width:100%;height:auto}pre{background:var(--band);padding:.8rem;overflow-x:auto;font-size:.8rem}"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Markup(str):
    """HTML that was made here."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | None) -> Markup:
    """An element; ``class_`` is ``class``, and attributes that are ``None`` are left out."""
    said = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items() if value is not None)
    return Markup(f"<{name}{said}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Markup:
    """Text, escaped, and markup, as it is, one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[str] = ()) -> Markup:
    """A table; the first cell of a row is its heading.

    Args:
        caption: What it shows.
        columns: Headings.
        rows: A cell a column.
        numbers: Columns that are aligned as numbers.
    """
    right = {index: "n" for index, column in enumerate(columns) if column in set(numbers)}
    head = tag("tr", *(tag("th", column, scope="col", class_=right.get(index)) for index, column in enumerate(columns)))
    body = [
        tag(
            "tr",
            *(
                tag("td" if index else "th", cell, scope=None if index else "row", class_=right.get(index))
                for index, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="wide")


def pairs(caption: str, rows: Iterable[tuple[str, str]]) -> Markup:
    """A table of names and what they are."""
    body = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows]
    return tag("div", tag("table", tag("caption", caption), tag("tbody", *body)), class_="wide")


def figure(svg: str, caption: str) -> Markup:
    """A plot and what it shows."""
    return tag("figure", Markup(svg), tag("figcaption", caption))


def section(title: str, *children: str) -> Markup:
    """A part of a page under a heading."""
    return tag("section", tag("h2", title), *children)


def page(title: str, *children: str) -> str:
    """A whole document."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'),
        tag("title", title),
        tag("style", Markup(_STYLE + PLOT_STYLE)),
    )
    body = tag("body", tag("main", tag("h1", title), *children))
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'
