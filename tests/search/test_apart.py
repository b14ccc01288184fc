"""Heads run one after the other: the same gradients, the same statistics and draws, and the memory of one head."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.heads import Heads, split_heads
from graphnas.search.parts import Parts
from graphnas.search.step import Learner, NotFinite, alternate_step, joint_step
from tests.builders import INTO, OUT, chain, image, randomize, space
from tests.search.test_parts import CPU, Net, X, batch, make, plain_learner

INPUTS = {"image": X.double()}


def learner_of(net: gn.Supernet, apart: bool, balance: str = "sum", **options: Any) -> Learner:
    parts, fading = Parts(net, "exact", CPU, apart=apart), {"start": 3, "end": 0}
    return plain_learner(net, parts, balance=balance, weight=fading, penalty=net.penalty, **options)


def trained(net: gn.Supernet, apart: bool, updates: str, balance: str = "sum") -> tuple[list[dict[str, float]], dict[str, Tensor], float]:
    """Losses of three updates, the state that they lead to, and a random number after them."""
    learner = learner_of(net, apart, balance)
    torch.manual_seed(3)
    found: list[dict[str, float]] = []
    for first, second in ((batch("p", "q", "r"), batch("p", "q", "r")), (batch("p", "q"), batch("q", "r")), (batch("r"), batch("p"))):
        found.append(joint_step(learner, second, 0.3) if updates == "joint" else alternate_step(learner, first, second, 0.3))
    return found, net.state_dict(), float(torch.rand(()))


@pytest.mark.parametrize("updates", ["joint", "alternate"])
@pytest.mark.parametrize("head", ["plain", "norm", "drop"])
def test_apart_is_together(head: str, updates: str) -> None:
    net = make(head, penalty={"type": "l1", "strength": 2, "of": "contribution"})
    other = copy.deepcopy(net)
    losses, state, drawn = trained(net, True, updates)
    expected_losses, expected, expected_drawn = trained(other, False, updates)
    for found, wanted in zip(losses, expected_losses, strict=True):
        assert found == pytest.approx(wanted, rel=1e-6)  # task types compute in float32
    assert drawn == expected_drawn
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-13)


def test_heads_are_cut_where_the_last_link_is() -> None:
    net = make()
    heads = Parts(net, "exact", CPU).heads(net.tasks, INPUTS, statistics=True)
    assert heads is not None
    assert list(heads.heads) == ["p", "q", "r"]
    called = {task: [str(node.target) for node in head.graph.nodes if node.op == "call_module"] for task, head in heads.heads.items()}
    assert called == {task: [f"joints.{task}.b", f"branches.{task}.middle", f"branches.{task}.head"] for task in ("p", "q", "r")}
    found, expected = _through(heads, X.double()), net(**INPUTS)
    assert all(torch.equal(found[task], expected[task]) for task in net.tasks)


def test_draws_in_another_order_would_be_other_draws() -> None:
    """The auxiliary runs to its end before the primary goes on, whose own draws would come first if heads came last."""

    class Drawing(Net):
        def __init__(self) -> None:
            super().__init__("drop")
            self.b = nn.Sequential(self.b, nn.Dropout(0.5))

    branches = {task: gn.Branch.from_module(Drawing(), taps={"s1": "a", "s2": "b"}, example=X) for task in ("p", "q")}
    net = gn.weave(branches, primary="p", space=space(INTO)).double().train()
    drawing = [node for node in net.graph.nodes if str(node.target).endswith(("middle", ".b")) and "branches" in str(node.target)]
    assert [str(node.target) for node in drawing] == ["branches.q.b", "branches.q.middle", "branches.p.b", "branches.p.middle"]
    assert split_heads(net, [node.name for node in drawing]) is None
    assert Parts(net, "exact", CPU).heads(net.tasks, INPUTS, statistics=True) is None
    assert split_heads(net, ()) is not None


def test_a_head_that_reads_what_the_trunk_changes_later_is_not_cut_off() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            x = self.a(image)
            return self.head(x * 2) + x.relu_().mean()

    branches = {task: gn.Branch.from_module(Late(), taps={"s": "a"}, example=X) for task in ("p", "q")}
    net = gn.weave(branches, primary="p", space=space(INTO, OUT))
    heads = split_heads(net, ())
    assert heads is None or all(torch.equal(value, net(X)[task]) for task, value in _through(heads, X).items())


def _through(heads: Heads, x: Tensor) -> dict[str, Tensor]:
    values = heads.trunk(image=x)
    return {task: head(**{name: values[name] for name in heads.reads[task]})[task] for task, head in heads.heads.items()}


@pytest.mark.parametrize("inplace", [False, True])
def test_changes_in_place_stay_where_they_were(inplace: bool) -> None:
    net = randomize(gn.weave({"p": chain(inplace=inplace), "q": chain(inplace=inplace)}, primary="p", space=space(INTO, OUT)))
    x = image(2, 3, 6, 6)
    heads = split_heads(net, ())
    assert heads is not None
    assert all(torch.equal(value, net(x)[task]) for task, value in _through(heads, x).items())


def test_one_task_has_nothing_to_be_apart_from() -> None:
    net = gn.weave({"p": chain()}, primary="p", space=space()).double().train()
    assert Parts(net, "exact", CPU).heads(["p"], INPUTS, statistics=True) is None
    assert Parts(make(), "exact", CPU, apart=False).heads(["p", "q", "r"], INPUTS, statistics=True) is None


def test_a_balance_that_needs_all_losses_sees_them_together() -> None:
    net = make()
    other = copy.deepcopy(net)
    _, state, _ = trained(net, True, "joint", "pcgrad")
    _, expected, _ = trained(other, False, "joint", "pcgrad")
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


def test_a_loss_that_is_no_number_is_told_and_steps_nothing() -> None:
    net = make()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    one = batch("p", "q", "r")
    one.targets["q"][1] = float("nan")
    with pytest.raises(NotFinite) as caught:
        joint_step(learner_of(net, True), one, 0.3)
    assert (caught.value.what, caught.value.ids) == ("the loss of 'q'", ("a", "b", "d"))
    assert all(torch.equal(parameter, before[name]) for name, parameter in net.named_parameters())


class Kept:
    """A tensor that autograd keeps; counts how many it keeps at once."""

    alive = 0
    peak = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Kept.alive += 1
        Kept.peak = max(Kept.peak, Kept.alive)

    def __del__(self) -> None:
        Kept.alive -= 1


def test_one_head_is_held_at_a_time() -> None:
    peaks: dict[bool, int] = {}
    for apart in (False, True):
        learner = learner_of(make(), apart)
        Kept.alive = Kept.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            joint_step(learner, batch("p", "q", "r"), 0.3)
        peaks[apart] = Kept.peak
        assert Kept.alive == 0
    assert peaks[True] < 0.8 * peaks[False]
