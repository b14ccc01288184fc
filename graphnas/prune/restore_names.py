"""Give the primary's modules back the names that they have in the user's network."""

from __future__ import annotations

from torch import fx

from graphnas.compiler.passes.base import Rule


class RestoreNames(Rule):
    """``branches.<primary>.layer1``  becomes  ``layer1``."""

    def __init__(self, primary: str) -> None:
        self.prefix = f"branches.{primary}."

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        if node.op not in ("call_module", "get_attr"):
            return "names no module"
        return None if str(node.target).startswith(self.prefix) else "is outside of the primary"

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        node.target = str(node.target).removeprefix(self.prefix)
