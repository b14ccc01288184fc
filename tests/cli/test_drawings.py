"""Drawings of supernets: every branch, tap and link is there, and what is gone at inference is dashed."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from graphnas.cli.mermaid import mermaid
from graphnas.cli.picture import Picture, picture
from graphnas.cli.svg import BOX_WIDTH, svg
from graphnas.graph.graph import Graph, Node, Tap
from graphnas.graph.links import Direction, End, Link
from graphnas.graph.types import Image

SVG = "{http://www.w3.org/2000/svg}"


def branch(*taps: tuple[str, int, str], channels: int = 8) -> Graph:
    type_ = Image(channels, 4, 4)
    names = ["image", *(name for _, _, name in taps)]
    nodes = [Node("image", "input", (), Image(3, 4, 4))]
    nodes += [Node(name, "conv2d", (before,), type_, 100, 1000) for before, name in pairwise(names)]
    return Graph(tuple(nodes), {"prediction": names[-1]}, tuple(Tap(stage, i, name, name, type_) for stage, i, name in taps))


def link(source: str, destination: str, direction: Direction, rule: int) -> Link:
    return Link(f"{source}->{destination}", End(*source.split(":")), End(*destination.split(":")), direction, ("conv1x1",), rule)


@pytest.fixture
def drawn() -> Picture:
    graphs = {
        "seg": branch(("s1", 0, "a"), ("s2", 0, "b")),
        "normals": branch(("s1", 0, "layer<1>"), ("s1", 1, "layer.1"), ("s2", 0, "layer.2")),
    }
    links = [
        link("seg:a", "normals:layer<1>", "a2p", 0),
        link("seg:b", "normals:layer.2", "a2p", 0),
        link("normals:layer.2", "seg:b", "p2a", 1),
    ]
    captions = {"normals": "300 parameters, 3 k MACs", "seg": "200 parameters, 2 k MACs"}
    return picture(graphs, captions, links, "normals", vanishing=[0])


def test_the_primary_stands_first(drawn: Picture) -> None:
    assert [(column.task, column.primary) for column in drawn.columns] == [("normals", True), ("seg", False)]
    assert drawn.stages() == {"s1": 2, "s2": 1}


def test_svg_shows_every_tap_and_link(drawn: Picture) -> None:
    root = ElementTree.fromstring(svg(drawn))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for text in ("normals (primary)", "seg", "layer<1>", "layer.1", "layer.2", "a", "b", "s1", "s2", "300 parameters, 3 k MACs"):
        assert text in texts
    assert "auxiliary to primary: 2 candidate links, gone at inference" in texts
    assert "primary to auxiliary: 1 candidate link" in texts
    curves = [path for path in root.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None]
    assert [path.find(f"{SVG}title").text for path in curves] == [  # pyright: ignore[reportOptionalMemberAccess]
        "seg:a->normals:layer<1>: conv1x1",
        "seg:b->normals:layer.2: conv1x1",
        "normals:layer.2->seg:b: conv1x1",
    ]
    assert ["stroke-dasharray" in path.attrib for path in curves] == [True, True, False]


def test_boxes_of_a_column_do_not_overlap(drawn: Picture) -> None:
    boxes = [
        (float(r.attrib["x"]), float(r.attrib["y"]), float(r.attrib["height"]))
        for r in ElementTree.fromstring(svg(drawn)).iter(f"{SVG}rect")
        if r.get("width") == str(BOX_WIDTH)
    ]
    for x in {x for x, _, _ in boxes}:
        column = sorted((y, height) for left, y, height in boxes if left == x)
        assert all(y + height < below for (y, height), (below, _) in pairwise(column))


def test_mermaid(drawn: Picture) -> None:
    assert (
        mermaid(drawn)
        == """\
flowchart TB
  subgraph b0["normals (primary)<br/>300 parameters, 3 k MACs"]
    b0_in(["image: image[3, 4, 4]"])
    b0_0["s1: layer&lt;1&gt;<br/>image[8, 4, 4]"]
    b0_1["s1: layer.1<br/>image[8, 4, 4]"]
    b0_2["s2: layer.2<br/>image[8, 4, 4]"]
    b0_out(["prediction: image[8, 4, 4]"])
    b0_in ==> b0_0 ==> b0_1 ==> b0_2 ==> b0_out
  end
  subgraph b1["seg (auxiliary)<br/>200 parameters, 2 k MACs"]
    b1_in(["image: image[3, 4, 4]"])
    b1_0["s1: a<br/>image[8, 4, 4]"]
    b1_1["s2: b<br/>image[8, 4, 4]"]
    b1_out(["prediction: image[8, 4, 4]"])
    b1_in ==> b1_0 ==> b1_1 ==> b1_out
  end
  b1_0 -.-> b0_0
  b1_1 -.-> b0_2
  b0_2 --> b1_1
"""
    )
