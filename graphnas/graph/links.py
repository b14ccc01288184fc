"""Which links a search space allows between the taps of the branches: plain data in, plain data out.

Position (design: semantics): with n_s and n_d taps in a stage, source tap j stands at p(j) = floor(j n_d / n_s); a link j -> i is a
candidate if 0 <= i - p(j) <= max_gap. For equal stages this is the paper's j <= i, i - j < 3 (arXiv:2405.05695, section 3). Every source
has a link then (to i = p(j)), and every destination has one if max_gap >= ceil(n_d / n_s) - 1.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from graphnas.errors import Where
from graphnas.graph.graph import Tap
from graphnas.graph.types import Image, Tokens, ValueType

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
        same_resolution: Only between taps of the same ``resolution``.
        max_links_per_tap: How many links may end at one tap, from all sources together: the nearest; ``None`` for any number.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    same_stage: bool = True
    max_gap: int | None = None
    at: Literal["every", "stage_end"] = "every"
    same_resolution: bool = False
    max_links_per_tap: int | None = None


Pair = tuple[str, Tap, str, Tap]
"""Source task and tap, destination task and tap."""


def pairs(selection: Selection, taps: Mapping[str, Sequence[Tap]]) -> Iterator[Pair]:
    """The ends of each candidate: by destination as they run, then by source task, then by source as they run.

    Where ``max_links_per_tap`` leaves out some, the nearest stay: from the latest stage; then those of the smallest i - p(j); of several
    at the same place the one that its own branch reaches last; then those of the task that is named first.
    """
    stages = {task: _stages(found, selection.at) for task, found in taps.items()}
    for task in selection.destinations:
        others = [stages[source] for source in selection.sources if source != task]
        names = [source for source in selection.sources if source != task]
        for stage, destinations in stages[task].items():
            for i, destination in enumerate(destinations):
                found = [
                    _Near(source, tap, *distance)
                    for source, theirs in zip(names, others, strict=True)
                    for tap, distance in _sources(theirs, stage, i, len(destinations), selection)
                    if not selection.same_resolution or resolution(tap.type) == resolution(destination.type)
                ]
                for near in _nearest(found, selection.max_links_per_tap):
                    yield near.task, near.tap, task, destination


def chosen(found: Sequence[Pair], fraction: float, seed: int) -> list[Pair]:
    """A share of these pairs, rounded, one at least, in their order; by hashes of the seed and the ends' names: the same on any machine."""

    def draw(k: int) -> bytes:
        source_task, source, task, tap = found[k]
        return hashlib.sha256(f"{seed}/{source_task}:{source.name}->{task}:{tap.name}".encode()).digest()

    count = max(1, math.floor(fraction * len(found) + 0.5))
    return [found[k] for k in sorted(sorted(range(len(found)), key=draw)[:count])]


def resolution(value: ValueType) -> tuple[int, ...]:
    """Rows and columns of an image, and of the patches behind tokens; the length of other tokens; nothing of a vector."""
    if isinstance(value, Image):
        return (value.height, value.width)
    return value.shape[:-1] if not isinstance(value, Tokens) or value.grid is None else value.grid


class _Near(NamedTuple):
    """A source, and how far it is from the destination: stages back, positions back, taps of its own that come later at that place."""

    task: str
    tap: Tap
    stages: int
    gap: int
    later: int


def _nearest(found: list[_Near], most: int | None) -> list[_Near]:
    if most is None or len(found) <= most:
        return found
    order = sorted(range(len(found)), key=lambda k: found[k][2:])  # stable: tasks stay in order
    return [found[k] for k in sorted(order[:most])]


def _stages(taps: Sequence[Tap], at: str) -> dict[str, list[Tap]]:
    stages: dict[str, list[Tap]] = {}
    for tap in taps:
        stages.setdefault(tap.stage, []).append(tap)
    return {name: found[-1:] if at == "stage_end" else found for name, found in stages.items()}


def _sources(
    theirs: Mapping[str, Sequence[Tap]], stage: str, i: int, n_destination: int, selection: Selection
) -> Iterator[tuple[Tap, tuple[int, int, int]]]:
    """The sources in one branch for the i-th tap of a stage, as they run, each with its distance."""
    if stage not in theirs:
        return
    before = [] if selection.same_stage else list(itertools.takewhile(lambda name: name != stage, theirs))
    for back, name in zip(range(len(before), 0, -1), before, strict=True):
        for j, tap in enumerate(theirs[name]):
            yield tap, (back, len(theirs[name]) - 1 - j, 0)
    same = theirs[stage]
    reach = _range(i, len(same), n_destination, selection.max_gap)
    place = [j * n_destination // len(same) for j in reach]
    for j, p in zip(reach, place, strict=True):
        after = -(-(p + 1) * len(same) // n_destination)  # the first j that stands behind p
        yield same[j], (0, i - p, after - 1 - j)


def _range(i: int, n_source: int, n_destination: int, max_gap: int | None) -> range:
    """The j with 0 <= i - floor(j n_d / n_s) <= max_gap, a range since the position grows with j."""
    low = 0 if max_gap is None else max(0, -(-(i - max_gap) * n_source // n_destination))  # ceil((i - gap) n_s / n_d)
    high = min(n_source, -(-(i + 1) * n_source // n_destination))  # p(j) <= i  <=>  j n_d < (i + 1) n_s
    return range(low, high)
