"""``torch.compile`` is asked to compile what training runs, and its failures are told."""

from __future__ import annotations

import copy
from functools import partialmethod
from typing import Any

import pytest
import torch
from torch import nn

import graphnas as gn
from graphnas.errors import RunError
from graphnas.search.faults import memory_explained
from graphnas.search.parts import Parts
from graphnas.search.step import alternate_step
from graphnas.spec.search import Runtime
from tests.search.test_apart import learner_of
from tests.search.test_parts import CPU, X, batch, make

INPUTS = {"image": X.double()}


def test_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk and the heads, or a view of the whole; never the supernet itself, which is evaluated too."""
    asked: list[nn.Module] = []

    def note(module: nn.Module) -> None:
        asked.append(module)

    monkeypatch.setattr(nn.Module, "compile", note)
    net = make()
    heads = Parts(net, "exact", CPU, compiled=True).heads(net.tasks, INPUTS, statistics=True)
    assert heads is not None
    assert asked == [heads.trunk, *heads.heads.values()]
    asked.clear()
    parts = Parts(net, "exact", CPU, apart=False, compiled=True)
    network = parts.network(net.tasks, INPUTS, statistics=True)
    assert asked == [network]
    assert network is parts.network(net.tasks, INPUTS, statistics=True)
    assert network is not net
    found, expected = network(**INPUTS), net(**INPUTS)
    assert all(torch.equal(found[task], expected[task]) for task in net.tasks)


def test_it_does_not_go_with_low_memory() -> None:
    with pytest.raises(gn.SpecError) as caught:
        gn.parse_spec({"kind": "search", "runtime": {"compile": True, "memory": "low"}}, kind="search")
    assert [str(problem) for problem in caught.value.problems if problem.path.startswith("runtime")] == [
        "runtime.compile: memory: low computes stages again in a way that torch.compile does not take\n  fix: compile: false"
    ]
    assert not Runtime().compile


def test_a_failure_names_the_switch() -> None:
    class Failed(RuntimeError):
        __module__ = "torch._dynamo.exc"

    with pytest.raises(RunError) as caught, memory_explained("search, step 1"):
        raise Failed("no\nkernel")
    assert str(caught.value) == "search, step 1: torch.compile fails: no kernel\n  fix: runtime: {compile: false}"


@pytest.mark.nightly
@pytest.mark.parametrize("apart", [False, True])
def test_compiled_steps_are_alike(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dynamo, without kernels of its own: alternations in float64."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    net = make("norm")
    other = copy.deepcopy(net)
    for network, compiled in ((net, True), (other, False)):
        learner: Any = learner_of(network, apart)
        object.__setattr__(learner, "parts", Parts(network, "exact", CPU, apart=apart, compiled=compiled))
        for _ in range(2):
            alternate_step(learner, batch("p", "q", "r"), batch("p", "q", "r"), 0.5)
    expected = other.state_dict()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-13)
