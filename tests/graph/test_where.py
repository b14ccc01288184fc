"""Which links ``where:`` leaves: unequal stages, equal resolutions, the nearest sources."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnas.graph.graph import Tap
from graphnas.graph.links import Selection, pairs, resolution
from graphnas.graph.types import Image, Tokens, ValueType, Vector

TYPES: list[ValueType] = [Image(3, 8, 8), Image(5, 8, 8), Image(3, 4, 4), Tokens(65, 3, 1, (8, 8)), Tokens(16, 3), Vector(3)]
sizes = st.integers(1, 12)
stages = st.dictionaries(st.sampled_from(["s1", "s2", "s3"]), st.lists(st.sampled_from(TYPES), min_size=1, max_size=5), min_size=1)
branches = stages.map(lambda found: made({name: found[name] for name in sorted(found)}))
conditions: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"same_stage": st.booleans(), "max_gap": st.none() | st.integers(0, 3), "at": st.sampled_from(["every", "stage_end"])}
)


def made(types: dict[str, list[ValueType]]) -> list[Tap]:
    return [Tap(stage, i, f"{stage}.{i}", f"{stage}.{i}", of) for stage, found in types.items() for i, of in enumerate(found)]


def one_stage(size: int) -> list[Tap]:
    return made({"s": [TYPES[0]] * size})


@given(sizes, sizes, st.integers(0, 12))
def test_every_source_has_a_link_and_every_destination_from_a_gap_on(n_s: int, n_d: int, gap: int) -> None:
    found = list(pairs(Selection(("a",), ("p",), max_gap=gap), {"a": one_stage(n_s), "p": one_stage(n_d)}))
    assert {source.index for _, source, _, _ in found} == set(range(n_s))
    reached = {destination.index for _, _, _, destination in found}
    assert (reached == set(range(n_d))) == (gap >= -(-n_d // n_s) - 1)


@given(st.lists(sizes, min_size=1, max_size=4), st.data())
def test_stages_of_any_sizes_leave_no_tap_without_a_link(sources: list[int], data: st.DataObject) -> None:
    destinations = data.draw(st.lists(sizes, min_size=len(sources), max_size=len(sources)))
    gap = max(-(-n_d // n_s) - 1 for n_s, n_d in zip(sources, destinations, strict=True))
    sides = {
        "a": made({f"s{i}": [TYPES[0]] * size for i, size in enumerate(sources)}),
        "p": made({f"s{i}": [TYPES[0]] * size for i, size in enumerate(destinations)}),
    }
    for most in (None, 1):
        found = list(pairs(Selection(("a",), ("p",), max_gap=gap, max_links_per_tap=most), sides))
        assert {destination.name for _, _, _, destination in found} == {tap.name for tap in sides["p"]}
        assert most is not None or {source.name for _, source, _, _ in found} == {tap.name for tap in sides["a"]}


@pytest.mark.parametrize(
    ("of", "expected"),
    [(TYPES[0], (8, 8)), (Tokens(65, 3, 1, (8, 8)), (8, 8)), (Tokens(17, 3), (17,)), (Vector(9), ())],
)
def test_resolution(of: ValueType, expected: tuple[int, ...]) -> None:
    assert resolution(of) == expected


@given(branches, branches, conditions)
def test_same_resolution_keeps_the_links_between_equal_ones(source: list[Tap], destination: list[Tap], where: dict[str, Any]) -> None:
    sides = {"a": source, "p": destination}
    every = list(pairs(Selection(("a",), ("p",), **where), sides))
    found = list(pairs(Selection(("a",), ("p",), **where, same_resolution=True), sides))
    assert found == [pair for pair in every if resolution(pair[1].type) == resolution(pair[3].type)]


def distance(source: Tap, destination: Tap, sides: list[Tap], n_d: int, at: str) -> tuple[int, int, int]:
    """Stages back; then positions back; then how many taps of its branch come later at the same place: the documented order."""
    order = list(dict.fromkeys(tap.stage for tap in sides))
    back = order.index(destination.stage) - order.index(source.stage)
    siblings = [tap for tap in sides if tap.stage == source.stage]
    if at == "stage_end":
        return (back, 0, 0)
    if back:
        return (back, len(siblings) - 1 - source.index, 0)
    places = [tap.index * n_d // len(siblings) for tap in siblings]
    return (0, destination.index - places[source.index], places[source.index + 1 :].count(places[source.index]))


@given(branches, branches, branches, conditions, st.booleans(), st.integers(1, 4))
def test_the_nearest_stay(a: list[Tap], b: list[Tap], p: list[Tap], where: dict[str, Any], same: bool, most: int) -> None:
    sides = {"a": a, "b": b, "p": p}
    every = list(pairs(Selection(("a", "b"), ("p",), **where, same_resolution=same), sides))
    found = list(pairs(Selection(("a", "b"), ("p",), **where, same_resolution=same, max_links_per_tap=most), sides))
    assert found == [pair for pair in every if pair in found]  # in the same order
    for tap in p:
        n_d = sum(other.stage == tap.stage for other in p)
        into = [pair for pair in every if pair[3] == tap]
        by_distance = sorted(into, key=lambda pair: distance(pair[1], tap, sides[pair[0]], n_d, where["at"]))  # stable: a before b
        kept = [pair for pair in found if pair[3] == tap]
        assert sorted(kept, key=every.index) == sorted(by_distance[:most], key=every.index)


def test_the_nearest_in_unequal_stages() -> None:
    def into(n_s: int, n_d: int, most: int) -> list[list[int]]:
        found = pairs(Selection(("a",), ("p",), max_gap=2, max_links_per_tap=most), {"a": one_stage(n_s), "p": one_stage(n_d)})
        grouped = itertools.groupby(found, key=lambda pair: pair[3].index)
        return [[source.index for _, source, _, _ in group] for _, group in grouped]

    assert into(3, 3, 1) == [[0], [1], [2]]
    assert into(3, 6, 1) == [[0], [0], [1], [1], [2], [2]]
    assert into(6, 3, 1) == [[1], [3], [5]]  # of several at one place the last: both ends are at the stage's end
    assert into(6, 3, 3) == [[0, 1], [1, 2, 3], [3, 4, 5]]


def test_the_nearest_of_several_tasks() -> None:
    sides = {"a": one_stage(2), "b": one_stage(4), "p": one_stage(2)}
    found = pairs(Selection(("a", "b"), ("p",), max_links_per_tap=2), sides)
    assert [(task, source.index, destination.index) for task, source, _, destination in found] == [
        ("a", 0, 0), ("b", 1, 0), ("a", 1, 1), ("b", 3, 1),
    ]  # fmt: skip
