"""The typed DAG of one network as frozen plain data: built once, checked, asked, printed, never rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from graphnas.errors import Where
from graphnas.graph.types import ValueType


@dataclass(frozen=True)
class Node:
    """One value and what makes it.

    Args:
        name: Unique in the graph; a spec node's name, or a submodule's path.
        op: The operation's registered name, ``input``, or for a recorded node the module's class or the function's name.
        inputs: Names of the nodes it reads.
        type: The type of the value; ``None`` for a recorded value that is no tensor (a size, a tuple).
        parameters: Number of parameters that it holds.
        macs: Multiply-accumulates for one sample (1 MAC = 2 FLOPs); ``None`` where they were not counted.
        where: The line that made it.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    type: ValueType | None
    parameters: int = 0
    macs: int | None = None
    where: Where | None = None


@dataclass(frozen=True)
class Tap:
    """A value where links may start or end.

    Args:
        stage: The stage's name.
        index: Position in its stage, from 0.
        name: The submodule or node that makes it, as in link ids.
        node: The graph node that holds it.
        type: The type of the value.
        where: The line that declared it.
        channels_last: Whether an image comes as (N, H, W, C); its type has the channels first in any case.
    """

    stage: str
    index: int
    name: str
    node: str
    type: ValueType
    where: Where | None = None
    channels_last: bool = False


@dataclass(frozen=True)
class Graph:
    """A network: nodes in topological order (inputs first), named outputs, taps in order of execution.

    Raises:
        ValueError: A node reads a name that no earlier node has, or a name stands twice (our own bug, not the user's).
    """

    nodes: tuple[Node, ...]
    outputs: Mapping[str, str]
    taps: tuple[Tap, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise ValueError(f"node {node.name!r} stands twice")
            for name in node.inputs:
                if name not in seen:
                    raise ValueError(f"node {node.name!r} reads {name!r} before it is made")
            seen.add(node.name)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.op == "input")

    @property
    def parameters(self) -> int:
        return sum(node.parameters for node in self.nodes)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one sample; ``None`` where they were not counted."""
        counts = [node.macs for node in self.nodes if node.op != "input"]
        return None if any(count is None for count in counts) else sum(count or 0 for count in counts)

    @property
    def stages(self) -> Mapping[str, tuple[Tap, ...]]:
        """The taps of each stage, stages in order of execution."""
        found: dict[str, list[Tap]] = {}
        for tap in self.taps:
            found.setdefault(tap.stage, []).append(tap)
        return {stage: tuple(taps) for stage, taps in found.items()}


def reachable(graph: Graph, sources: Iterable[str]) -> frozenset[str]:
    """The nodes that some source has a path to, the sources included."""
    found = set(sources)
    for node in graph.nodes:  # in topological order
        if not found.isdisjoint(node.inputs):
            found.add(node.name)
    return frozenset(found)
