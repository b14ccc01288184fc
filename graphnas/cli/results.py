"""The one table at the end of a search, and certificates in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from graphnas.cli.terminal import table


def result_table(rows: Sequence[Mapping[str, Any]], metric: str | None) -> Table:
    """single-task, supernet and pruned side by side.

    Args:
        rows: ``name``, ``metrics`` (name -> value), ``macs``, ``parameters``, ``seconds`` each.
        metric: The metric of the primary that is judged by, shown first.
    """
    names = list(dict.fromkeys([*([metric] if metric else []), *(name for row in rows for name in row["metrics"])]))
    numbers = ("inference MACs", "parameters", "training seconds")
    return table(
        "primary, on the test split",
        ("network", *names, *numbers),
        [
            (
                row["name"],
                *(row["metrics"].get(name) for name in names),
                row.get("macs"),
                row.get("parameters"),
                None if row.get("seconds") is None else round(row["seconds"]),
            )
            for row in rows
        ],
        right=(*names, *numbers),
    )
