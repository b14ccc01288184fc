"""Run a network on the inputs of a batch, from which it takes those that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile

from torch import Tensor, fx, nn


def predict(network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``{task: prediction}``, from those of the inputs that the network has; another task's network may need the others."""
    return network(**(own_inputs(network, inputs) if isinstance(network, fx.GraphModule) else inputs))


def own_inputs(network: fx.GraphModule, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs that a graph has."""
    names = [str(node.target) for node in takewhile(lambda node: node.op == "placeholder", network.graph.nodes)]
    return select_inputs(inputs, names)


def select_inputs(inputs: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The inputs that a network's forward has; where the data has but one, that one whatever it is called."""
    only = next(iter(inputs.values())) if len(inputs) == 1 else None
    return {name: inputs[name] if only is None else only for name in names}
