"""Readable prints of a graph and of links, for people, ``--verbose`` and golden tests."""

from __future__ import annotations

from collections.abc import Iterable

from graphnas.graph.graph import Graph, Node
from graphnas.graph.links import Link


def format_graph(graph: Graph) -> str:
    """One line a node, in topological order, then outputs and taps::

    image: image[3, 48, 64]
    stem = conv2d(image): image[16, 48, 64]  # 448 parameters, 1,327,104 MACs
    return prediction=stem
    taps s1: stem
    total: 448 parameters, 1,327,104 MACs
    """
    lines = [_node(node) for node in graph.nodes]
    lines.append("return " + ", ".join(f"{name}={node}" for name, node in graph.outputs.items()))
    lines += [f"taps {stage}: {', '.join(tap.name for tap in taps)}" for stage, taps in graph.stages.items()]
    lines.append(f"total: {_costs(graph.parameters, graph.macs)}")
    return "\n".join(lines) + "\n"


def format_links(links: Iterable[Link]) -> str:
    """One line a link: ``seg:s1->normals:s1  a2p  conv1x1 | none``."""
    return "".join(f"{link.id}  {link.direction}  {' | '.join(link.operations)}\n" for link in links)


def _node(node: Node) -> str:
    type_ = "no tensor" if node.type is None else str(node.type)
    if node.op == "input":
        return f"{node.name}: {type_}"
    costs = f"  # {_costs(node.parameters, node.macs)}" if node.parameters or node.macs else ""
    return f"{node.name} = {node.op}({', '.join(node.inputs)}): {type_}{costs}"


def _costs(parameters: int, macs: int | None) -> str:
    return f"{parameters:,} parameters" if macs is None else f"{parameters:,} parameters, {macs:,} MACs"
