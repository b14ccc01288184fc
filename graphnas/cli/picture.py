"""What a drawing of a supernet shows, as plain data: a column a branch, its taps in order of execution, and the links between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphnas.graph.graph import Graph, Tap
from graphnas.graph.links import Direction, Link

DIRECTIONS: Mapping[Direction, str] = {
    "a2p": "auxiliary to primary",
    "p2a": "primary to auxiliary",
    "a2a": "auxiliary to auxiliary",
}


@dataclass(frozen=True)
class Column:
    """One branch.

    Args:
        task: Its task.
        primary: Whether that is the primary.
        caption: Its size in words.
        taps: Where links may start or end, in order of execution.
        inputs: Name and type of each value that it reads.
        outputs: Name and type of each value that it returns.
    """

    task: str
    primary: bool
    caption: str
    taps: tuple[Tap, ...]
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """Columns, the primary first, and the links between their taps.

    Args:
        columns: The branches.
        links: The candidate links.
        vanishing: Rules (by index) whose links are gone at inference.
        notes: Lines below the legend.
    """

    columns: tuple[Column, ...]
    links: tuple[Link, ...]
    vanishing: frozenset[int]
    notes: tuple[str, ...] = ()

    def vanishes(self, link: Link) -> bool:
        return link.rule in self.vanishing

    def stages(self) -> dict[str, int]:
        """Stages in order, with the largest number of taps that a branch has there."""
        found: dict[str, int] = {}
        for column in self.columns:
            counts: dict[str, int] = {}
            for tap in column.taps:
                counts[tap.stage] = counts.get(tap.stage, 0) + 1
            for stage, count in counts.items():
                found[stage] = max(found.get(stage, 0), count)
        return found


def picture(
    graphs: Mapping[str, Graph],
    captions: Mapping[str, str],
    links: Sequence[Link],
    primary: str,
    vanishing: Iterable[int],
    notes: Iterable[str] = (),
) -> Picture:
    """The picture of branches and of the links between them.

    Args:
        graphs: Task -> its branch as a typed graph.
        captions: Task -> the size of its branch in words.
        links: The candidate links.
        primary: The primary task.
        vanishing: Rules (by index) whose links are gone at inference.
        notes: Lines to print below the legend.
    """
    tasks = [primary, *(task for task in graphs if task != primary)]
    columns = tuple(_column(task, graphs[task], captions[task], task == primary) for task in tasks)
    return Picture(columns, tuple(links), frozenset(vanishing), tuple(notes))


def _column(task: str, graph: Graph, caption: str, primary: bool) -> Column:
    types = {node.name: node.type for node in graph.nodes}
    return Column(
        task=task,
        primary=primary,
        caption=caption,
        taps=graph.taps,
        inputs=tuple((node.name, str(node.type)) for node in graph.inputs),
        outputs=tuple((name, str(types[node])) for name, node in graph.outputs.items()),
    )
