"""Names of the user's own: registered once, used like built-in ones, refused with a fix when something is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

import graphnas as gn
from graphnas import registry
from graphnas.gates.base import GateFunction, Penalty
from graphnas.gates.l1 import L1
from graphnas.gates.sigmoid import Sigmoid

REGISTRIES = [entries for entries in vars(registry).values() if isinstance(entries, registry.Registry)]


class Steep(Sigmoid):
    """Another name for the same."""

    function: Literal["steep"] = "steep"  # pyright: ignore[reportIncompatibleVariableOverride]


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for entries in REGISTRIES:
        monkeypatch.setattr(entries, "_loaded", dict(entries._loaded))


def test_a_registered_name_is_found() -> None:
    assert gn.register_gate(Steep) is Steep
    assert registry.gates.get("steep") is Steep
    assert registry.gates.names()[-1] == "steep"


def test_registering_the_same_thing_twice_is_harmless() -> None:
    gn.register_gate(Steep)
    gn.register_gate(Steep)
    assert registry.gates.names().count("steep") == 1


def test_a_built_in_name_is_taken() -> None:
    with pytest.raises(gn.GraphNASError) as raised:
        gn.register_gate(type("Other", (Sigmoid,), {}))
    assert str(raised.value) == "gate function 'sigmoid' is registered already\n  fix: choose another name"


class Unnamed(GateFunction):
    pass


class Unfinished(Penalty):
    type: Literal["unfinished"] = "unfinished"


@pytest.mark.parametrize(
    ("register", "cls", "message"),
    [
        (gn.register_penalty, Steep, "Steep is no penalty\n  fix: derive it from graphnas.gates.base.Penalty"),
        (gn.register_gate, L1, "L1 is no gate function\n  fix: derive it from graphnas.gates.base.GateFunction"),
        (gn.register_gate, Unnamed, 'Unnamed has no name\n  fix: function: Literal["my_name"] = "my_name"'),
        (gn.register_penalty, Unfinished, "Unfinished does not define __call__\n  fix: define all methods of a Penalty"),
        (gn.register_task_type, Steep, "Steep is no task type\n  fix: derive it from graphnas.tasks.base.TaskType"),
        (gn.register_layout, Steep, "Steep is no layout\n  fix: derive it from graphnas.data.base.Layout"),
        (gn.register_balance, Steep, "Steep is no balance\n  fix: derive it from graphnas.search.balance.base.Balance"),
    ],
)
def test_refusals(register: Callable[[Any], Any], cls: type[Any], message: str) -> None:
    with pytest.raises(gn.GraphNASError) as raised:
        register(cls)
    assert str(raised.value) == message
