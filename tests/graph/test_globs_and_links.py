"""Globs over dotted names, and which links a rule selects."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnas.graph.constraints import cycle, dependencies, links_on, output, path_into, words
from graphnas.graph.globs import match
from graphnas.graph.graph import Graph, Node, Tap
from graphnas.graph.links import End, Link, Selection, pairs
from graphnas.graph.types import Image

NAMES = [
    "layer1",
    "layer1.0",
    "layer1.0.conv1",
    "layer1.1",
    "blocks.0",
    "blocks.9",
    "blocks.10",
    "blocks.11",
    "x.y.head.fc",
    "head",
    "head.fc",
]
TYPE = Image(1, 2, 2)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("layer1.*", ["layer1.0", "layer1.1"]),
        ("layer1.**", ["layer1.0", "layer1.0.conv1", "layer1.1"]),
        ("blocks.[0-11]", ["blocks.0", "blocks.9", "blocks.10", "blocks.11"]),
        ("blocks.1[01]", ["blocks.10", "blocks.11"]),
        ("blocks.[9-10]", ["blocks.9", "blocks.10"]),
        ("**.head.**", ["x.y.head.fc", "head.fc"]),
        ("**.fc", ["x.y.head.fc", "head.fc"]),
        ("blocks.?", ["blocks.0", "blocks.9"]),
        ("*", ["layer1", "head"]),
        ("**", NAMES),
        ("blocks.[11-0]", []),
        ("layer1.0.conv[!2]", ["layer1.0.conv1"]),
        ("layer1+0", []),
    ],
)
def test_globs(pattern: str, expected: list[str]) -> None:
    assert match(pattern, NAMES) == expected


def taps(sizes: dict[str, int]) -> list[Tap]:
    return [Tap(stage, i, f"{stage}.{i}", f"{stage}.{i}", TYPE) for stage, size in sizes.items() for i in range(size)]


@given(st.integers(1, 7), st.integers(1, 7), st.none() | st.integers(0, 4))
def test_positions_are_those_of_the_design(n_source: int, n_destination: int, gap: int | None) -> None:
    found = pairs(Selection(("a",), ("p",), max_gap=gap), {"a": taps({"s": n_source}), "p": taps({"s": n_destination})})
    expected = {
        (j, i)
        for j, i in itertools.product(range(n_source), range(n_destination))
        if 0 <= i - j * n_destination // n_source and (gap is None or i - j * n_destination // n_source <= gap)
    }
    assert [(s.index, d.index) for _, s, _, d in found] == sorted(expected, key=lambda pair: (pair[1], pair[0]))


@pytest.mark.parametrize(("sources", "destinations"), [([3, 3, 3, 3], [3, 4, 6, 3]), ([3, 4, 6, 3], [3, 3, 3, 3])])
def test_unequal_stages_leave_no_tap_without_a_link(sources: list[int], destinations: list[int]) -> None:
    sides = {"a": taps({f"s{i}": n for i, n in enumerate(sources)}), "p": taps({f"s{i}": n for i, n in enumerate(destinations)})}
    found = list(pairs(Selection(("a",), ("p",), max_gap=2), sides))
    assert {d.name for _, _, _, d in found} == {tap.name for tap in sides["p"]}
    assert {s.name for _, s, _, _ in found} == {tap.name for tap in sides["a"]}


def test_stage_ends_and_earlier_stages() -> None:
    sides = {"a": taps({"s1": 2, "s2": 2}), "p": taps({"s1": 3, "s2": 1})}
    ends = pairs(Selection(("a",), ("p",), max_gap=0, at="stage_end"), sides)
    assert [(s.name, d.name) for _, s, _, d in ends] == [("s1.1", "s1.2"), ("s2.1", "s2.0")]
    across = pairs(Selection(("a",), ("p",), same_stage=False, at="stage_end"), sides)
    assert [(s.name, d.name) for _, s, _, d in across] == [("s1.1", "s1.2"), ("s1.1", "s2.0"), ("s2.1", "s2.0")]


def chain(length: int) -> Graph:
    nodes = [Node("image", "input", (), TYPE), *(Node(f"n{i}", "conv2d", (f"n{i - 1}" if i else "image",), TYPE) for i in range(length))]
    return Graph(tuple(nodes), {"prediction": f"n{length - 1}"}, tuple(Tap("s", i, f"n{i}", f"n{i}", TYPE) for i in range(length)))


def link(source: str, destination: str) -> Link:
    ends = [End(*end.split(":")) for end in (source, destination)]
    return Link(f"{source}->{destination}", ends[0], ends[1], "a2a", ("conv1x1",), 0)


def test_links_of_both_directions_at_once_are_acyclic() -> None:
    branches = {"p": chain(3), "a": chain(3)}
    both = [link(f"{s}:n{i}", f"{d}:n{j}") for s, d in (("a", "p"), ("p", "a")) for i in range(3) for j in range(i, 3)]
    graph = dependencies(branches, both)
    assert cycle(graph) is None
    path = path_into(graph, "p")
    assert path is not None
    assert words(path) == "a:n0 -> p:n2 -> p:prediction"
    assert [found.id for found in links_on(graph, path)] == ["a:n0->p:n2"]


def test_a_link_backwards_closes_a_cycle() -> None:
    graph = dependencies({"p": chain(3), "a": chain(3)}, [link("a:n2", "p:n0"), link("p:n1", "a:n1")])
    found = cycle(graph)
    assert found is not None
    assert {vertex[:2] for vertex in found} >= {("a", "n2"), ("p", "n1")}


def test_what_reads_the_primary_alone_never_reaches_it() -> None:
    graph = dependencies({"p": chain(3), "a": chain(3)}, [link("p:n0", "a:n1"), link("p:n2", "a:n2")])
    assert path_into(graph, "p") is None
    assert output("a") in graph


def test_a_replaced_value_is_read_by_links_from_that_tap() -> None:
    links = [link("p:n0", "a:n0"), link("a:n0", "b:n0")]
    graph = dependencies({"p": chain(1), "a": chain(1), "b": chain(1)}, links, {("a", "n0")})
    assert ("a", "n0", "fused") in graph.predecessors(("b", "n0", "fused"))
    assert ("a", "n0") not in graph.predecessors(("a", "n0", "fused"))


def test_a_graph_refuses_values_that_are_read_before_they_are_made() -> None:
    with pytest.raises(ValueError, match="node 'b' reads 'c' before it is made"):
        Graph((Node("b", "add", ("c",), TYPE),), {})
