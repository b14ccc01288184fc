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
    asked: list[tuple[nn.Module, str]] = []

    def note(module: nn.Module, *, mode: str) -> None:
        asked.append((module, mode))

    monkeypatch.setattr(nn.Module, "compile", note)
    net = make()
    heads = Parts(net, "exact", CPU, compiled="default").heads(net.tasks, INPUTS, statistics=True)
    assert heads is not None
    assert asked == [(module, "default") for module in (heads.trunk, *heads.heads.values())]
    asked.clear()
    parts = Parts(net, "exact", CPU, apart=False, compiled="max-autotune")
    network = parts.network(net.tasks, INPUTS, statistics=True)
    assert asked == [(network, "max-autotune")]
    assert network is parts.network(net.tasks, INPUTS, statistics=True)
    assert network is not net
    found, expected = network(**INPUTS), net(**INPUTS)
    assert all(torch.equal(found[task], expected[task]) for task in net.tasks)


@pytest.mark.parametrize(
    ("mode", "marks"), [("default", 0), ("reduce-overhead", 2), ("max-autotune", 2), ("max-autotune-no-cudagraphs", 0)]
)
@pytest.mark.parametrize("apart", [False, True])
def test_cuda_graphs_are_told_where_a_step_begins(mode: str, marks: int, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the network of each batch is handed out, and never between its trunk and its heads."""
    told: list[str] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: told.append("begin"))
    monkeypatch.setattr(nn.Module, "compile", lambda module, *, mode: module.register_forward_hook(lambda *_: told.append("run")))
    net = make()
    learner: Any = learner_of(net, apart)
    object.__setattr__(learner, "parts", Parts(net, "exact", CPU, apart=apart, compiled=mode))
    alternate_step(learner, batch("p", "q", "r"), batch("p", "q", "r"), 0.5)
    runs = 1 + len(net.tasks) if apart else 1
    assert told == (["begin"] * (marks // 2) + ["run"] * runs) * 2


@pytest.mark.parametrize(
    ("written", "mode"), [(False, None), (True, "default"), ("default", "default"), ("reduce-overhead", "reduce-overhead")]
)
def test_modes(written: bool | str, mode: str | None) -> None:
    assert Runtime.model_validate({"compile": written}).compile_mode == mode


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
    with pytest.raises(RunError) as caught, memory_explained("search, step 2"):
        raise RuntimeError("Error: accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run.")
    assert str(caught.value) == (
        "search, step 2: CUDA graphs fail: Error: accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run.\n"
        "  fix: runtime: {compile: true}"
    )


@pytest.mark.nightly
@pytest.mark.parametrize("apart", [False, True])
def test_compiled_steps_are_alike(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dynamo, without kernels of its own: alternations in float64."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    net = make("norm")
    other = copy.deepcopy(net)
    for network, compiled in ((net, "default"), (other, None)):
        learner: Any = learner_of(network, apart)
        object.__setattr__(learner, "parts", Parts(network, "exact", CPU, apart=apart, compiled=compiled))
        for _ in range(2):
            alternate_step(learner, batch("p", "q", "r"), batch("p", "q", "r"), 0.5)
    expected = other.state_dict()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-13)
