"""A picture of a supernet as Mermaid text: one subgraph a branch, dotted arrows for links that are gone at inference."""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.cli.picture import Column, Picture


def mermaid(picture: Picture) -> str:
    """``flowchart TB ...``, a node a tap."""
    lines = ["flowchart TB"]
    ids: dict[tuple[str, str], str] = {}
    for number, column in enumerate(picture.columns):
        for index, tap in enumerate(column.taps):
            ids[column.task, tap.name] = f"b{number}_{index}"
        lines += _column(number, column)
    for link in picture.links:
        arrow = "-.->" if picture.vanishes(link) else "-->"
        source = ids[link.source.task, link.source.tap]
        lines.append(f"  {source} {arrow} {ids[link.destination.task, link.destination.tap]}")
    return "\n".join(lines) + "\n"


def _column(number: int, column: Column) -> list[str]:
    role = "primary" if column.primary else "auxiliary"
    boxes = [f"b{number}_in" + _label("stadium", _ends(column.inputs))]
    boxes += [f"b{number}_{index}" + _label("box", f"{tap.stage}: {tap.name}\n{tap.type}") for index, tap in enumerate(column.taps)]
    boxes.append(f"b{number}_out" + _label("stadium", _ends(column.outputs)))
    names = [f"b{number}_{part}" for part in ("in", *range(len(column.taps)), "out")]
    title = _label("box", f"{column.task} ({role})\n{column.caption}")
    return [
        f"  subgraph b{number}{title}",
        *(f"    {box}" for box in boxes),
        f"    {' ==> '.join(names)}",
        "  end",
    ]


def _ends(ends: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name}: {type_}" for name, type_ in ends)


def _label(shape: str, text: str) -> str:
    quoted = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br/>")
    return f'(["{quoted}"])' if shape == "stadium" else f'["{quoted}"]'
