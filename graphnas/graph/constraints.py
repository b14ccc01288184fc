"""What must hold of a supernet before it is trained, proven on plain data with networkx.

The dependency graph has a node ``(task, name)`` for each value of a branch, and ``(task, name, "fused")`` for what a destination tap
becomes; inputs, which branches share, are left out: they carry no auxiliary.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import networkx as nx

from graphnas.graph.graph import Graph
from graphnas.graph.links import Link

Vertex = tuple[str, ...]


def dependencies(branches: Mapping[str, Graph], links: Sequence[Link], replaced: Collection[tuple[str, str]] = ()) -> nx.DiGraph[Vertex]:
    """Which value is computed from which, in the supernet with these links.

    Args:
        branches: Task -> its network.
        links: The links; each edge into a fused value that stands for one carries it as ``link``.
        replaced: (task, tap) whose own value is replaced by what arrives.
    """
    graph: nx.DiGraph[Vertex] = nx.DiGraph()
    node_of = {(task, tap.name): tap.node for task, branch in branches.items() for tap in branch.taps}
    destinations = {(link.destination.task, node_of[link.destination.task, link.destination.tap]) for link in links}
    replaced_nodes = {(task, node_of[task, tap]) for task, tap in replaced}
    for task, branch in branches.items():
        inputs = {node.name for node in branch.inputs}
        for node in branch.nodes:
            if node.name in inputs:
                continue
            graph.add_node((task, node.name))
            for name in node.inputs:
                if name not in inputs:
                    graph.add_edge(_read(task, name, destinations), (task, node.name))
        for name in branch.outputs.values():
            graph.add_edge(_read(task, name, destinations), output(task))
    for task, name in destinations - replaced_nodes:
        graph.add_edge((task, name), (task, name, "fused"))
    for link in links:
        source = (link.source.task, node_of[link.source.task, link.source.tap])
        start = (*source, "fused") if source in replaced_nodes and source in destinations else source
        graph.add_edge(start, (link.destination.task, node_of[link.destination.task, link.destination.tap], "fused"), link=link)
    return graph


def output(task: str) -> Vertex:
    """The vertex of a task's prediction."""
    return (task, "prediction", "output")


def cycle(graph: nx.DiGraph[Vertex]) -> list[Vertex] | None:
    """The values of one cycle, if there is one."""
    if nx.is_directed_acyclic_graph(graph):
        return None
    edges = cast("list[tuple[Vertex, Vertex]]", nx.find_cycle(graph))  # pyright: ignore[reportUnknownMemberType]
    return [start for start, _ in edges]


def path_into(graph: nx.DiGraph[Vertex], primary: str) -> list[Vertex] | None:
    """A shortest path from a value of another branch to the primary's prediction, if there is one."""
    toward: dict[Vertex, Vertex] = {}
    for later, earlier in nx.bfs_edges(graph, output(primary), reverse=True):
        toward[earlier] = later
        if earlier[0] != primary:
            path = [earlier]
            while path[-1] in toward:
                path.append(toward[path[-1]])
            return path
    return None


def links_on(graph: nx.DiGraph[Vertex], path: Sequence[Vertex]) -> list[Link]:
    """The links that a path goes along."""
    found = (graph.edges[edge].get("link") for edge in itertools.pairwise(path))
    return [link for link in found if link is not None]


def words(path: Sequence[Vertex]) -> str:
    """A path as people read it: ``seg:blocks.3 -> normals:blocks.5 -> normals:prediction``; long stretches inside a branch shortened."""
    named = list(dict.fromkeys(f"{vertex[0]}:{vertex[1]}" for vertex in path))
    shown = named if len(named) <= 8 else [*named[:4], "...", *named[-3:]]
    return " -> ".join(shown)


def _read(task: str, name: str, destinations: Collection[tuple[str, str]]) -> Vertex:
    """What a consumer inside a branch reads: the fused value, where there is one."""
    return (task, name, "fused") if (task, name) in destinations else (task, name)
