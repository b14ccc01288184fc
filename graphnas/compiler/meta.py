"""Typed access to ``node.meta`` of FX nodes, which is untyped: who owns a node, what made it, and which type its value has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import fx

from graphnas.errors import Where
from graphnas.graph.types import ValueType

_ORIGIN, _TYPE, _CHANGED = "graphnas_origin", "graphnas_type", "graphnas_changed_inputs"


@dataclass(frozen=True)
class Origin:
    """Why a node stands in a supernet's graph.

    Args:
        kind: input; branch (recorded from a task's network); clone (of a tap that its own branch changes in place);
            fusion (of a destination tap).
        task: The branch; ``None`` for inputs, which branches share.
        tap: The tap of a clone or a fusion.
        where: The spec line that made it, if one did.
        recorded: Name of the node of the branch's own recording that it stands for.
    """

    kind: Literal["input", "branch", "clone", "fusion"]
    task: str | None = None
    tap: str | None = None
    where: Where | None = None
    recorded: str | None = None


def set_origin(node: fx.Node, origin: Origin) -> None:
    node.meta[_ORIGIN] = origin


def origin_of(node: fx.Node) -> Origin | None:
    """The origin of a node; ``None`` for the output."""
    return node.meta.get(_ORIGIN)


def set_type(node: fx.Node, type: ValueType | None) -> None:
    node.meta[_TYPE] = type


def type_of(node: fx.Node) -> ValueType | None:
    """The type of a node's value at the example's size; ``None`` if it is no tensor."""
    return node.meta.get(_TYPE)


def set_changed_inputs(node: fx.Node, positions: Sequence[int]) -> None:
    node.meta[_CHANGED] = tuple(positions)  # not the nodes: a copy of the graph has others


def changed_inputs(node: fx.Node) -> list[fx.Node]:
    """Those of a recorded node's inputs that it changes in place."""
    inputs = node.all_input_nodes
    return [inputs[position] for position in node.meta.get(_CHANGED, ())]
