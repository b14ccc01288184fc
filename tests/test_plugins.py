"""Names of the user's own: registered once, used like built-in ones, refused with a fix when they contradict themselves."""

from __future__ import annotations

from typing import Literal

import pytest

import graphnas as gn
from graphnas import registry
from graphnas.gates.sigmoid import Sigmoid
from graphnas.ops.link_simple import LinkIdentity


class SteepSigmoid(Sigmoid):
    """Another name for the same."""

    function: Literal["steep"] = "steep"  # pyright: ignore[reportIncompatibleVariableOverride]


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for entries in (registry.gates, registry.networks, registry.link_operations):
        monkeypatch.setattr(entries, "_loaded", dict(entries._loaded))


def test_a_registered_name_is_found() -> None:
    gn.register_gate("steep", SteepSigmoid)
    assert registry.gates.get("steep") is SteepSigmoid
    assert registry.gates.names()[-1] == "steep"


def test_registering_the_same_thing_twice_is_harmless() -> None:
    gn.register_gate("steep", SteepSigmoid)
    gn.register_gate("steep", SteepSigmoid)


def test_a_link_operation_is_told_from_a_node_operation() -> None:
    class Copy(LinkIdentity):
        op: Literal["copy"] = "copy"  # pyright: ignore[reportIncompatibleVariableOverride]

    gn.register_operation("copy", Copy)
    assert registry.link_operations.get("copy") is Copy


def test_a_built_in_name_is_taken() -> None:
    with pytest.raises(gn.GraphNASError) as raised:
        gn.register_gate("sigmoid", type("Other", (Sigmoid,), {}))
    assert str(raised.value) == "gate function 'sigmoid' is registered already\n  fix: choose another name"


def test_the_field_must_say_the_same_name() -> None:
    with pytest.raises(gn.GraphNASError) as raised:
        gn.register_gate("steeper", SteepSigmoid)
    assert str(raised.value) == (
        "SteepSigmoid is registered as 'steeper', its field 'function' says 'steep'\n  fix: function: Literal[\"steeper\"] = \"steeper\""
    )


def test_the_wrong_kind_of_class() -> None:
    with pytest.raises(gn.GraphNASError) as raised:
        gn.register_penalty("steep", SteepSigmoid)
    assert str(raised.value) == "SteepSigmoid is no penalty\n  fix: make it a subclass of Penalty"


def test_a_network_must_be_callable() -> None:
    with pytest.raises(gn.GraphNASError) as raised:
        gn.register_network("mine", 3)
    assert str(raised.value) == "'mine' is no network: 3 can't be called\n  fix: give a class, or a function that returns a module"
