"""Tables and lines on stdout, the same words on a terminal and in a file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

FILE_WIDTH = 400  # columns where the output is no terminal: nothing is cut or wrapped


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: brackets are no markup, numbers are not colored."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=True, width=None if stream.isatty() else FILE_WIDTH)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """A table under a title.

    Args:
        title: The line above it.
        columns: Headings.
        rows: One value a column; numbers are written with separators, ``None`` as a dash.
        right: Columns to be aligned on the right.
    """
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    aligned = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in aligned else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def cell(value: object) -> str:
    """A value as a table shows it: 12,345 for integers, four significant digits for other numbers."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:#.4g}".removesuffix(".")
        case _:
            return str(value)


def short(count: float) -> str:
    """A large number in three digits: 12.3 k, 4.56 M, 1.20 G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f}"


def show(*things: Any) -> None:
    """Print tables and lines on stdout, an empty line between them."""
    out = console()
    with out.capture() as captured:
        for index, thing in enumerate(things):
            if index:
                out.print()
            out.print(thing)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def show_json(data: Any) -> None:
    """Print one JSON value on stdout; numbers that JSON does not have (a metric of nothing is NaN) become null."""
    sys.stdout.write(json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(data: Any) -> Any:
    match data:
        case float():
            return data if math.isfinite(data) else None
        case Mapping():
            return {key: _finite(value) for key, value in cast("Mapping[str, Any]", data).items()}
        case list() | tuple():
            return [_finite(value) for value in cast("Sequence[Any]", data)]
        case _:
            return data
