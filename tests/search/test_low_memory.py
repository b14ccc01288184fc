"""Activation checkpointing by stage: the same results bit for bit, statistics updated once, less kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.compiler.segments import Checkpointed, by_stage
from graphnas.search.parts import Parts
from graphnas.search.step import Learner, alternate_step, joint_step
from tests.builders import INTO, OUT, chain, conv, image, randomize, space
from tests.search.test_apart import Kept
from tests.search.test_parts import CPU, X, batch, plain_learner

INPUTS = {"image": X.double()}


class Deep(nn.Module):
    """Two stages with everything that must be right: running statistics, dropout, changes in place, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv()
        self.one = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv(4, 4), nn.Dropout(0.3))
        self.two = nn.Sequential(conv(4, 4), nn.BatchNorm2d(4), nn.Tanh(), nn.utils.parametrizations.spectral_norm(conv(4, 4)))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = self.one(x) + x
        x = torch.relu_(x)
        return self.head(self.two(x))


def make() -> gn.Supernet:
    torch.manual_seed(0)
    branches = {task: gn.Branch.from_module(Deep(), taps={"s1": "one", "s2": "two"}, example=X) for task in ("p", "q", "r")}
    into = {**INTO, "gate": {"function": "projected01", "initial": 0.5}}
    return randomize(gn.weave(branches, primary="p", space=space(into, OUT))).double().train()


def learner_of(net: gn.Supernet, *, apart: bool, low: bool, **options: Any) -> Learner:
    return plain_learner(net, Parts(net, "exact", CPU, apart=apart, low_memory=low), **options)


def checkpointed(gm: fx.GraphModule) -> int:
    return sum(isinstance(module, Checkpointed) for module in gm.modules())


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_low_memory_changes_nothing(apart: bool, freeze: bool) -> None:
    net = make()
    other = copy.deepcopy(net)
    for network, low in ((net, True), (other, False)):
        learner = learner_of(network, apart=apart, low=low, freeze_batch_norm=freeze)
        torch.manual_seed(1)
        alternate_step(learner, batch("p", "q", "r"), batch("p", "q", "r"), 0.5)
        alternate_step(learner, batch("q"), batch("p", "r"), 0.5)
        joint_step(learner, batch("p", "q", "r"), 0.5)
    assert int(net.get_buffer("branches.p.one.0.num_batches_tracked")) == (3 if freeze else 5)
    expected = other.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_less_is_kept() -> None:
    peaks: dict[bool, int] = {}
    for low in (False, True):
        learner = learner_of(make(), apart=True, low=low)
        Kept.alive = Kept.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            joint_step(learner, batch("p", "q", "r"), 0.5)
        peaks[low] = Kept.peak
    assert peaks[True] < 0.5 * peaks[False]


def test_segments_end_with_stages() -> None:
    net = make()
    network = Parts(net, "exact", CPU, apart=False, low_memory=True).network(net.tasks, INPUTS, statistics=True)
    assert checkpointed(network) == 2
    names = [name for name, _ in network.named_children()]
    assert names == ["segment_0", "segment_1", "segment_2"]
    heads = Parts(net, "exact", CPU, low_memory=True).heads(net.tasks, INPUTS, statistics=True)
    assert heads is not None
    assert checkpointed(heads.trunk) == 2
    torch.manual_seed(2)
    found = network(**INPUTS)
    torch.manual_seed(2)
    expected = net(**INPUTS)
    assert list(found) == list(expected)


def test_without_gradients_nothing_is_kept_to_compute_again() -> None:
    net = make().eval()
    network = Parts(net, "exact", CPU, apart=False, low_memory=True).network(net.tasks, INPUTS, statistics=True).eval()
    with torch.no_grad():
        found, expected = network(**INPUTS), net(**INPUTS)
    assert all(torch.equal(found[task], expected[task]) for task in net.tasks)
    assert not any(value.requires_grad for value in found.values())


def test_a_value_that_is_changed_in_place_later_stays_in_its_segment() -> None:
    """The tap's own tensor is changed by the ReLU behind it: the segment ends behind that."""
    net = gn.weave({"p": chain(inplace=True)}, primary="p", space=space()).train()
    cut = by_stage(net, {("p", "a"): "s1", ("p", "b"): "s2"}, (), last=False)
    first = cut.get_submodule("segment_0")
    assert isinstance(first, Checkpointed)
    assert [str(node.target) for node in first.segment.graph.nodes if node.op == "call_module"] == ["branches.p.a", "branches.p.act"]
    x = image(2, 3, 6, 6)
    found: list[list[Tensor | None]] = []
    for network in (cut, net):
        net.zero_grad()
        network(x)["p"].square().sum().backward()
        found.append([parameter.grad for parameter in net.parameters()])
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_where_no_place_is_found_nothing_is_cut() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv()

        def forward(self, image: Tensor) -> Tensor:
            x = self.a(image)
            y = x.view_as(x)
            return x.add_(y.tanh())

    net = gn.weave({"p": gn.Branch.from_module(Whole(), taps={"s": "a"}, example=X)}, primary="p", space=space())
    assert by_stage(net, {("p", "a"): "s"}, (), last=False) is net
