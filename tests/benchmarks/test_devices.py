"""Benchmarks run where ``--device`` says: here on torch's meta device, whose tensors have sizes and no values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import graphnas as gn
from benchmarks import search_step
from benchmarks.end_to_end import Clock, clock_of
from benchmarks.measure import busy_seconds
from benchmarks.pairs import PAIRS
from benchmarks.reference.search import Supernet
from tests.builders import chain

META = torch.device("meta")


class Small:
    """What a pair makes, in small; on the CPU."""

    memory_format = "channels_last"

    def supernet(self, space: Any) -> gn.Supernet:
        return gn.weave({task: chain() for task in ("normals", "segmentation")}, primary="normals", space=space).train()

    def by_hand(self) -> Supernet:
        class Tower(nn.Linear):
            stages = (1,)

        towers: list[Any] = [Tower(2, 2), Tower(2, 2)]
        return Supernet(*towers, widths=(2,))


def test_both_sides_of_a_search_step_are_there() -> None:
    pair: Any = Small()
    net, search = search_step.woven(pair, "aux-nas", META), search_step.hand_search(pair, META)
    learner = search_step.learner_of(net)
    assert learner.precision.device == META
    for module in (net, search.net):
        assert {tensor.device for tensor in module.state_dict().values()} == {META}
    for optimizer in (learner.weights, learner.alphas, search.weights, search.alphas):
        assert optimizer is not None
        assert {parameter.device for group in optimizer.param_groups for parameter in group["params"]} == {META}
    for image, labels in replace(PAIRS["resnet18-128"], size=8).batches(META):
        assert {tensor.device for tensor in (image, *labels)} == {META}


def test_on_cuda_a_part_of_a_search_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    device = torch.device("cuda")
    with clock_of(device).part("updates"):
        assert waited == [device]
    assert waited == [device, device]
    assert isinstance(clock_of(torch.device("cpu")), Clock)


def test_on_cuda_seconds_are_those_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("event")

        def elapsed_time(self, other: Event) -> float:
            return 1500.0 if other is not self else 0.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("synchronize"))
    assert busy_seconds(lambda: done.append("work"), torch.device("cuda")) == 1.5
    assert done == ["synchronize", "event", "work", "event", "synchronize"]
