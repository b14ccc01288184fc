"""Parts of a graph as modules of their own, which share parameters and buffers with the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import fx

from graphnas.compiler.meta import origin_of
from graphnas.compiler.narrowing import is_mapping


def view_of(gm: fx.GraphModule, outputs: Mapping[str, fx.Node], *, replace: Mapping[fx.Node, fx.Node] | None = None) -> fx.GraphModule:
    """The part of a graph that these values need.

    A node of a branch that is needed at all keeps that branch's nodes without users too: they may be there for what they do in place.

    Args:
        gm: The whole; not changed.
        outputs: Name -> node; what the view returns.
        replace: Node -> the node that its users read instead.
    """
    replace = replace or {}
    needed = _needed(gm.graph, outputs.values(), replace)
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}

    def read(node: fx.Node) -> fx.Node:
        return env[replace.get(node, node)]

    for node in gm.graph.nodes:
        if node.op == "placeholder" or node in needed:
            env[node] = graph.node_copy(node, read)
    graph.output({name: read(node) for name, node in outputs.items()})
    return fx.GraphModule(gm, graph, class_name="View")


def outputs_of(graph: fx.Graph) -> dict[str, fx.Node]:
    """The nodes that a graph returns, by name; for those that return a dict."""
    [returned] = graph.output_node().args
    assert is_mapping(returned)
    return dict(returned)


def _needed(graph: fx.Graph, outputs: Iterable[fx.Node], replace: Mapping[fx.Node, fx.Node]) -> set[fx.Node]:
    needed: set[fx.Node] = set()
    waiting = [replace.get(node, node) for node in outputs]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [replace.get(other, other) for other in node.all_input_nodes]
    tasks = {origin.task for node in needed if (origin := origin_of(node)) is not None and origin.task is not None}
    for node in graph.nodes:  # unread, but of a branch that takes part: kept if what it reads is there
        origin = origin_of(node)
        unread = node not in needed and not node.users and origin is not None and origin.kind == "branch" and origin.task in tasks
        if unread and all(replace.get(other, other) in needed for other in node.all_input_nodes):
            needed.add(node)
    return needed
