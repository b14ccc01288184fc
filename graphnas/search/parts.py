"""The part of a supernet that the losses of a batch need: what only tasks without labels in it would read is not run.

With ``exact`` (the default) that holds for what leaves no trace (see ``traces``): a batch norm of a branch that takes no part would still
see the batch, and a dropout would still draw, so they run as if nothing was left out, without gradients going through them. With ``always``
they do not: running statistics are then those of batches that have the task's labels.

In the alpha half of an alternation a loss that no alpha reaches is left out too: its gradient would be nothing. Which losses those are is
read off the graph, so once the last link into the primary is cut, its loss is one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, fx

from graphnas.compiler import Supernet
from graphnas.compiler.fusion import Fusion
from graphnas.compiler.guards import guard
from graphnas.compiler.heads import Heads, split_heads
from graphnas.compiler.meta import origin_of
from graphnas.compiler.segments import by_stage
from graphnas.compiler.views import needed_nodes, outputs_of, view_of
from graphnas.search.prediction import own_inputs
from graphnas.search.traces import Traces, traces
from graphnas.spec.search import CUDA_GRAPHS

_Key = tuple[frozenset[str], bool]


class Parts:
    """Parts of one supernet, each made once; a supernet from which links are cut has other parts.

    Args:
        net: The supernet.
        leave_out: exact, always, or never.
        device: Where it runs.
        apart: Whether heads may be run one after the other.
        low_memory: Whether what lies between the ends of stages is computed again on the way back.
        compiled: The mode in which ``torch.compile`` compiles what is run, if it does; not with ``low_memory``.
    """

    def __init__(
        self,
        net: Supernet,
        leave_out: Literal["exact", "always", "never"],
        device: torch.device,
        *,
        apart: bool = True,
        low_memory: bool = False,
        compiled: str | None = None,
    ) -> None:
        self._net = net
        self._leave_out = leave_out
        self._device = device
        self._apart = apart
        self._low_memory = low_memory
        self._compile = compiled
        self._replays = compiled in CUDA_GRAPHS
        self._compiled: dict[_Key, fx.GraphModule] = {}
        self._graph: fx.Graph = net.graph
        self._made: dict[_Key, fx.GraphModule] = {}
        self._in_segments: dict[_Key, fx.GraphModule] = {}
        self._heads: dict[_Key, Heads | None] = {}
        self._traces: dict[bool, Traces] = {}
        self._reached: frozenset[str] | None = None

    def network(self, tasks: Collection[str], inputs: Mapping[str, Tensor], *, statistics: bool) -> fx.GraphModule:
        """What predicts these tasks, in training mode: ``network(**inputs) -> {task: prediction}``; the supernet where that needs all.

        Args:
            tasks: Those whose predictions are wanted.
            inputs: Of the batch, by the names of the graph's inputs.
            statistics: Whether batch norms update their running statistics in this step.
        """
        part = self._part(tasks, inputs, statistics)
        key = (frozenset(tasks), statistics)
        if self._low_memory and key not in self._in_segments:
            self._in_segments[key] = self._segments(part, part, inputs, statistics, last=False)
        if self._compile is not None and key not in self._compiled:
            self._compiled[key] = self._to_compile(part, self._compile)
        self._begin()
        return self._compiled[key] if self._compile is not None else self._in_segments[key] if self._low_memory else part

    def heads(self, tasks: Collection[str], inputs: Mapping[str, Tensor], *, statistics: bool) -> Heads | None:
        """The same as a trunk and heads; ``None`` where that can't be, or is not wanted. Arguments as for ``network``."""
        if not self._apart:
            return None
        part = self._part(tasks, inputs, statistics)
        key = (frozenset(tasks), statistics)
        if key not in self._heads:
            made = split_heads(part, self._traces_of(inputs, statistics).drawing) if len(self._net.tasks) > 1 else None
            if made is not None:
                self._guard(made.trunk, part)
            if made is not None and self._low_memory:
                made = replace(made, trunk=self._segments(made.trunk, part, inputs, statistics, last=True))
            for module in () if made is None or self._compile is None else (made.trunk, *made.heads.values()):
                module.compile(mode=self._compile)  # pyright: ignore[reportUnknownMemberType]
            self._heads[key] = made
        self._begin()
        return self._heads[key]

    def _begin(self) -> None:
        """What CUDA graphs hold of the batch before may be written over, and nothing of this one, until the next asks for its network.

        Else torch takes each way back for the end of a step, also that of a first head, and gives up what the trunk has kept for its own.
        """
        if self._replays:
            torch.compiler.cudagraph_mark_step_begin()

    def reached_by_alphas(self) -> frozenset[str]:
        """The tasks whose predictions depend on alphas that the alpha steps train."""
        self._refresh()
        if self._leave_out == "never":
            return frozenset(self._net.tasks)
        if self._reached is None:
            trained = {id(alpha) for alpha in self._net.alpha_parameters()}
            carrying = {node for node in self._graph.nodes if _has_one_of(self._net, node, trained)}
            outputs = outputs_of(self._graph)
            self._reached = frozenset(task for task, node in outputs.items() if not carrying.isdisjoint(needed_nodes(self._graph, [node])))
        return self._reached

    def _part(self, tasks: Collection[str], inputs: Mapping[str, Tensor], statistics: bool) -> fx.GraphModule:
        """The supernet, or the part of it that these tasks need."""
        self._refresh()
        wanted = frozenset(tasks)
        if self._leave_out == "never" or wanted.issuperset(self._net.tasks):
            return self._net
        if (wanted, statistics) not in self._made:
            self._made[wanted, statistics] = self._without_others(wanted, inputs, statistics)
        return self._made[wanted, statistics]

    def _without_others(self, tasks: frozenset[str], inputs: Mapping[str, Tensor], statistics: bool) -> fx.GraphModule:
        outputs = {task: node for task, node in outputs_of(self._graph).items() if task in tasks}
        needed = needed_nodes(self._graph, outputs.values())
        left = self._traces_of(inputs, statistics) if self._leave_out == "exact" else Traces()
        also = [node for node in self._graph.nodes if node.name in left.drawing | left.changing and node not in needed]
        part = view_of(self._net, outputs, also=also)
        self._guard(part, part)
        return part.train()

    def _segments(
        self, gm: fx.GraphModule, whole: fx.GraphModule, inputs: Mapping[str, Tensor], statistics: bool, *, last: bool
    ) -> fx.GraphModule:
        stages = {
            (task, tap.name): stage
            for task, branch in self._net.recorded.items()
            for stage, taps in branch.graph.stages.items()
            for tap in taps
        }
        made = by_stage(gm, stages, self._traces_of(inputs, statistics).changing, last=last)
        if made is not gm:
            self._guard(made, whole)
        return made

    def _to_compile(self, part: fx.GraphModule, mode: str) -> fx.GraphModule:
        """A part that is compiled when it first runs; the supernet itself, which is evaluated and copied too, stays as it is."""
        made = part
        if part is self._net:
            made = view_of(part, outputs_of(part.graph)).train()
            self._guard(made, part)
        made.compile(mode=mode)  # pyright: ignore[reportUnknownMemberType]
        return made

    def _traces_of(self, inputs: Mapping[str, Tensor], statistics: bool) -> Traces:
        if statistics not in self._traces:
            self._traces[statistics] = traces(self._net, own_inputs(self._net, inputs), self._device)
        return self._traces[statistics]

    def _guard(self, part: fx.GraphModule, whole: fx.GraphModule) -> None:
        """Let a part refuse what the recordings of the tasks that run in the whole do not hold for."""
        running = {origin.task for node in whole.graph.nodes if (origin := origin_of(node)) is not None}
        guard(part, {task: branch for task, branch in self._net.recorded.items() if task in running})

    def _refresh(self) -> None:
        """Forget what was made of a graph with links that are cut by now, or without some that are back."""
        if self._graph is not self._net.graph:
            self._graph = self._net.graph
            self._made, self._in_segments, self._compiled, self._heads, self._traces = {}, {}, {}, {}, {}
            self._reached = None


def _has_one_of(net: Supernet, node: fx.Node, alphas: Collection[int]) -> bool:
    """Whether a node is a fusion one of whose running links has one of these alphas."""
    origin = origin_of(node)
    if origin is None or origin.kind != "fusion":
        return False
    fusion = net.get_submodule(str(node.target))
    return isinstance(fusion, Fusion) and any(id(link.alpha) in alphas for link in fusion.running_links())
