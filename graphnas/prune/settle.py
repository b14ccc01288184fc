"""Gates at inference: rounded to 0 or 1 where they converge to that, then constants, without what a gate of 0 has left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import fx

from graphnas.compiler.fusion import Fusion
from graphnas.compiler.meta import origin_of
from graphnas.compiler.passes.base import Rule
from graphnas.compiler.supernet import Supernet
from graphnas.errors import Problem
from graphnas.graph.links import Link
from graphnas.prune.cut_links import put

Left = Mapping[str, Sequence[str]]
"""Link id -> the candidates that it keeps."""


def binary_links(net: Supernet) -> tuple[Link, ...]:
    """The links that are there or not at inference: of the rules that converge to 0 or 1, where inference keeps links at all."""
    return tuple(link for link in net.links if net.rule_of(link).converges_to == "binary") if keeps_links(net) else ()


def keeps_links(net: Supernet) -> bool:
    """Whether links may stay at inference."""
    return net.space.constraints.inference == "all"


class RoundGates(Rule):
    """Hold the gates of links at 0 or 1, whichever is nearer, whatever their alphas become.

    Args:
        ids: The links.
    """

    def __init__(self, ids: Collection[str]) -> None:
        self.ids = frozenset(ids)

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        fusion = fusion_of(gm, node)
        if fusion is None:
            return "no fusion"
        return None if self.ids & {link.id for link in fusion.fused_links()} else "none of its links is rounded"

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        fusion = fusion_of(gm, node)
        assert fusion is not None
        put(gm, node, fusion.rounding(self.ids))


class SettleGates(Rule):
    """Make constants of the gates, and leave out the candidates that are not kept; a link of ``replace`` has no gates.

    Args:
        left: Of every link that stays, the candidates that it keeps.
    """

    def __init__(self, left: Left) -> None:
        self.left = left

    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        fusion = fusion_of(gm, node)
        if fusion is None:
            return "no fusion"
        return None if fusion.combine != "replace" else "has no gates"

    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        fusion = fusion_of(gm, node)
        assert fusion is not None
        put(gm, node, fusion.settle(self.left))


def fusion_of(gm: fx.GraphModule, node: fx.Node) -> Fusion | None:
    """The fusion that a node calls, if it calls one."""
    origin = origin_of(node)
    if origin is None or origin.kind != "fusion":
        return None
    fusion = gm.get_submodule(str(node.target))
    assert isinstance(fusion, Fusion)
    return fusion


def fusions_in(gm: fx.GraphModule) -> Iterator[Fusion]:
    """The fusions that a graph calls."""
    return (fusion for node in gm.graph.nodes if (fusion := fusion_of(gm, node)) is not None)


@torch.no_grad()
def left_of(gm: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """Of every link with gates, the candidates that carry something; none where the link might as well not be there.

    A norm of what arrives alone makes something of nothing too, so its links stay whole.
    """
    found: dict[str, tuple[str, ...]] = {}
    for fusion in fusions_in(gm):
        whole = fusion.on == "links" and fusion.norm is not None
        gates = fusion.gates()
        for link in fusion.running_links():
            if link.id in gates:
                pairs = zip(link.names, gates[link.id], strict=True)
                found[link.id] = tuple(name for name, gate in pairs if whole or (bool(gate) and name in link.operations))
    return found


@torch.no_grad()
def roundings(net: Supernet) -> dict[str, float]:
    """Link id -> how far its gates are from 0 or 1, of all links that converge to that."""
    gates = {link: gate.detach() for link, gate in net.gates().items()}
    binary = {link.id for link in net.links if net.rule_of(link).converges_to == "binary"}
    fused = {link.id: link for fusion in net.fusions.values() for link in fusion.fused_links() if link.id in binary}
    return {
        name: float((gates[name] - link.gate.rounded(link.alpha)).abs().max())
        for name, link in fused.items()
        if link.alpha is not None and name in gates
    }


def undecided(net: Supernet, kept: Collection[str]) -> list[Problem]:
    """One problem for each rule that converges to 0 or 1 and that has links, of those kept, whose gates are still between.

    Args:
        net: The supernet.
        kept: Ids of the links that are there at inference, if their gates are 1.
    """
    distances = roundings(net)
    problems: list[Problem] = []
    for index, rule in enumerate(net.space.links):
        own = {link.id: distances[link.id] for link in net.links if link.rule == index and link.id in distances and link.id in kept}
        over = {link: distance for link, distance in own.items() if not distance <= rule.tolerance}
        if over:
            worst = max(over, key=over.__getitem__)
            problems.append(
                net.space.problem(
                    f"{len(over)} of {len(own)} links have not converged to 0 or 1: {worst} has a gate {over[worst]:.2g} from either,"
                    f" {rule.tolerance:g} is allowed",
                    "links", index, "converges_to",
                    fix="train longer or with a stronger penalty; or round them all the same: --force (from Python: force=True)",
                )
            )  # fmt: skip
    return problems
