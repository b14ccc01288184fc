"""Drop what the primary's outputs no longer reach: links, fusions and branches, with nothing of the primary's own."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch import fx

from graphnas.compiler.meta import origin_of
from graphnas.compiler.passes.base import Rule


class DropUnreached(Rule):
    """Erase unread nodes that are not the primary's own; last nodes first, so that whole branches go.

    By ownership, not by use alone: an unread node of the primary may be there for what it changes in place. Of another branch, what changes
    a value that is read stays.

    Args:
        primary: The task whose nodes stay.
        inputs: Names of the primary's inputs, which stay too.
        needed: Nodes that stay whether they are read or not.
    """

    def __init__(self, primary: str, inputs: Collection[str], needed: Collection[fx.Node] = ()) -> None:
        self.primary = primary
        self.needed = frozenset(needed)
        self.inputs = frozenset(inputs)

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        if node.users:
            return "is read"
        if node in self.needed:
            return "changes in place what is read"
        origin = origin_of(node)
        if origin is None:
            return "is the output"
        if origin.kind == "branch" and origin.task == self.primary:
            return "is the primary's own"
        if origin.kind == "input" and str(node.target) in self.inputs:
            return "is an input of the primary"
        return None

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        gm.graph.erase_node(node)

    def order(self, graph: fx.Graph) -> Iterable[fx.Node]:
        return list(reversed(graph.nodes))
