"""Parts of a graph as modules of their own, which share parameters and buffers with the whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from torch import fx

from graphnas.compiler.direct import DirectModule
from graphnas.compiler.meta import changed_inputs, origin_of, shared_inputs
from graphnas.compiler.narrowing import is_mapping


def view_of(
    gm: fx.GraphModule, outputs: Mapping[str, fx.Node], *, copied: Collection[fx.Node] = (), also: Collection[fx.Node] = ()
) -> fx.GraphModule:
    """The part of a graph that these values need. It has a mode of its own: set it with ``train()`` or ``eval()`` before it runs.

    Args:
        gm: The whole; not changed.
        outputs: Name -> node; what the view returns.
        copied: Those of them that the graph later changes in place, and that are to be returned as they were made.
        also: Nodes that run too, for what they leave behind.
    """
    needed = needed_nodes(gm.graph, [*outputs.values(), *also])
    _add_unread(gm.graph, needed)
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    returned: dict[fx.Node, fx.Node] = {}
    for node in gm.graph.nodes:
        if node.op == "placeholder" or node in needed:
            env[node] = returned[node] = graph.node_copy(node, env.__getitem__)
            if node in copied:
                returned[node] = graph.call_method("clone", (env[node],))
    graph.output({name: returned[node] for name, node in outputs.items()})
    return DirectModule(gm, graph, class_name="View")


def outputs_of(graph: fx.Graph) -> dict[str, fx.Node]:
    """The nodes that a graph returns, by name; for those that return a dict."""
    [returned] = graph.output_node().args
    assert is_mapping(returned)
    return dict(returned)


def needed_nodes(graph: fx.Graph, wanted: Iterable[fx.Node]) -> set[fx.Node]:
    """These nodes, all that they are computed from, and all that changes one of those in place."""
    memory = memories(graph)
    changing: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        for changed in changed_inputs(node):
            changing.setdefault(memory(changed), []).append(node)
    needed: set[fx.Node] = set()
    waiting = list(wanted)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
            waiting += changing.get(memory(node), ())
    return needed


def memories(graph: fx.Graph) -> Callable[[fx.Node], fx.Node]:
    """Which nodes may stand in the same memory: node -> one node that stands for all of them.

    What functions read first may be what they return a view of; what else shares memory was seen when it was recorded.
    """
    parent: dict[fx.Node, fx.Node] = {}

    def root(node: fx.Node) -> fx.Node:
        while (above := parent.get(node, node)) is not node:
            parent[node] = parent.get(above, above)
            node = above
        return node

    for node in graph.nodes:
        shared = shared_inputs(node)
        if node.op in ("call_function", "call_method"):
            shared += [read for read in node.all_input_nodes if not _is_flag(read)][:1]
        for other in shared:
            parent[root(node)] = root(other)
    return root


def _is_flag(node: fx.Node) -> bool:
    return node.op == "get_attr" and str(node.target).rpartition(".")[2] == "training"


def _add_unread(graph: fx.Graph, needed: set[fx.Node]) -> None:
    """Unread nodes of a branch that takes part, if what they read is there: they may be there for an effect that is not recorded."""
    tasks = {origin.task for node in needed if (origin := origin_of(node)) is not None and origin.task is not None}
    for node in graph.nodes:
        origin = origin_of(node)
        unread = node not in needed and not node.users and origin is not None and origin.kind == "branch" and origin.task in tasks
        if unread and needed.issuperset(node.all_input_nodes):
            needed.add(node)
