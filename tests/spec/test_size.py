"""Networks that are too large: counted before anything is expanded, refused at their line by a limit that a flag raises."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import graphnas as gn
from graphnas.cli.main import cli
from graphnas.compiler.infer import infer
from graphnas.graph.types import Image
from graphnas.size_limits import MAX_NODES, max_nodes
from graphnas.spec.size import node_count

Write = Callable[[str, str], None]
HEAD = "kind: network\ninputs: {image: 'image[3, H, W]'}\nnodes:\n"
TEN = "".join(f"  n{i}: {{op: network, use: USE, parameters: {{times: $times}}}}\n" for i in range(10))
PARAMETERS = HEAD.replace("inputs:", "parameters: {times: {type: integer, default: 1}}\ninputs:")
SAID = "the network has 1,000,000 nodes, repetitions and networks inside it spelled out; the limit is 100,000"
FIX = "\n  fix: fewer, or --max-nodes 1000000 (in Python: with gn.limits(max_nodes=1_000_000))"


def network(nodes: dict[str, Any], parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    inputs = {"inputs": {"image": "image[3, H, W]"}}
    return {"kind": "network", "parameters": parameters or {}, **inputs, "nodes": nodes, "outputs": list(nodes)[-1]}


def refusal(name: str) -> str:
    """What is said about a file, in well under a second."""
    before = time.process_time()
    with pytest.raises(gn.SpecError) as caught:
        gn.load_spec(name)
    assert time.process_time() - before < 0.5
    return str(caught.value)


def test_a_million_repetitions(write: Write) -> None:
    write("x.yaml", HEAD + "  a: {op: relu, repeat: 1000000}\noutputs: a\n")
    assert refusal("x.yaml") == f"x.yaml:4:25: nodes.a.repeat: {SAID}{FIX}"


def test_repetitions_of_networks_that_repeat(write: Write) -> None:
    write("inner.yaml", HEAD + "  a: {op: relu, repeat: 999}\n  b: relu\noutputs: b\n")
    write("x.yaml", HEAD + "  a: {op: network, use: inner.yaml, repeat: 1000}\noutputs: a\n")
    assert refusal("x.yaml") == f"x.yaml:4:45: nodes.a.repeat: {SAID}{FIX}"


def test_networks_in_networks(write: Write) -> None:
    """Ten of ten of ten ...: 10^20, with a parameter handed down that says how often the innermost repeats."""
    for level in range(20):
        write(f"{level}.yaml", PARAMETERS + TEN.replace("USE", f"{level + 1}.yaml") + "outputs: n9\n")
    write("20.yaml", PARAMETERS + "  a: {op: relu, repeat: $times}\noutputs: a\n")
    assert refusal("0.yaml") == f"14.yaml:6:26: nodes.n1.use: {SAID}{FIX}"


def test_a_parameter_that_is_bound_later(write: Write) -> None:
    write("inner.yaml", PARAMETERS + "  a: {op: relu, repeat: $times}\noutputs: a\n")
    write("x.yaml", HEAD + "  a: relu\n  b: {op: network, use: inner.yaml, parameters: {times: 123456}}\noutputs: b\n")
    assert refusal("x.yaml") == (
        "x.yaml:5:25: nodes.b.use: the network has 123,457 nodes, repetitions and networks inside it spelled out; the limit is 100,000\n"
        "  fix: fewer, or --max-nodes 123457 (in Python: with gn.limits(max_nodes=123_457))"
    )
    inner = gn.load_spec("inner.yaml")
    assert inner.bind({"times": 3}).nodes["a"].repeat == 3
    with pytest.raises(gn.SpecError) as caught:
        inner.bind({"times": 10**40})
    assert str(caught.value) == (
        "inner.yaml:5:25: nodes.a.repeat: the network has about 10^40 nodes, repetitions and networks inside it spelled out; "
        "the limit is 100,000\n  fix: fewer"
    )


def test_nodes_that_are_all_written_out(write: Write) -> None:
    """Reading stops at the limit; nothing is made of what data hold."""
    write("x.yaml", HEAD + "".join(f"  n{i}: relu\n" for i in range(2000)) + "outputs: n0\n")
    with gn.limits(max_nodes=1000), pytest.raises(gn.SpecError) as caught:
        gn.load_spec("x.yaml")
    assert str(caught.value) == (
        "x.yaml:1004:10: more than 1,000 entries in one mapping\n"
        "  fix: a smaller spec, or --max-nodes 10000 (in Python: with gn.limits(max_nodes=10_000))"
    )
    with pytest.raises(gn.SpecError) as caught:
        gn.parse_spec(network(dict.fromkeys(map("n{}".format, range(200_000)), "relu")))
    assert str(caught.value) == (
        "nodes: the network has 200,000 nodes; the limit is 100,000\n"
        "  fix: fewer, or --max-nodes 200000 (in Python: with gn.limits(max_nodes=200_000))"
    )


def test_many_values_in_small_lists(write: Write) -> None:
    write("x.json", "[" + ",".join(["[1,2,3,4,5,6,7,8]"] * 20) + "]")
    with gn.limits(max_nodes=20), pytest.raises(gn.SpecError) as caught:
        gn.load_spec("x.json")
    assert str(caught.value).startswith(
        "x.json:1:360: more than 200 values, keys and brackets in one file\n  fix: a smaller spec, or --max"
    )


def test_the_limit_can_be_raised(write: Write) -> None:
    """In Python and by the flag, for a search too; afterwards it holds again."""
    write("x.yaml", HEAD + "  a: {op: relu, repeat: 1000000}\noutputs: a\n")
    with gn.limits(max_nodes=1_000_000):
        assert node_count(gn.load_spec("x.yaml")) == max_nodes() == 1_000_000
    assert max_nodes() == MAX_NODES == 100_000

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, list(arguments))
        return result.exit_code, result.stderr

    assert run("compile", "x.yaml") == (2, f"x.yaml:4:25: nodes.a.repeat: {SAID}{FIX}\n")
    assert run("compile", "x.yaml", "--max-nodes", "1000000") == run("--max-nodes", "1000000", "compile", "x.yaml") == (0, "")
    assert run("search", "x.yaml", "--max-nodes", "0")[0] == 2
    assert run("compile", "x.yaml")[0] == 2
    for command in ("compile", "search", "compare", "prune", "evaluate", "predict", "taps"):
        shown = CliRunner().invoke(cli, [command, "--help"]).stdout
        assert re.search(r"--max-nodes N .*\[default: 100000\]", " ".join(shown.split())), command


@st.composite
def nested(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """Networks of small nodes and of each other, some repeated as a parameter says."""
    nodes: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 3))):
        times = draw(st.sampled_from([1, 2, 3, "$times"]))
        inner = draw(st.booleans()) if depth else False
        node: dict[str, Any] = {"op": "network", "use": draw(nested(depth - 1))} if inner else {"op": "relu"}
        if inner and draw(st.booleans()):
            node["parameters"] = {"times": draw(st.sampled_from([2, "$times"]))}
        nodes[f"n{i}"] = {**node, "repeat": times}
    return network(nodes, {"times": {"type": "integer", "default": draw(st.integers(1, 2))}})


@given(nested(), st.integers(1, 3))
@settings(max_examples=30)
def test_what_is_counted_is_what_is_made(data: dict[str, Any], times: int) -> None:
    spec = gn.parse_spec(data)
    assert isinstance(spec, gn.NetworkSpec)

    def made(bound: gn.NetworkSpec) -> int:
        graph = infer(bound, {"image": Image(3, 4, 4)})
        inside = {name: node for name, node in bound.nodes.items() if node.op == "network"}
        names = [node.name.partition(".")[0] for node in graph.nodes if node.op != "input"]
        each = {name: made(node.network) for name, node in inside.items()}
        return sum(each.get(name, 1) for name in names)

    assert node_count(spec, {"times": times}) == node_count(spec.bind({"times": times})) == made(spec.bind({"times": times}))
    whole = made(spec.bind({}))
    assert node_count(spec) <= whole
    if whole > 1:
        with gn.limits(max_nodes=whole - 1), pytest.raises(gn.SpecError, match=f"the network has {whole:,} nodes"):
            gn.parse_spec(data).bind({})
