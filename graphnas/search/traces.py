"""Which nodes of a network leave a trace when they run: running statistics that they update, random numbers that they draw.

What a batch does not need can be left out exactly where it leaves none. That can't be read off a graph, since a module may do anything; so
the network is run once on a batch, without gradients, and every node is watched. Buffers and generators are then put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler import Supernet
from graphnas.search import random_state

_Generators = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class Traces:
    """Names of nodes.

    Args:
        drawing: Those that draw random numbers.
        changing: Those that change buffers.
    """

    drawing: frozenset[str] = frozenset()
    changing: frozenset[str] = frozenset()


@torch.no_grad()
def traces(net: Supernet, inputs: Mapping[str, Tensor], device: torch.device) -> Traces:
    """Names of the nodes that leave a trace, in the mode that the network is in.

    Args:
        net: The supernet; as it was afterwards.
        inputs: Of a batch, by the names of the graph's inputs.
        device: Whose generator is watched beside those of the CPU.
    """
    watching = _Watching(net, device)
    before = [(buffer, buffer.clone()) for buffer in net.buffers()]
    with random_state.given_back(device):
        watching.run(*(inputs[str(node.target)] for node in net.graph.find_nodes(op="placeholder")), enable_io_processing=False)
    for buffer, value in before:
        buffer.copy_(value)
    return Traces(frozenset(watching.drawing), frozenset(watching.changing))


class _Watching(fx.Interpreter):
    """Runs a graph node by node and compares what was before and after each."""

    def __init__(self, net: Supernet, device: torch.device) -> None:
        super().__init__(net)
        self.drawing: set[str] = set()
        self.changing: set[str] = set()
        self._device = device
        self._buffers = {id(buffer) for buffer in net.buffers()}

    def run_node(self, n: fx.Node) -> Any:
        if n.op not in ("call_module", "call_function", "call_method"):
            return super().run_node(n)
        held = [(buffer, buffer.clone()) for buffer in self._held(n)]
        before = random_state.capture(self._device)
        result = super().run_node(n)
        if _moved(before, random_state.capture(self._device)):
            self.drawing.add(n.name)
        if any(not torch.equal(buffer, value) for buffer, value in held):
            self.changing.add(n.name)
        return result

    def _held(self, node: fx.Node) -> Iterator[Tensor]:
        """The buffers that a node may change."""
        if node.op == "call_module":
            module = self.fetch_attr(str(node.target))
            assert isinstance(module, nn.Module)
            yield from module.buffers()
        else:
            read = (self.env.get(other) for other in node.all_input_nodes)
            yield from (value for value in read if isinstance(value, Tensor) and id(value) in self._buffers)


def _moved(before: _Generators, after: _Generators) -> bool:
    """Whether a random number generator has drawn something."""
    return before[1] != after[1] or any(not torch.equal(state, after[0][name]) for name, state in before[0].items())
