"""Can what arrives at a tap take its value's place? Not where the network goes on to change another value through it.

A fusion makes a new tensor. What the network then does in place to it is done to that tensor alone: a part of another value (``y[:, :2]``)
or one that other names stand for would stay as it was. So the taps that are changed later are replaced by copies, for a trial: the result
must be the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.torch_typed import seed
from graphnas.compiler.verify import leaves, untouched
from graphnas.errors import RecordError


def require_detachable(module: nn.Module, graph: fx.Graph, taps: Mapping[str, fx.Node], arguments: Mapping[str, Tensor]) -> None:
    """Refuse a tap whose value another value shares memory with, when that is changed later.

    Args:
        module: Left as it was.
        graph: Its recording.
        taps: The taps that are changed later: name -> node.
        arguments: Inputs by name.
    Raises:
        RecordError: Names the tap.
    """
    if not taps:
        return
    with untouched(module):
        module.eval()
        expected = _results(module, graph, (), arguments)
        if _same(expected, _results(module, graph, taps.values(), arguments)):
            return
        lost = [name for name, node in taps.items() if not _same(expected, _results(module, graph, [node], arguments))]
    raise RecordError(
        f"tap {(lost or list(taps))[0]!r} shares memory with another value, which the network later changes through it:"
        " what a link adds there would be lost",
        fix="tap the value that it is a part of, or one that is made from it",
    )


def _results(module: nn.Module, graph: fx.Graph, cloned: Collection[fx.Node], arguments: Mapping[str, Tensor]) -> list[Tensor]:
    """What the recording returns with copies in the place of these values."""
    trial, env = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        made = trial.node_copy(node, env.__getitem__)
        env[node] = trial.call_method("clone", (made,)) if node in cloned else made
    replayed = fx.GraphModule(module, trial)
    replayed.train(module.training)
    with untouched(module), torch.no_grad():
        seed(0)
        return [value.clone() for value in leaves(replayed(**arguments))]


def _same(first: list[Tensor], second: list[Tensor]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(one, other) or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True) for one, other in pairs)
