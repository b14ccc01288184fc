"""Cut a graph between what several outputs need, the trunk, and what only one of them needs, its head.

Then heads can be run, and gone back through, one after the other: of all heads, only one holds its values in memory at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import fx

from graphnas.compiler.direct import DirectModule
from graphnas.compiler.meta import changed_inputs, origin_of
from graphnas.compiler.views import memories, needed_nodes, outputs_of


@dataclass(frozen=True)
class Heads:
    """A graph in parts that share its parameters and buffers.

    Args:
        trunk: ``trunk(**inputs) -> {name: value}``: all that heads read.
        heads: Output -> ``head(**what it reads of that) -> {output: value}``.
        reads: Output -> names of what its head reads.
    """

    trunk: fx.GraphModule
    heads: Mapping[str, fx.GraphModule]
    reads: Mapping[str, tuple[str, ...]]


def split_heads(gm: fx.GraphModule, drawing: Collection[str]) -> Heads | None:
    """The trunk and the heads of a graph that returns a dict.

    Args:
        gm: The graph; not changed.
        drawing: Names of the nodes that draw random numbers.
    Returns:
        ``None`` where there is nothing to gain (one output, or heads of no node), or where something would change: nodes would draw in
        another order, or a head would read what the trunk changes in place before it has changed.
    """
    graph = gm.graph
    outputs = outputs_of(graph)
    if len(outputs) < 2:
        return None
    own = _own_nodes(graph, outputs)
    heads = [node for nodes in own.values() for node in nodes]
    inside = set(heads)
    trunk = [node for node in graph.nodes if node.op not in ("placeholder", "output") and node not in inside]
    draws = [node.name for node in graph.nodes if node.name in drawing]
    if not heads or draws != [node.name for node in (*trunk, *heads) if node.name in drawing] or _reads_too_late(graph, inside):
        return None
    made = {name: _head(gm, name, outputs[name], nodes) for name, nodes in own.items()}
    reads = {name: tuple(node.name for node in head.graph.nodes if node.op == "placeholder") for name, head in made.items()}
    return Heads(_trunk(gm, trunk, {name for names in reads.values() for name in names}), made, reads)


def _own_nodes(graph: fx.Graph, outputs: Mapping[str, fx.Node]) -> dict[str, list[fx.Node]]:
    """Output -> the nodes that it alone needs, in order; nodes that nothing reads go with their branch."""
    needed = {name: needed_nodes(graph, [node]) for name, node in outputs.items()}
    somewhere = set[fx.Node]().union(*needed.values())
    for node in graph.nodes:
        origin = origin_of(node)
        if node not in somewhere and node.op not in ("placeholder", "output"):
            also = needed_nodes(graph, [node])
            task = None if origin is None else origin.task
            for name in [task] if task is not None and task in outputs else outputs:
                needed[name] |= also
    shared = {node for node in graph.nodes if sum(node in nodes for nodes in needed.values()) > 1}
    trunk = needed_nodes(graph, shared)
    apart = {name: {node for node in nodes - trunk if node.op != "placeholder"} for name, nodes in needed.items()}
    return {name: [node for node in graph.nodes if node in nodes] for name, nodes in apart.items()}


def _reads_too_late(graph: fx.Graph, heads: Collection[fx.Node]) -> bool:
    """Whether a node of a head reads memory that the trunk changes in place only after it."""
    memory = memories(graph)
    read: set[fx.Node] = set()
    for node in graph.nodes:
        if node in heads:
            read.update(memory(other) for other in node.all_input_nodes)
        elif not read.isdisjoint(memory(changed) for changed in changed_inputs(node)):
            return True
    return False


def _trunk(gm: fx.GraphModule, nodes: Iterable[fx.Node], crossing: Collection[str]) -> fx.GraphModule:
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for node in (*gm.graph.find_nodes(op="placeholder"), *nodes):
        env[node] = graph.node_copy(node, env.__getitem__)
    graph.output({node.name: made for node, made in env.items() if node.name in crossing})
    return _part(gm, graph, "Trunk")


def _head(gm: fx.GraphModule, name: str, output: fx.Node, nodes: list[fx.Node]) -> fx.GraphModule:
    inside = set(nodes)
    read = dict.fromkeys(other for node in nodes for other in node.all_input_nodes if other not in inside)
    if output not in inside:
        read[output] = None
    graph = fx.Graph()
    env = {node: graph.placeholder(node.name) for node in read}
    for node in nodes:
        env[node] = graph.node_copy(node, env.__getitem__)
    graph.output({name: env[output]})
    return _part(gm, graph, "Head")


def _part(gm: fx.GraphModule, graph: fx.Graph, name: str) -> fx.GraphModule:
    part = DirectModule(gm, graph, class_name=name)
    return part.train(gm.training)
