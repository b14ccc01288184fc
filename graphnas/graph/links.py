"""Which links a search space allows between the taps of the branches: plain data in, plain data out.

Position (design: semantics): with n_s and n_d taps in a stage, source tap j stands at p(j) = floor(j n_d / n_s); a link j -> i is a
candidate if 0 <= i - p(j) <= max_gap. For equal stages this is the paper's j <= i, i - j < 3 (arXiv:2405.05695, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphnas.errors import Where
from graphnas.graph.graph import Tap

Direction = Literal["a2p", "p2a", "a2a"]


@dataclass(frozen=True)
class End:
    """One end of a link: a tap of a task's branch."""

    task: str
    tap: str

    def __str__(self) -> str:
        return f"{self.task}:{self.tap}"


@dataclass(frozen=True)
class Link:
    """A candidate cross-task edge.

    Args:
        id: ``seg:blocks.3->normals:blocks.5``, unique in a supernet.
        source: Where the value is read, before any fusion at that tap.
        destination: The tap whose value it joins.
        direction: a2p, p2a or a2a.
        operations: Names of the candidate operations.
        rule: Index of the rule of the search space that made it.
        where: The rule's line.
    """

    id: str
    source: End
    destination: End
    direction: Direction
    operations: tuple[str, ...]
    rule: int
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Selection:
    """What one rule selects: the tasks at both ends and the condition on positions.

    Args:
        sources: Tasks that links may start from.
        destinations: Tasks that links may end at; a task is never linked with itself.
        same_stage: Only within a stage of the same name.
        max_gap: Largest i - p(j); ``None`` for any (0 is the smallest in any case).
        at: ``every`` tap, or only the last of each stage.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    same_stage: bool = True
    max_gap: int | None = None
    at: Literal["every", "stage_end"] = "every"


def pairs(selection: Selection, taps: Mapping[str, Sequence[Tap]]) -> Iterable[tuple[str, Tap, str, Tap]]:
    """(source task, source tap, destination task, destination tap) of each candidate, by destination, then source, as they run."""
    stages = {task: _stages(found, selection.at) for task, found in taps.items()}
    for destination_task in selection.destinations:
        for source_task in selection.sources:
            if source_task == destination_task:
                continue
            source_stages = stages[source_task]
            order = {name: position for position, name in enumerate(source_stages)}
            for name, destinations in stages[destination_task].items():
                if name not in order:
                    continue
                earlier = () if selection.same_stage else [s for s in source_stages if order[s] < order[name]]
                for i, destination in enumerate(destinations):
                    for stage in earlier:
                        for source in source_stages[stage]:
                            yield source_task, source, destination_task, destination
                    same = source_stages[name]
                    for j in _sources(i, len(same), len(destinations), selection.max_gap):
                        yield source_task, same[j], destination_task, destination


def _stages(taps: Sequence[Tap], at: str) -> dict[str, list[Tap]]:
    stages: dict[str, list[Tap]] = {}
    for tap in taps:
        stages.setdefault(tap.stage, []).append(tap)
    return {name: found[-1:] if at == "stage_end" else found for name, found in stages.items()}


def _sources(i: int, n_source: int, n_destination: int, max_gap: int | None) -> range:
    """The j with 0 <= i - floor(j n_d / n_s) <= max_gap, a range since the position grows with j."""
    low = 0 if max_gap is None else max(0, -(-(i - max_gap) * n_source // n_destination))  # ceil((i - gap) n_s / n_d)
    high = min(n_source, -(-(i + 1) * n_source // n_destination))  # p(j) <= i  <=>  j n_d < (i + 1) n_s
    return range(low, high)
