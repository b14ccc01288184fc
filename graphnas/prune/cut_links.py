"""Cut links: a fusion goes on with the links that are left; where none is left, the tap's own value takes its place.

For good, or, while a supernet is trained, with the parameters of what is cut still in their place.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import fx, nn

from graphnas.compiler.fusion import Fusion
from graphnas.compiler.meta import Origin, origin_of, set_origin
from graphnas.compiler.passes.base import Rule


class CutLinks(Rule):
    """``fused = fusion(x, y_1 .. y_m)``  becomes  ``fused = fusion'(x, those y_j that stay)``, or  ``fused = x``.

    Args:
        ids: The links to cut.
        parameters_stay: Whether the fusions still hold the parameters of these links.
    """

    def __init__(self, ids: Collection[str], *, parameters_stay: bool = False) -> None:
        self.ids = frozenset(ids)
        self.parameters_stay = parameters_stay

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        origin = origin_of(node)
        if origin is None or origin.kind != "fusion":
            return "no fusion"
        return None if self.ids & {link.id for link in _fusion(gm, node).running_links()} else "none of its links is cut"

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        fusion = _fusion(gm, node)
        own, *sources = node.args
        kept = [(link.id, source) for link, source in zip(fusion.running_links(), sources, strict=True) if link.id not in self.ids]
        if self.parameters_stay:
            put(gm, node, fusion.without(self.ids & {link.id for link in fusion.running_links()}))
        elif kept or not fusion.bare:
            put(gm, node, fusion.keeping([link for link, _ in kept]))
        if not kept and fusion.bare:
            assert isinstance(own, fx.Node)
            if fusion.changed:
                _send_copy(gm.graph, own, node)
            node.replace_all_uses_with(own)
            gm.graph.erase_node(node)
            return
        node.args = (own, *(source for _, source in kept))


class DropUnreadClones(Rule):
    """A clone was made for links; without them nothing reads it."""

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        origin = origin_of(node)
        if origin is None or origin.kind != "clone":
            return "no clone"
        return "is read" if node.users else None

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        gm.graph.erase_node(node)


def put(gm: fx.GraphModule, node: fx.Node, fusion: Fusion) -> None:
    """Let a node call another fusion by the same name."""
    *path, name = str(node.target).split(".")
    holder: nn.Module = gm
    for part in path:
        holder = holder.get_submodule(part)
    holder.add_module(name, fusion)


def _send_copy(graph: fx.Graph, own: fx.Node, fused: fx.Node) -> None:
    """Let links from a tap read a copy of its value, where its branch will change the value itself in place."""
    readers = [node for node in own.users if node is not fused and (origin := origin_of(node)) is not None and origin.kind == "fusion"]
    origin = origin_of(fused)
    if readers and origin is not None:
        with graph.inserting_after(own):
            copied = graph.call_method("clone", (own,))
        set_origin(copied, Origin("clone", origin.task, origin.tap))
        for reader in readers:
            reader.replace_input_with(own, copied)


def _fusion(gm: fx.GraphModule, node: fx.Node) -> Fusion:
    fusion = gm.get_submodule(str(node.target))
    assert isinstance(fusion, Fusion)
    return fusion
