"""Which samples choose, which of them teach, and whose labels are known: pure functions of names and seeds.

A draw orders names by a hash of seed and name. So it does not depend on the order of files or on a library's random numbers, subsets grow
nested, and a sample that comes or goes leaves the draw of the others alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from graphnas.data.base import Part, Records
from graphnas.data.samples import Item

Name = TypeVar("Name", bound=Hashable)


def shuffled(names: Iterable[Name], *seed: object) -> list[Name]:
    """The names in an order that seed and names alone decide."""
    head = "/".join(map(str, seed))
    return sorted(names, key=lambda name: hashlib.sha256(f"{head}/{name}".encode()).digest())


def cut(groups: Sequence[Hashable], fraction: float, *seed: object) -> list[bool]:
    """Which samples to set apart: whole groups, as near to ``fraction`` of the samples as a draw of groups comes, at least one.

    Args:
        groups: The group of each sample.
        fraction: Wanted share, 0 to 1.
        seed: Decides which.
    """
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    chosen = _near(shuffled(sizes, *seed), sizes, fraction * len(groups))
    return [group in chosen for group in groups]


def _near(order: Sequence[Hashable], sizes: Mapping[Hashable, int], wanted: float) -> set[Hashable]:
    chosen: set[Hashable] = set()
    total = 0
    for group in order:
        if abs(total + sizes[group] - wanted) < abs(total - wanted):
            chosen.add(group)
            total += sizes[group]
    return chosen or {min(order, key=lambda group: sizes[group])} if order else set()


def by_shards(order: Sequence[Item], records: Mapping[tuple[str, Part], Records]) -> list[Item]:
    """A random order in which the samples of a source whose shards are not all at hand come from a few shards at a time.

    Such a source keeps its places in the order. What stands in them is ordered by shards, in the order in which the shards first appear:
    so many of them together, and the samples of these as they were.

    Args:
        order: A random order.
        records: (source, part) -> what was opened.
    """
    places: dict[tuple[str, Part], list[int]] = {}
    for place, item in enumerate(order):
        if records[item.source, item.part].shard(item.index) is not None:
            places.setdefault((item.source, item.part), []).append(place)
    changed = list(order)
    for source, own in places.items():
        found, seen = records[source], dict[str | None, int]()
        group = [seen.setdefault(found.shard(order[place].index), len(seen)) // found.together for place in own]
        for place, (_, old) in zip(own, sorted(zip(group, own, strict=True)), strict=True):
            changed[place] = order[old]
    return changed
