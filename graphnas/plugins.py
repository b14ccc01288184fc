"""``gn.register_...``: names of the user's own, beside the built-in ones in specs, schemas, messages and lists.

A module that calls these is named on the command line (``--plugin MODULE``) or by an installed package's ``graphnas.plugins`` entry point.
A spec file can't name one: what a file says is never imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graphnas import registry
from graphnas.errors import GraphNASError
from graphnas.registry import Registry

if TYPE_CHECKING:
    from torch import nn


def register_operation(name: str, operation: type[Any]) -> None:
    """Add a node operation (subclass of ``Operation``) or a link operation (``LinkOperation``); its field ``op`` must say the same name."""
    from graphnas.ops.base import LinkOperation, Operation

    if issubclass(operation, LinkOperation):
        _add(registry.link_operations, "op", name, operation, LinkOperation)
    else:
        _add(registry.operations, "op", name, operation, Operation)


def register_gate(name: str, gate: type[Any]) -> None:
    """Add a gate function, a subclass of ``GateFunction``; its field ``function`` must say the same name."""
    from graphnas.gates.base import GateFunction

    _add(registry.gates, "function", name, gate, GateFunction)


def register_penalty(name: str, penalty: type[Any]) -> None:
    """Add a penalty, a subclass of ``Penalty``; its field ``type`` must say the same name."""
    from graphnas.gates.base import Penalty

    _add(registry.penalties, "type", name, penalty, Penalty)


def register_task_type(name: str, task_type: type[Any]) -> None:
    """Add a task type, a subclass of ``TaskType``; its field ``type`` must say the same name."""
    from graphnas.tasks.base import TaskType

    _add(registry.task_types, "type", name, task_type, TaskType)


def register_layout(name: str, layout: type[Any]) -> None:
    """Add a layout of data on disk, a subclass of ``Layout``; its field ``layout`` must say the same name."""
    from graphnas.data.base import Layout

    _add(registry.layouts, "layout", name, layout, Layout)


def register_balance(name: str, balance: type[Any]) -> None:
    """Add a way to combine losses, a subclass of ``Balance``; its field ``type`` must say the same name."""
    from graphnas.search.balance.base import Balance

    _add(registry.balances, "type", name, balance, Balance)


def register_network(name: str, network: Callable[..., nn.Module]) -> None:
    """Add a network: a class, or a function that returns an ``nn.Module``.

    In YAML it is an operation of that name, its fields the keyword arguments, so that a run can be resumed and an artifact loaded from the
    spec alone.
    """
    if not callable(network):
        raise GraphNASError(f"{name!r} is no network: {network!r} can't be called", fix="give a class, or a function that returns a module")
    registry.networks.register(name, network)


def _add(entries: Registry, field: str, name: str, model: type[Any], base: type[Any]) -> None:
    if not issubclass(model, base):
        raise GraphNASError(f"{model.__name__} is no {entries.kind}", fix=f"make it a subclass of {base.__name__}")
    said = model.model_fields[field].default if field in model.model_fields else None
    if said != name:
        raise GraphNASError(
            f"{model.__name__} is registered as {name!r}, its field {field!r} says {said!r}", fix=f'{field}: Literal["{name}"] = "{name}"'
        )
    entries.register(name, model)
