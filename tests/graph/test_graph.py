"""Types as they are written and bound, graphs as plain data, and how both are printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnas.errors import Where
from graphnas.graph.graph import Graph, Node, Tap, reachable
from graphnas.graph.links import End, Link
from graphnas.graph.text import format_graph, format_links
from graphnas.graph.types import Ids, Image, Mask, Other, Tokens, ValueType, Vector, parse_type, type_of_shape

sizes = st.integers(1, 999)
types = st.one_of(
    st.builds(Image, sizes, sizes, sizes),
    st.builds(Tokens, sizes, sizes),
    st.builds(Ids, sizes),
    st.builds(Mask, sizes),
    st.builds(Vector, sizes),
)


@given(types)
def test_a_type_reads_as_it_prints(value: ValueType) -> None:
    pattern = parse_type(str(value))
    assert str(pattern) == str(value)
    assert pattern.bind(value.shape) == value


def test_sizes_that_are_names_are_bound() -> None:
    pattern = parse_type(" image[ 3,H , W ] ")
    assert str(pattern) == "image[3, H, W]"
    assert pattern.bind([3, 48, 64]) == Image(3, 48, 64)
    assert parse_type("image[C, S, S]").bind([1, 8, 8]) == Image(1, 8, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("picture[3]", "'picture[3]' is not a type; write image[C, H, W], tokens[L, D], ids[L], mask[L] or vector[D]"),
        ("image", "'image' is not a type; write image[C, H, W], tokens[L, D], ids[L], mask[L] or vector[D]"),
        ("image[3, H]", "image has 3 sizes, got 2"),
        ("vector[]", "vector has 1 sizes, got 0"),
        ("vector[0]", "'0' is not a size: a number of 1 or more, or a name such as H"),
        ("tokens[4, -1]", "'-1' is not a size: a number of 1 or more, or a name such as H"),
    ],
)
def test_texts_that_are_no_type(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r"size|type") as caught:
        parse_type(text)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("image[3, H, W]", [1, 8, 8], "image[3, H, W] does not fit the sizes [1, 8, 8]"),
        ("image[C, S, S]", [1, 8, 9], "image[C, S, S] does not fit the sizes [1, 8, 9]"),
        ("vector[D]", [1, 2], "vector[D] has 1 sizes, got 2"),
    ],
)
def test_sizes_that_do_not_fit(text: str, given: list[int], expected: str) -> None:
    with pytest.raises(ValueError, match="sizes") as caught:
        parse_type(text).bind(given)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((3, 4, 5), {}, Image(3, 4, 5)),
        ((16, 8), {}, Tokens(16, 8)),
        ((7,), {}, Vector(7)),
        ((7,), {"floating": False}, Ids(7)),
        ((), {}, Other(())),
        ((2, 2), {"floating": False}, Other((2, 2))),
        ((1, 2, 3, 4), {}, Other((1, 2, 3, 4))),
    ],
)
def test_what_a_recorded_value_is_taken_for(shape: tuple[int, ...], options: dict[str, bool], expected: ValueType) -> None:
    assert type_of_shape(shape, **options) == expected


IMAGE = Image(3, 48, 64)
GRAPH = Graph(
    (
        Node("image", "input", (), IMAGE),
        Node("stem", "conv2d", ("image",), Image(16, 48, 64), 448, 1_327_104, Where("net.yaml", 4, 3)),
        Node("%size", "getattr", ("stem",), None),
        Node("sum", "add", ("stem", "stem"), Image(16, 48, 64), macs=0),
    ),
    {"prediction": "sum"},
    (Tap("s1", 0, "stem", "stem", Image(16, 48, 64)), Tap("s2", 0, "sum", "sum", Image(16, 48, 64))),
)


def test_a_graph_is_asked_for_what_it_holds() -> None:
    assert GRAPH.by_name["stem"].where == Where("net.yaml", 4, 3)
    assert [node.name for node in GRAPH.inputs] == ["image"]
    assert GRAPH.parameters == 448
    assert GRAPH.macs is None  # of a recorded node they were not counted
    assert Graph(GRAPH.nodes[:2], {}).macs == 1_327_104
    assert {stage: [tap.name for tap in taps] for stage, taps in GRAPH.stages.items()} == {"s1": ["stem"], "s2": ["sum"]}
    assert reachable(GRAPH, ["%size"]) == {"%size"}
    assert reachable(GRAPH, ["stem"]) == {"stem", "%size", "sum"}


def test_it_is_printed_a_line_a_node() -> None:
    assert format_graph(GRAPH) == (
        "image: image[3, 48, 64]\n"
        "stem = conv2d(image): image[16, 48, 64]  # 448 parameters, 1,327,104 MACs\n"
        "%size = getattr(stem): no tensor\n"
        "sum = add(stem, stem): image[16, 48, 64]\n"
        "return prediction=sum\n"
        "taps s1: stem\n"
        "taps s2: sum\n"
        "total: 448 parameters\n"
    )


def test_links_are_printed_a_line_each() -> None:
    link = Link("seg:a->p:b", End("seg", "a"), End("p", "b"), "a2p", ("conv1x1", "none"), 0)
    assert format_links([link]) == "seg:a->p:b  a2p  conv1x1 | none\n"
    assert str(link.source) == "seg:a"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((Node("b", "add", ("c",), IMAGE),), "node 'b' reads 'c' before it is made"),
        ((Node("a", "input", (), IMAGE), Node("a", "input", (), IMAGE)), "node 'a' stands twice"),
    ],
)
def test_a_graph_that_is_none(nodes: tuple[Node, ...], expected: str) -> None:
    with pytest.raises(ValueError, match="node") as caught:
        Graph(nodes, {})
    assert str(caught.value) == expected
