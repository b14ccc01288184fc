"""Graph modules that look modules up directly: the same modules, values and names, whatever is done with the graph."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.compiler.direct import DirectModule
from graphnas.compiler.passes.base import Rule, apply

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Modules by number and by name, nested; a function, a method and a parameter beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.ModuleDict({"0": nn.BatchNorm2d(4)})["0"])
        self.head = nn.ModuleDict({"out": nn.Conv2d(4, 2, 1)})
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.head["out"](self.blocks(image))).mul(self.scale)


def made() -> DirectModule:
    torch.manual_seed(0)
    net = Net().eval()
    return DirectModule(net, fx.symbolic_trace(net).graph)


def test_the_code_asks_no_module_for_an_attribute_on_the_way_to_another() -> None:
    code = made().code
    assert 'self._modules["blocks"]._modules["0"]._modules["0"](' in code
    assert 'self._modules["head"]._modules["out"](' in code
    assert "getattr" not in code
    assert "self.scale" in code, "what is no module is asked for as ever"


def test_values_and_names_are_those_of_a_graph_module() -> None:
    direct = made()
    plain = fx.GraphModule(direct, direct.graph)
    assert torch.equal(direct(X), plain(X))
    assert list(direct.state_dict()) == list(plain.state_dict())


class FoldRelu(Rule):
    """``relu(x)``  becomes  ``x``."""

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        found = gm.get_submodule(str(node.target)) if node.op == "call_module" else None
        return None if isinstance(found, nn.ReLU) else "not a relu"

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        node.replace_all_uses_with(node.all_input_nodes[0])
        gm.graph.erase_node(node)


def passed(net: DirectModule) -> nn.Module:
    assert apply(FoldRelu(), net) == 1
    return net


def given_another_graph(net: DirectModule) -> nn.Module:
    graph = fx.Graph()
    graph.output(graph.graph_copy(net.graph, val_map={}))
    net.graph = graph
    return net


@pytest.mark.parametrize("changed", [copy.deepcopy, passed, given_another_graph])
def test_its_look_ups_stay_direct(changed: Callable[[DirectModule], nn.Module]) -> None:
    found = changed(made())
    assert isinstance(found, DirectModule)
    assert "getattr" not in found.code
    assert torch.equal(found(X), fx.GraphModule(found, found.graph)(X))


@pytest.mark.parametrize(
    "done", [
        lambda net: pickle.loads(pickle.dumps(net)),
        lambda net: torch.compile(net, backend="aot_eager", fullgraph=True),
        lambda net: torch.export.export(net, (X,)).module(),
    ], ids=["pickled", "compiled", "exported"],
)  # fmt: skip
def test_it_can_be_taken_elsewhere(done: Callable[[nn.Module], nn.Module]) -> None:
    net = made()
    assert torch.equal(done(net)(X), net(X))


def test_a_module_that_is_put_in_the_place_of_another_is_called() -> None:
    net = made()
    before = net(X)
    net.get_submodule("head").add_module("out", nn.Conv2d(4, 2, 1))
    assert not torch.equal(net(X), before)
    assert torch.equal(net(X), fx.GraphModule(net, net.graph)(X))


def test_supernet_views_and_what_is_pruned_are_such_modules() -> None:
    branches = {task: gn.Branch.from_module(Net().eval(), taps={"s": "blocks.*"}, example=X) for task in ("primary", "auxiliary")}
    net = gn.weave(branches, primary="primary", space=gn.load_spec("aux-nas"))
    for found in (net, net.view(["primary"]), copy.deepcopy(net), gn.prune(net, force=True).module):
        assert isinstance(found, DirectModule)
        assert "getattr" not in found.code
