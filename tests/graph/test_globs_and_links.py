"""Globs over dotted names, and which links a rule selects."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnas.graph.constraints import cycle, dependencies, links_on, output, path_into, words
from graphnas.graph.globs import match, matches
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
        ("blocks.[0-1000000000000]", ["blocks.0", "blocks.9", "blocks.10", "blocks.11"]),
        ("layer1.[0-1].**", ["layer1.0.conv1"]),
        ("x.**.fc", ["x.y.head.fc"]),
        ("head.**.fc", ["head.fc"]),
        ("**.**.fc", ["x.y.head.fc", "head.fc"]),
        ("layer1.**.**.conv1", ["layer1.0.conv1"]),
        ("[lh]*", ["layer1", "head"]),
        ("[g-i]*", ["head"]),
        ("[^l]*", ["head"]),
        ("[!a-k]*", ["layer1"]),
        ("[k-i]*", []),
        ("[[l]*", ["layer1"]),
        ("[h-]*", ["head"]),
        ("[a--h]*", ["head"]),
        ("[]h]*", ["head"]),
        ("[!]", []),
        ("[", []),
        ("[]", []),
        ("he\\ad", []),
        ("", []),
    ],
)
def test_globs(pattern: str, expected: list[str]) -> None:
    assert match(pattern, NAMES) == expected
    assert [name for name in NAMES if matches(pattern, name)] == expected


@given(st.text("ab.*?[]!^-\\10&|~", max_size=10), st.text("ab.10[]-", max_size=8))
def test_every_text_is_a_glob(pattern: str, name: str) -> None:
    assert match(pattern, [name]) == ([name] if matches(pattern, name) else [])


@given(st.text("ab1[*?]!.-", max_size=8))
def test_a_name_matches_itself(name: str) -> None:
    escaped = "".join(f"[{character}]" if character in "*?[" else character for character in name)
    assert matches(escaped, name)


def taps(sizes: dict[str, int]) -> list[Tap]:
    return [Tap(stage, i, f"{stage}.{i}", f"{stage}.{i}", TYPE) for stage, size in sizes.items() for i in range(size)]


stage_sizes = st.dictionaries(st.sampled_from(["s1", "s2", "s3"]), st.integers(1, 6), min_size=1).map(lambda d: dict(sorted(d.items())))


@given(stage_sizes, stage_sizes, st.none() | st.integers(0, 4), st.booleans(), st.sampled_from(["every", "stage_end"]))
def test_positions_are_those_of_the_design(
    sources: dict[str, int], destinations: dict[str, int], gap: int | None, same_stage: bool, at: Literal["every", "stage_end"]
) -> None:
    sides = {"a": taps(sources), "p": taps(destinations)}
    found = list(pairs(Selection(("a",), ("p",), same_stage, gap, at), sides))
    expected: set[tuple[str, str]] = set()
    for source, destination in itertools.product(sides["a"], sides["p"]):
        if at == "stage_end" and (source.index + 1 != sources[source.stage] or destination.index + 1 != destinations[destination.stage]):
            continue
        n_s, n_d = (1, 1) if at == "stage_end" else (sources[source.stage], destinations[destination.stage])
        i, j = (0, 0) if at == "stage_end" else (destination.index, source.index)
        if source.stage == destination.stage:
            distance = i - math.floor(j * n_d / n_s)
            allowed = distance >= 0 and (gap is None or distance <= gap)
        else:
            allowed = not same_stage and source.stage < destination.stage and destination.stage in sources
        if allowed:
            expected.add((source.name, destination.name))
    assert {(s.name, d.name) for _, s, _, d in found} == expected
    assert len(found) == len(expected)
    assert {(source, destination) for source, _, destination, _ in found} <= {("a", "p")}
    order = [(sides["p"].index(d), sides["a"].index(s)) for _, s, _, d in found]
    assert order == sorted(order)


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


def test_a_task_is_not_linked_with_itself_and_others_in_all_pairs() -> None:
    sides = {name: taps({"s": 1}) for name in ("p", "q", "r")}
    found = [(s, d) for s, _, d, _ in pairs(Selection(("q", "r"), ("q", "r", "p")), sides)]
    assert found == [("r", "q"), ("q", "r"), ("q", "p"), ("r", "p")]


def test_a_long_path_is_shortened_and_a_fused_value_is_named_once() -> None:
    path = [("a", "n0"), ("p", "n0", "fused"), *(("p", f"n{i}") for i in range(1, 9)), output("p")]
    assert words(path) == "a:n0 -> p:n0 -> p:n1 -> p:n2 -> ... -> p:n7 -> p:n8 -> p:prediction"
    assert words([("p", "n0"), ("p", "n0", "fused")]) == "p:n0"


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_links_that_go_forward_never_close_a_cycle(first: int, second: int, gap: int) -> None:
    branches = {"p": chain(first), "a": chain(second)}
    sides = {task: branch.taps for task, branch in branches.items()}
    links = [link(f"{s}:{x.name}", f"{d}:{y.name}") for s, x, d, y in pairs(Selection(("a", "p"), ("a", "p"), max_gap=gap), sides)]
    graph = dependencies(branches, links)
    assert cycle(graph) is None
    assert path_into(graph, "p") is not None
    assert path_into(dependencies(branches, [x for x in links if x.destination.task == "a"]), "p") is None
