"""Cut links of a supernet while it is trained: the graph runs without them, all parameters keep their places and their names.

So nothing else has to know: optimizers keep their state, ``state_dict`` its keys, and what is cut can be put back.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, fx

from graphnas.compiler.fusion import Fusion
from graphnas.compiler.passes.base import apply
from graphnas.compiler.supernet import Supernet
from graphnas.prune.cut_links import CutLinks, DropUnreadClones


def run_without(net: Supernet, ids: Collection[str]) -> None:
    """Let a supernet run without these links and with all others, whatever it ran without before.

    One copy and one rewrite of the woven graph. Views that were made before still run with the links that they had.

    Args:
        net: The supernet, changed in place.
        ids: Ids of links.
    """
    if net.cut == frozenset(ids):
        return
    for (task, tap), fusion in net.fusions.items():
        if fusion.cut:
            net.put_fusion(task, tap, fusion.whole())
    graph = fx.Graph()
    graph.output(graph.graph_copy(net.woven, val_map={}))
    net.graph = graph
    apply(CutLinks(ids, parameters_stay=True), net)
    apply(DropUnreadClones(), net)


@torch.no_grad()
def links_at_zero(net: Supernet) -> frozenset[str]:
    """Ids of the links whose gates are exactly zero and that change nothing: the same outputs come without them.

    A gate that is drawn at random is zero in no draw for sure. Where a norm acts on what arrives alone (``on: links``), even nothing
    arriving leaves the norm's bias: then one link stays.
    """
    found: set[str] = set()
    for fusion in net.fusions.values():
        zero = _at_zero(fusion)
        if fusion.on == "links" and not _maps_zero_to_zero(fusion) and zero >= {link.id for link in fusion.fused_links()}:
            zero -= {next(link.id for link in fusion.fused_links() if link.id not in fusion.cut)}
        found |= zero
    return frozenset(found)


def _at_zero(fusion: Fusion) -> set[str]:
    """The links of one fusion whose gates are zero in every forward pass; those that are cut among them."""
    gates = fusion.gates()
    links = {link.id: link for link in fusion.fused_links() if link.id in gates and not link.gate.draws}
    return {name for name, link in links.items() if not bool(link.carrying(gates[name]).count_nonzero())}


def _maps_zero_to_zero(fusion: Fusion) -> bool:
    """Whether nothing arriving adds nothing; every activation maps zero to zero."""
    if fusion.norm is None:
        return True
    bias = fusion.norm.bias
    mean = getattr(fusion.norm, "running_mean", None)
    return not any(isinstance(value, Tensor) and bool(value.count_nonzero()) for value in (bias, mean))
