"""Supernet -> the primary's own network, by rewrites of the graph, with the proof of what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn

from graphnas.compiler.direct import DirectModule
from graphnas.compiler.fusion import Fusion
from graphnas.compiler.guards import guard
from graphnas.compiler.meta import origin_of
from graphnas.compiler.passes.base import apply
from graphnas.compiler.supernet import Supernet
from graphnas.compiler.torch_typed import copy_of, on_cpu, own_children, share_tensors
from graphnas.compiler.values import tensor_attributes
from graphnas.compiler.views import needed_nodes, outputs_of, view_of
from graphnas.errors import Problem, PruneError
from graphnas.graph.links import Link
from graphnas.prune.certificate import Certificate, certify
from graphnas.prune.cut_links import CutLinks
from graphnas.prune.drop_unreached import DropUnreached
from graphnas.prune.kept import Kept
from graphnas.prune.restore_names import RestoreNames
from graphnas.prune.settle import Left, RoundGates, SettleGates, binary_links, fusions_in, keeps_links, left_of, undecided
from graphnas.spec.network import NetworkSpec


@dataclass(frozen=True, eq=False)
class Pruned:
    """What a search was for.

    Args:
        module: The primary's network, with the user's own parameter names; returns what the user's module returns.
        certificate: What was compared with a fresh single-task network, and how it came out.
        spec: The bound network spec, if the network was built from one.
        example_shapes: Input name -> the shape it was recorded at, batch first.
        keeps: What was kept, as ``constraints.inference`` has it; ``primary`` where nothing but the primary's network is left.
        kept: How to build it again, where that is more; ``None`` where it is the primary's network.
    """

    module: fx.GraphModule
    certificate: Certificate
    spec: NetworkSpec | None
    example_shapes: Mapping[str, tuple[int, ...]]
    keeps: Literal["primary", "primary+fusion", "all"] = "primary"
    kept: Kept | None = None


def links_to_cut(net: Supernet) -> tuple[Link, ...]:
    """The links that are gone at inference: all of the rules that converge to zero."""
    return tuple(link for link in net.links if net.rule_of(link).converges_to == "zero")


def cut_view(net: Supernet) -> fx.GraphModule:
    """The primary as it will be at inference, ``view(image) -> {primary: prediction}``; shares parameters and buffers.

    Links that converge to zero are cut; of those that converge to 0 or 1 and stay, the gates are held at that.
    """
    cut = _cut(net)
    view = view_of(cut, {net.primary: outputs_of(cut.graph)[net.primary]})
    guard(view, net.recorded if keeps_links(net) else {net.primary: net.recorded[net.primary]})
    return view


def changed_at_inference(net: Supernet) -> bool:
    """Whether the primary at inference differs from that of the supernet: links are cut, or gates rounded."""
    return bool(links_to_cut(net) or binary_links(net))


def prune(net: Supernet, *, force: bool = False, fresh: nn.Module | None = None) -> Pruned:
    """Cut the links that converged to zero, drop all that the primary no longer reaches, and give it its names back.

    Args:
        net: The supernet; not changed. The result holds copies of its weights, on the CPU.
        force: Cut links that have not converged too; the certificate says so.
        fresh: A single-task network to compare with; left out, one is built from the spec, or the user's module is copied.
    Raises:
        PruneError: Links still contribute more than their rule's ``tolerance``, or gates are neither 0 nor 1; says how many, and how much.
    """
    cut = _reached(_cut(net), net)
    problems = [*unconverged(net), *undecided(net, {link.id for fusion in fusions_in(cut) for link in fusion.running_links()})]
    if problems and not force:
        raise PruneError(problems)
    left = left_of(cut)
    module = _alone(cut, net, [link for link, names in left.items() if not names], left)
    kept = None
    zero = [link.id for link in links_to_cut(net)]
    if any(_foreign(node, net.primary) for node in module.graph.nodes):
        stay = left_of(module)
        kept = Kept.of(net, [*zero, *(link for link in left if link not in stay)], stay)
    certificate = certify(net, module, fresh, zero, forced=bool(problems), kept=kept, rounded=[link.id for link in binary_links(net)])
    branch = net.recorded[net.primary]
    shapes = {name: tuple(value.shape) for name, value in branch.example.items()}
    return Pruned(module, certificate, branch.spec, shapes, "primary" if kept is None else net.space.constraints.inference, kept)


def standing(net: Supernet, cut: Sequence[str], left: Left) -> fx.GraphModule:
    """A network of its own, of a supernet without these links.

    Args:
        net: The supernet; not changed.
        cut: Ids of the links that are gone, those that converge to zero among them.
        left: Id of every other link with gates -> the candidates that it keeps.
    """
    zero = {link.id for link in links_to_cut(net)}
    return _alone(_reached(_cut(net), net), net, [link for link in cut if link not in zero], left)


def _reached(gm: fx.GraphModule, net: Supernet) -> fx.GraphModule:
    """Let a graph return what the primary returns, and drop what that does not reach."""
    _return_own_output(gm, net)
    own = [
        node for node in gm.graph.nodes if (origin := origin_of(node)) is not None and (origin.kind, origin.task) == ("branch", net.primary)
    ]
    needed = needed_nodes(gm.graph, [*gm.graph.output_node().all_input_nodes, *own])
    apply(DropUnreached(net.primary, net.recorded[net.primary].inputs, needed), gm)
    return gm


def _alone(cut: fx.GraphModule, net: Supernet, gone: Sequence[str], left: Left) -> fx.GraphModule:
    """A module of its own, without these links too, whose gates are constants."""
    if gone:
        apply(CutLinks(gone), cut)
        _reached(cut, net)
    keeps_branches = any(_foreign(node, net.primary) for node in cut.graph.nodes)
    if keeps_branches:
        apply(SettleGates(left), cut)
    module = _standing_alone(cut, net, keeps_branches)
    if not keeps_branches:
        apply(RestoreNames(net.primary), module)
    guard(module, net.recorded if keeps_branches else {net.primary: net.recorded[net.primary]})
    return module


@torch.no_grad()
def unconverged(net: Supernet) -> list[Problem]:
    """One problem for each rule that converges to zero and whose links still contribute more than its tolerance."""
    contributions = net.contributions()
    problems: list[Problem] = []
    for index, rule in enumerate(net.space.links):
        if rule.converges_to != "zero":
            continue
        sizes = {link.id: float(contributions[link.id].abs().sum()) for link in net.links if link.rule == index}
        over = {link: size for link, size in sizes.items() if not size <= rule.tolerance}
        if over:
            worst = max(over, key=over.__getitem__)
            problems.append(
                net.space.problem(
                    f"{len(over)} of {len(sizes)} links have not converged to zero: {worst} still contributes {over[worst]:.2g},"
                    f" {rule.tolerance:g} is allowed",
                    "links", index, "converges_to",
                    fix="train longer or with a stronger penalty; or cut them all the same: --force (from Python: force=True)",
                )
            )  # fmt: skip
    return problems


def _cut(net: Supernet) -> fx.GraphModule:
    """The supernet without the links that converge to zero, and with gates at 0 or 1 that converge to that, sharing its branches."""
    modules = nn.Module()
    modules.add_module("branches", net.get_submodule("branches"))
    joints = nn.ModuleDict()
    for task in net.tasks:
        fusions = net.get_submodule(f"joints.{task}").named_children()
        joints.add_module(task, nn.ModuleDict({name: made.whole() if isinstance(made, Fusion) else made for name, made in fusions}))
    modules.add_module("joints", joints)
    graph = fx.Graph()
    output = graph.graph_copy(net.woven, val_map={})
    graph.output(output)
    cut = fx.GraphModule(nn.Module(), fx.Graph())
    for name, child in modules.named_children():
        cut.add_module(name, child)
    cut.graph = graph
    cut.training = net.training
    apply(CutLinks([link.id for link in links_to_cut(net)]), cut)
    if binary := binary_links(net):
        apply(RoundGates([link.id for link in binary]), cut)
    return cut


def _foreign(node: fx.Node, primary: str) -> bool:
    origin = origin_of(node)
    return origin is not None and (origin.kind == "fusion" or origin.task not in (None, primary))


def _return_own_output(gm: fx.GraphModule, net: Supernet) -> None:
    """Let the graph return what the primary's own forward returns, in its structure."""
    made: dict[str, fx.Node] = {}
    for node in gm.graph.nodes:
        origin = origin_of(node)
        if origin is not None and origin.task == net.primary and origin.recorded is not None:
            made[origin.recorded] = node  # a fusion comes after the node that it stands for
        elif origin is not None and origin.kind == "input":
            made[str(node.target)] = node
    recorded = net.recorded[net.primary].recorded.output_node()

    def own(node: fx.Node) -> fx.Node:
        return made[str(node.target)] if node.op == "placeholder" else made[node.name]

    [returned] = recorded.args
    gm.graph.output_node().args = (fx.map_arg(returned, own),)


def _standing_alone(cut: fx.GraphModule, net: Supernet, keeps_branches: bool) -> fx.GraphModule:
    """A module of its own with copies of all that the graph needs; of the primary's network, all, in the user's order."""
    made = DirectModule(nn.Module(), fx.Graph(), class_name="Pruned")
    if keeps_branches:
        source: nn.Module = fx.GraphModule(cut, cut.graph)  # only what is called
    else:
        source = cut.get_submodule(f"branches.{net.primary}")
    copied = on_cpu(copy_of(source))
    share_tensors(copied, made)
    own_children(made).update(own_children(copied))
    for name, value in tensor_attributes(copied).items():
        setattr(made, name, value)
    made.graph = cut.graph
    made.training = net.training
    return made
