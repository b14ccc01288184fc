"""``gn.register_...``: names of the user's own, beside the built-in ones in specs, schemas, messages and lists.

A module that calls these is named on the command line (``--plugin MODULE``) or by an installed package's ``graphnas.plugins`` entry point.
A spec file can't name one: what a file says is never imported. All work as decorators of a class; its name is the default of the field that
names its like in specs (``function: Literal["tanh"] = "tanh"``). Operations and networks are registered by ``graphnas.ops.register``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from graphnas import registry
from graphnas.errors import GraphNASError
from graphnas.registry import Registry

Model = TypeVar("Model", bound=type[Any])


def register_gate(cls: Model) -> Model:
    """Add a gate function, a subclass of ``GateFunction``, under the name in its field ``function``."""
    from graphnas.gates.base import GateFunction

    return _add(registry.gates, cls, GateFunction, "function")


def register_penalty(cls: Model) -> Model:
    """Add a penalty, a subclass of ``Penalty``, under the name in its field ``type``."""
    from graphnas.gates.base import Penalty

    return _add(registry.penalties, cls, Penalty, "type")


def register_task_type(cls: Model) -> Model:
    """Add a task type, a subclass of ``TaskType``, under the name in its field ``type``."""
    from graphnas.tasks.base import TaskType

    return _add(registry.task_types, cls, TaskType, "type")


def register_layout(cls: Model) -> Model:
    """Add a layout of data on disk, a subclass of ``Layout``, under the name in its field ``layout``."""
    from graphnas.data.base import Layout

    return _add(registry.layouts, cls, Layout, "layout")


def register_balance(cls: Model) -> Model:
    """Add a way to combine losses, a subclass of ``Balance``, under the name in its field ``type``."""
    from graphnas.search.balance.base import Balance

    return _add(registry.balances, cls, Balance, "type")


def _add(entries: Registry, cls: Model, base: type[Any], field: str) -> Model:
    """Register a class under its own name.

    Raises:
        GraphNASError: It is of another kind, has no name, is abstract, or its name is taken.
    """
    if not issubclass(cls, base):
        raise GraphNASError(f"{cls.__name__} is no {entries.kind}", fix=f"derive it from {base.__module__}.{base.__name__}")
    name = cls.model_fields[field].default if field in cls.model_fields else None
    if not isinstance(name, str):
        raise GraphNASError(f"{cls.__name__} has no name", fix=f'{field}: Literal["my_name"] = "my_name"')
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise GraphNASError(f"{cls.__name__} does not define {', '.join(missing)}", fix=f"define all methods of a {base.__name__}")
    entries.register(name, cls)
    return cls
