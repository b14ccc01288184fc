"""Cut links: a fusion goes on with the links that are left; where none is left, the tap's own value takes its place."""

from __future__ import annotations

from collections.abc import Collection

from torch import fx, nn

from graphnas.compiler.fusion import Fusion
from graphnas.compiler.meta import origin_of
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
            node.replace_all_uses_with(own)
            gm.graph.erase_node(node)
            return
        *path, name = str(node.target).split(".")
        holder: nn.Module = gm
        for part in path:
            holder = holder.get_submodule(part)
        holder.add_module(name, fusion.keeping([link for link, _ in kept]))
        node.args = (own, *(source for _, source in kept))


def _fusion(gm: fx.GraphModule, node: fx.Node) -> Fusion:
    fusion = gm.get_submodule(str(node.target))
    assert isinstance(fusion, Fusion)
    return fusion
