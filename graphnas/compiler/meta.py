"""Typed access to ``node.meta`` of FX nodes, which is untyped: who owns a node, what made it, and which type its value has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import fx

from graphnas.errors import Where
from graphnas.graph.types import ValueType

_ORIGIN, _TYPE, _CHANGED, _SHARED = "graphnas_origin", "graphnas_type", "graphnas_changed_inputs", "graphnas_shared_inputs"
_SCOPE, _ASKED = "graphnas_scope", "graphnas_asked"


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


def set_shared_inputs(node: fx.Node, positions: Sequence[int]) -> None:
    node.meta[_SHARED] = tuple(positions)


def shared_inputs(node: fx.Node) -> list[fx.Node]:
    """Those of a recorded node's inputs that its value shared memory with."""
    inputs = node.all_input_nodes
    return [inputs[position] for position in node.meta.get(_SHARED, ())]


def set_scope(node: fx.Node, path: str, asked: Sequence[str]) -> None:
    node.meta[_SCOPE], node.meta[_ASKED] = path, tuple(asked)


def scope_of(node: fx.Node) -> str:
    """Path of the module whose forward made a recorded node; ``""`` is the recorded module itself."""
    return node.meta[_SCOPE]


def asked_before(node: fx.Node) -> tuple[str, ...]:
    """Paths of the modules whose ``training`` the run looked at between the node before and this one."""
    return node.meta[_ASKED]
