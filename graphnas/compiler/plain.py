"""A recorded FX graph as the plain data of ``graphnas.graph``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import fx, nn

from graphnas.compiler.meta import type_of
from graphnas.compiler.torch_typed import paths_of
from graphnas.errors import Where
from graphnas.graph.graph import Graph, Node, Tap
from graphnas.spec.network import NetworkSpec


def names_of(graph: fx.Graph, taps: Mapping[str, fx.Node]) -> dict[fx.Node, str]:
    """A name of each node in the typed graph: the submodule's path if it is called once, else the tap's, else the FX name."""
    nodes = [node for node in graph.nodes if node.op != "output"]
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    named = {
        node: str(node.target) for node in nodes if node.op == "placeholder" or (node.op == "call_module" and calls[str(node.target)] == 1)
    }
    taken = set(named.values())
    tapped = {node: name for name, node in taps.items() if name not in taken}  # a part of a submodule's result has the same name
    return {node: named.get(node) or tapped.get(node) or f"%{node.name}" for node in nodes}


def typed_graph(
    module: nn.Module, graph: fx.Graph, names: Mapping[fx.Node, str], taps: tuple[Tap, ...], prediction: fx.Node, spec: NetworkSpec | None
) -> Graph:
    modules = dict(paths_of(module))
    counted: set[int] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "output":
            continue
        parameters, op = 0, "input" if node.op == "placeholder" else str(getattr(node.target, "__name__", node.target))
        submodule = modules.get(str(node.target)) if node.op in ("call_module", "get_attr") else None
        if submodule is not None:  # called, or handed to what calls it in one mode
            op = type(submodule).__name__
            parameters = sum(p.numel() for p in submodule.parameters() if id(p) not in counted and not counted.add(id(p)))
        elif node.op == "get_attr":
            op = "parameter"
        reads = tuple(dict.fromkeys(names[i] for i in node.all_input_nodes))
        nodes.append(Node(names[node], op, reads, type_of(node), parameters, where=spec_line(spec, node)))
    return Graph(tuple(nodes), {"prediction": names[prediction]}, taps)


def spec_line(spec: NetworkSpec | None, node: fx.Node) -> Where | None:
    """The line of the spec that a recorded node comes from: of the node, or input, that its module belongs to."""
    if spec is None or not isinstance(node.target, str):
        return None
    if node.op == "placeholder":
        return spec.where("inputs", node.target)
    name = node.target
    while name and name not in spec.nodes:
        name = name.rpartition(".")[0]
    return spec.where("nodes", name) if name else None
