"""Cut links: a fusion goes on with the links that are left; where none is left, the tap's own value takes its place."""

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
    """

    def __init__(self, ids: Collection[str]) -> None:
        self.ids = frozenset(ids)

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        origin = origin_of(node)
        if origin is None or origin.kind != "fusion":
            return "no fusion"
        return None if self.ids & {link.id for link in _fusion(gm, node).fused_links()} else "none of its links is cut"

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        fusion = _fusion(gm, node)
        own, *sources = node.args
        kept = [(link.id, source) for link, source in zip(fusion.fused_links(), sources, strict=True) if link.id not in self.ids]
        if not kept and fusion.bare:
            assert isinstance(own, fx.Node)
            if fusion.changed:
                _send_copy(gm.graph, own, node)
            node.replace_all_uses_with(own)
            gm.graph.erase_node(node)
            return
        *path, name = str(node.target).split(".")
        holder: nn.Module = gm
        for part in path:
            holder = holder.get_submodule(part)
        holder.add_module(name, fusion.keeping([link for link, _ in kept]))
        node.args = (own, *(source for _, source in kept))


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
