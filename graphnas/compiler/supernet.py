"""``Supernet``: all branches and all candidate links as one ``torch.fx.GraphModule``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.direct import DirectModule
from graphnas.compiler.fusion import FusedLink, Fusion
from graphnas.compiler.guards import guard
from graphnas.compiler.meta import origin_of
from graphnas.compiler.plan import Plan, joint_key
from graphnas.compiler.torch_typed import copy_of
from graphnas.compiler.views import outputs_of, view_of
from graphnas.errors import SpecError, suggest
from graphnas.gates.base import Penalty
from graphnas.graph.links import Link
from graphnas.spec.search_space import LinkRule, SearchSpaceSpec


class Supernet(DirectModule):
    """``net(image) -> {task: prediction}``; made by ``weave`` and ``compile``.

    The user's modules stand under ``branches.<task>``, the parameters of links and fusions under ``joints.<task>``. Survives
    ``copy.deepcopy``. Links may be cut while it is trained (``graphnas.prune.run_without``): then ``graph`` is a part of ``woven``, while
    all parameters stay where they are, and all that is said of links is still said of all of them, with gates of zero for those.
    """

    def __init__(self, modules: nn.Module, graph: fx.Graph, *, recorded: Mapping[str, Branch], plan: Plan, space: SearchSpaceSpec) -> None:
        super().__init__(nn.Module(), fx.Graph(), class_name="Supernet")  # a root would lose the modules that the graph does not call
        self.add_module("branches", modules.get_submodule("branches"))
        self.add_module("joints", modules.get_submodule("joints"))
        self.recorded: Mapping[str, Branch] = recorded
        self.plan = plan
        self.space = space
        self.graph = graph
        self.woven = graph
        graph.lint()
        guard(self, recorded)

    def __deepcopy__(self, memo: dict[int, Any]) -> Supernet:
        modules = nn.Module()
        for name in ("branches", "joints"):
            modules.add_module(name, copy_of(self.get_submodule(name), memo))
        made = Supernet(modules, copy.deepcopy(self.graph, memo), recorded=self.recorded, plan=self.plan, space=self.space)
        if self.woven is not self.graph:
            made.woven = copy.deepcopy(self.woven, memo)
        made.training = self.training
        memo[id(self)] = made
        return made

    # -- what it is made of

    @property
    def primary(self) -> str:
        return self.plan.primary

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.recorded)

    @property
    def links(self) -> tuple[Link, ...]:
        return self.plan.links

    @property
    def fusions(self) -> dict[tuple[str, str], Fusion]:
        """(task, tap) -> the fusion of that destination."""
        found = {(d.task, d.tap): self.get_submodule(f"joints.{d.task}.{joint_key(d.tap)}") for d in self.plan.destinations}
        return {key: fusion for key, fusion in found.items() if isinstance(fusion, Fusion)}

    def put_fusion(self, task: str, tap: str, fusion: Fusion) -> None:
        """Another fusion in the place of a destination's own."""
        joints = self.get_submodule(f"joints.{task}")
        joints.add_module(joint_key(tap), fusion)

    @property
    def cut(self) -> frozenset[str]:
        """Ids of the links that it runs without."""
        return frozenset[str]().union(*(fusion.cut for fusion in self.fusions.values()))

    @property
    def link_operations(self) -> dict[str, dict[str, nn.Module]]:
        """Link id -> operation name -> the module that holds its parameters."""
        return {link.id: {**link.operations} for link in self._fused_links()}

    @property
    def alphas(self) -> dict[str, nn.Parameter]:
        """Link id -> (K,) architecture parameters, one a candidate operation; ``replace`` has none."""
        return {link.id: link.alpha for link in self._fused_links() if link.alpha is not None}

    def gates(self) -> dict[str, Tensor]:
        """Link id -> (K,) gates, differentiable."""
        return {link: gate for fusion in self.fusions.values() for link, gate in fusion.gates().items()}

    def contributions(self) -> dict[str, Tensor]:
        """Link id -> (K,) products of gate and the gain of the operation's weight: the size of what arrives relative to what was sent."""
        gates = self.gates()
        return {link.id: gates[link.id] * link.gains() for link in self._fused_links() if link.id in gates}

    def _fused_links(self) -> Iterator[FusedLink]:
        for fusion in self.fusions.values():
            yield from fusion.fused_links()

    # -- parameters

    def named_weight_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All that the weight steps train: networks, link operations, norms, and alphas whose gate says ``train_with: weights``."""
        excluded = {id(link.alpha) for link in self._fused_links() if link.gate.train_with == "alphas" or not link.gate.trainable}
        return ((name, parameter) for name, parameter in self.named_parameters() if id(parameter) not in excluded)

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for _, parameter in self.named_weight_parameters())

    def alpha_parameters(self) -> Iterator[nn.Parameter]:
        """The alphas that the alpha steps train."""
        for link in self._fused_links():
            if link.alpha is not None and link.gate.trainable and link.gate.train_with == "alphas":
                yield link.alpha

    # -- penalties

    @property
    def ramp_end(self) -> float:
        """The share of training at which every penalty on a link that converges to zero has its full strength."""
        ends = [rule.penalty.ramp[1] for rule in self.space.links if isinstance(rule.penalty, Penalty) and rule.converges_to == "zero"]
        return max(ends, default=0.0)

    def penalty(self, progress: float) -> Tensor:
        """The sum of the penalties of all rules, a scalar, from the alphas as they are; a link that was cut has gates of zero.

        Args:
            progress: Share of training, 0 to 1.
        """
        total = next(self.parameters()).new_zeros(())
        penalized = {i: rule.penalty for i, rule in enumerate(self.space.links) if isinstance(rule.penalty, Penalty)}
        if not any(penalty.strength_at(progress) > 0 for penalty in penalized.values()):
            return total
        gates, cut = self.gates(), self.cut
        values: dict[int, list[Tensor]] = {}
        for link, fused in self._by_rule():
            if link.rule in penalized and link.id in gates:
                of_gain = penalized[link.rule].of == "contribution" and link.id not in cut
                gate = gates[link.id] * fused.gains() if of_gain else gates[link.id]
                values.setdefault(link.rule, []).append(fused.carrying(gate))
        return sum((penalized[rule](found, progress) for rule, found in values.items()), start=total)

    @property
    def anneals(self) -> bool:
        """Whether a gate function changes over training."""
        return any(rule.gate.at(1.0) != rule.gate for rule in self.space.links)

    def before_step(self, progress: float) -> None:
        """What precedes a training step: gates that are annealed become those of this share of training, in views of it too."""
        for link in self._fused_links():
            link.training_gate = link.gate.at(progress)

    @torch.no_grad()
    def after_alpha_step(self, learning_rate: float, progress: float) -> None:
        """What follows an optimizer step on the alphas: projection into the gates' domain, and the shrinkage of proximal penalties.

        A link that was cut counts among those of its rule, and stays as it is.
        """
        cut = self.cut
        counts: dict[int, int] = {}
        for link in self.links:
            counts[link.rule] = counts.get(link.rule, 0) + 1
        for link, fused in self._by_rule():
            rule = self.space.links[link.rule]
            if fused.alpha is None or fused.id in cut:
                continue
            fused.gate.project(fused.alpha)
            if isinstance(rule.penalty, Penalty):
                rule.penalty.shrink(fused.alpha, learning_rate=learning_rate, progress=progress, links=counts[link.rule])

    def _by_rule(self) -> Iterator[tuple[Link, FusedLink]]:
        by_id = {link.id: link for link in self.links}
        for fused in self._fused_links():
            yield by_id[fused.id], fused

    def rule_of(self, link: Link) -> LinkRule:
        return self.space.links[link.rule]

    # -- parts of it

    def view(self, tasks: Sequence[str]) -> fx.GraphModule:
        """A graph of just what these tasks need, ``view(image) -> {task: prediction}``, sharing parameters and buffers.

        Raises:
            SpecError: No such task.
        """
        for task in tasks:
            if task not in self.recorded:
                raise SpecError(f"unknown task {task!r}", fix=suggest(task, self.recorded))
        predictions = outputs_of(self.graph)
        view = view_of(self, {task: predictions[task] for task in tasks})
        guard(view, {task: self.recorded[task] for task in tasks})
        return view

    def tap_node(self, task: str, tap: str) -> fx.Node:
        """The node of a tap's value after fusion."""
        return self.tap_nodes()[task, tap]

    def tap_nodes(self) -> dict[tuple[str, str], fx.Node]:
        """(task, tap) -> the node of its value after fusion."""
        found: dict[tuple[str, str], fx.Node] = {}
        for node in self.graph.nodes:  # a fusion comes after the node that it fuses
            origin = origin_of(node)
            if origin is not None and origin.kind in ("branch", "fusion") and origin.task is not None and origin.tap is not None:
                found[origin.task, origin.tap] = node
        return found


def tap_values(net: Supernet, *inputs: Tensor, **named: Tensor) -> dict[tuple[str, str], Tensor]:
    """The value of every tap after fusion, differentiable: {(task, tap): value}.

    Args:
        net: The supernet; runs in the mode that it is in.
        inputs: As for ``net``.
        named: As for ``net``.
    """
    nodes = net.tap_nodes()
    changed = {nodes[task, tap] for task, branch in net.recorded.items() for tap in branch.changed if (task, tap) in nodes}
    view = view_of(net, {f"{task}:{tap}": node for (task, tap), node in nodes.items()}, copied=changed)
    values = view(*inputs, **named)
    return {key: values[":".join(key)] for key in nodes}


def penalty(net: Supernet, progress: float) -> Tensor:
    """``net.penalty(progress)``: for people with a loop of their own."""
    return net.penalty(progress)
