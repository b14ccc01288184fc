"""Networks that were lowered from specs: what is read off their graphs is what recording them gives, and what they compute."""

from __future__ import annotations

import copy
import operator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.compiler import infer, lower
from graphnas.compiler.checked import ancestors_of
from graphnas.compiler.meta import changed_inputs, shared_inputs, type_of
from graphnas.compiler.parts import Example
from graphnas.compiler.reading import Lowered, read, reads
from graphnas.compiler.record import Recording, record
from graphnas.compiler.verify import shape_of, untouched, verify
from graphnas.spec.network import NetworkSpec
from tests.compiler.graphs import INPUT, graphs

X = {"image": torch.rand(2, *INPUT.shape, generator=torch.Generator().manual_seed(0))}


def lowered(data: dict[str, Any]) -> Lowered:
    spec = gn.parse_spec(data)
    assert isinstance(spec, NetworkSpec)
    torch.manual_seed(0)
    return lower(spec, infer(spec, {"image": INPUT}))


def recorded(module: nn.Module, ancestors: frozenset[str], *, training: bool) -> Recording:
    with untouched(module):
        return record(module.train(training), X, ancestors=ancestors)


def facts(recording: Recording) -> dict[str, Any]:
    """All that a recording tells, with nodes by their names."""
    return {
        "shape": shape_of(recording.graph),
        "nodes": [
            (node.name, type_of(node), [n.name for n in changed_inputs(node)], [n.name for n in shared_inputs(node)])
            for node in recording.graph.nodes
        ],
        "values": {path: node.name for path, node in recording.values.items()},
        "parts": {key: node.name for key, node in recording.parts.items()},
    }


def assert_read_is_recorded(module: Lowered, ancestors: frozenset[str]) -> Recording:
    assert reads(module, ancestors)
    state = copy.deepcopy(module.state_dict())
    found = read(module, Example(X), ancestors)
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    evaluated, trained = (recorded(module, ancestors, training=training) for training in (False, True))
    assert facts(found) == facts(evaluated)
    assert found.changed == evaluated.changed | trained.changed
    assert shape_of(found.graph) == shape_of(trained.graph)
    assert verify(module, found.graph, X) == (False, False)
    return found


@settings(max_examples=25)
@given(graphs())
def test_what_is_read_is_what_is_recorded(data: dict[str, Any]) -> None:
    module = lowered(data)
    assert_read_is_recorded(module, ancestors_of(str(node.target) for node in module.graph.find_nodes(op="call_module")))


class Halves(nn.Module):
    """Two views of what it is given, and no tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, int]:
        return x[:, :2], x[:, 2:], 3


class Doubled(nn.Module):
    """In place, in train mode only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2) if self.training else x * 2


def by_hand() -> Lowered:
    """Views, a value handed back as it is, changes in place in both modes and in one, a value out of a tuple that nothing else reads."""
    root = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 1), "same": nn.Identity(), "halves": Halves(), "act": nn.ReLU(inplace=True)})
    root["drop"], root["doubled"], root["norm"] = nn.Dropout(0.5), Doubled(), nn.BatchNorm2d(2)
    graph = fx.Graph()
    image = graph.placeholder("image")
    conv = graph.call_module("conv", (image,))
    same = graph.call_module("same", (conv,))
    halves = graph.call_module("halves", (), {"x": same})
    first, second = (graph.call_function(operator.getitem, (halves, i)) for i in (0, 1))
    act = graph.call_module("act", (second,))
    drop = graph.call_module("drop", (act,))
    doubled = graph.call_module("doubled", (drop,))
    norm = graph.call_module("norm", (doubled,))
    graph.output({"prediction": norm, "other": first})
    return Lowered(root, graph)


def test_memory_and_parts_are_as_a_recorder_finds_them() -> None:
    module = by_hand()
    found = assert_read_is_recorded(module, frozenset({""}))
    nodes = {node.name: node for node in found.graph.nodes}
    assert [node.name for node in changed_inputs(nodes["act"])] == ["getitem"]
    assert ("drop", None) in found.changed  # in train mode only
    assert [node.name for node in shared_inputs(nodes["same"])] == ["conv"]
    assert list(found.parts) == [("halves", 0), ("halves", 1), ("", "prediction"), ("", "other")]


def test_a_graph_that_the_forward_does_not_run_is_not_read() -> None:
    module = by_hand()
    assert reads(copy.deepcopy(module), {""})
    [drop] = [node for node in module.graph.nodes if node.target == "drop"]
    drop.replace_all_uses_with(drop.args[0])
    assert not reads(module, {""})
    module.recompile()
    assert reads(module, {""})
    module.forward = lambda image: {"prediction": image}
    assert not reads(module, {""})


def function(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return graph.call_function(torch.relu, (node,))


def method(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return graph.call_method("relu", (node,))


def number(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return graph.call_module("conv", (node, 3))


def key(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return graph.call_function(operator.getitem, (node, "logits"))


def twice(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return graph.call_module("conv", (graph.call_module("conv", (node,)),))


@pytest.mark.parametrize("makes", [function, method, number, key, twice])
def test_what_is_more_than_calls_of_modules_is_recorded(makes: Any) -> None:
    graph = fx.Graph()
    graph.output(makes(graph, graph.placeholder("image")))
    root = nn.ModuleDict({"conv": nn.Conv2d(3, 3, 1)})
    assert not reads(Lowered(root, graph), {""})
    plain = fx.Graph()
    plain.output(plain.call_module("conv", (plain.placeholder("image"),)))
    assert reads(Lowered(root, plain), {""})
    assert not reads(Lowered(root, plain), {"", "conv"})
    assert not reads(fx.GraphModule(root, plain), {""})


def test_hooks_are_refused_as_everywhere() -> None:
    module = lowered({"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": {"s.a": "relu", "s.b": "gelu"}, "outputs": "s.b"})
    module.get_submodule("s").register_forward_hook(lambda *_: None)
    with pytest.raises(gn.RecordError) as caught:
        gn.Branch.from_module(module, taps={"s": "s.*"}, example=X)
    assert str(caught.value) == "s (Module) has hooks, and its forward would be taken apart\n  fix: remove the hooks"


def test_a_failure_is_told_as_a_recorder_tells_it() -> None:
    module = lowered({"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": {"a": "batch_norm"}, "outputs": "a"})
    with pytest.raises(gn.RecordError) as caught:
        gn.Branch.from_module(module, taps={"s": "a"}, example=torch.rand(2, 4, 8, 8))
    assert "GraphModule itself fails on the example image [2, 4, 8, 8]: RuntimeError: running_mean should contain 4" in str(caught.value)
