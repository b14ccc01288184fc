"""Activation checkpointing by stage: a graph as a chain of segments, of each of which only inputs and outputs are kept.

What a segment computed in between is computed again when autograd goes back through it (``torch.utils.checkpoint``, not reentrant). Then
random numbers are those of the first time, and buffers that the segment changes (running statistics) are first as they were then, and
afterwards as they came to be: each is updated once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]  # its context_fn

from graphnas.compiler.direct import DirectModule
from graphnas.compiler.meta import changed_inputs, origin_of
from graphnas.compiler.views import memories


def by_stage(gm: fx.GraphModule, stages: Mapping[tuple[str, str], str], changing: Collection[str], *, last: bool) -> fx.GraphModule:
    """The same graph in segments that end where the last branch has come to the end of a stage.

    Args:
        gm: The graph; not changed. Parameters and buffers are shared.
        stages: (task, tap) -> its stage.
        changing: Names of the nodes that change buffers.
        last: Whether what follows the last stage is a segment too: not where autograd goes back from there at once.
    Returns:
        ``gm`` itself where no place is found at which it could be cut: a value may not be changed in place in a later segment.
    """
    nodes = [node for node in gm.graph.nodes if node.op not in ("placeholder", "output")]
    ends = _ends(gm.graph, nodes, stages)
    if not ends or (ends == [len(nodes)] and not last):
        return gm
    bounds = [0, *ends, *([] if ends[-1] == len(nodes) else [len(nodes)])]
    segments = [nodes[start:end] for start, end in pairwise(bounds)]
    holder, graph = nn.Module(), fx.Graph()
    env = {node: graph.node_copy(node) for node in gm.graph.find_nodes(op="placeholder")}
    for index, members in enumerate(segments):
        plain = index + 1 == len(segments) and not last
        _append(gm, graph, env, members, holder, f"segment_{index}", None if plain else changing)
    graph.output(fx.map_arg(gm.graph.output_node().args[0], env.__getitem__))
    made = DirectModule(holder, graph, class_name="Segments")
    return made.train(gm.training)


def _ends(graph: fx.Graph, nodes: Sequence[fx.Node], stages: Mapping[tuple[str, str], str]) -> list[int]:
    """Numbers of nodes after which a segment ends, ascending: at the end of a stage, or as soon after it as that can be."""
    wanted: dict[str, int] = {}
    for index, node in enumerate(nodes, start=1):
        origin = origin_of(node)
        if origin is not None and origin.task is not None and origin.tap is not None and origin.kind in ("branch", "fusion"):
            stage = stages.get((origin.task, origin.tap))
            wanted |= {} if stage is None else {stage: index}
    allowed = _allowed(graph, nodes)
    following = (next((end for end in range(index, len(nodes) + 1) if allowed[end]), len(nodes)) for index in wanted.values())
    return sorted(set(following) - {0})


def _allowed(graph: fx.Graph, nodes: Sequence[fx.Node]) -> list[bool]:
    """For every number of first nodes whether the others change nothing in place that these made."""
    memory = memories(graph)
    first = {memory(node): 0 for node in graph.find_nodes(op="placeholder")}
    allowed = [True] * (len(nodes) + 1)
    for index, node in enumerate(nodes):
        for changed in changed_inputs(node):
            for between in range(first.get(memory(changed), index) + 1, index + 1):
                allowed[between] = False
        first.setdefault(memory(node), index)
    return allowed


def _append(
    gm: fx.GraphModule, graph: fx.Graph, env: dict[fx.Node, fx.Node], members: Sequence[fx.Node], holder: nn.Module, name: str,
    changing: Collection[str] | None,
) -> None:  # fmt: skip
    """Add a segment to the graph of segments: a call, and the values that come out of it."""
    inside = set(members)
    read = list(dict.fromkeys(other for node in members for other in node.all_input_nodes if other not in inside))
    given = [node for node in members if any(user not in inside for user in node.users)]
    inner = fx.Graph()
    own = {node: inner.placeholder(node.name) for node in read}
    for node in members:
        own[node] = inner.node_copy(node, own.__getitem__)
    inner.output(tuple(own[node] for node in given))
    segment = DirectModule(gm, inner, class_name="Segment")
    if changing is None:
        holder.add_module(name, segment)
    else:
        holder.add_module(name, Checkpointed(segment, _buffers(gm, members, changing)))
    called = graph.call_module(name, tuple(env[node] for node in read))
    for index, node in enumerate(given):
        env[node] = graph.call_function(getitem, (called, index))


def _buffers(gm: fx.GraphModule, members: Sequence[fx.Node], changing: Collection[str]) -> list[Tensor]:
    """The buffers that these nodes may change."""
    found: dict[int, Tensor] = {}
    own = {id(buffer) for buffer in gm.buffers()}
    for node in members:
        if node.name not in changing:
            continue
        if node.op == "call_module":
            found |= {id(buffer): buffer for buffer in gm.get_submodule(str(node.target)).buffers()}
        for read in node.all_input_nodes:
            value = _attribute(gm, read) if read.op == "get_attr" else None
            if isinstance(value, Tensor) and id(value) in own:
                found[id(value)] = value
    return list(found.values())


def _attribute(gm: fx.GraphModule, node: fx.Node) -> Any:
    owner, _, name = str(node.target).rpartition(".")
    return getattr(gm.get_submodule(owner), name, None)


class Checkpointed(nn.Module):
    """A segment whose inner values are computed again on the way back.

    Args:
        segment: It.
        changed: The buffers that it changes.
    """

    def __init__(self, segment: fx.GraphModule, changed: Sequence[Tensor]) -> None:
        super().__init__()
        self.segment = segment
        self._changed = tuple(changed)

    def forward(self, *values: Any) -> Any:
        """What the segment returns."""
        if not torch.is_grad_enabled():
            return self.segment(*values)
        before = [buffer.detach().clone() for buffer in self._changed]
        contexts: Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]] = partial(_contexts, self._changed, before)
        return checkpoint(self.segment, *values, use_reentrant=False, context_fn=contexts)


def _contexts(buffers: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), _as_they_were(buffers, before)


@contextmanager
def _as_they_were(buffers: Sequence[Tensor], before: Sequence[Tensor]) -> Generator[None]:
    """Buffers have these values meanwhile. (By ``data``: autograd must not take it for a change of what it kept.)"""
    now = [buffer.detach().clone() for buffer in buffers]
    for buffer, value in zip(buffers, before, strict=True):
        buffer.data.copy_(value)
    try:
        yield
    finally:
        for buffer, value in zip(buffers, now, strict=True):
            buffer.data.copy_(value)
