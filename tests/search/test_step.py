"""One update, against the same written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphnas.search.step import NotFinite, alternate_step, batch_norm_frozen, frozen, joint_step

PENALTY = 0.7


def penalty_of(net: Any) -> Callable[[float], Tensor]:
    """lambda(t) |alpha| |w_a|: reaches the weights as a contribution's penalty does."""
    return lambda progress: PENALTY * progress * net.alpha.abs() * net.w_a.abs()


def gradients(w_p: float, w_a: float, alpha: float, x: float, p: float, a: float, weight: float, strength: float) -> tuple[float, ...]:
    """d/d(w_p, w_a, alpha) of (w_p x - p)^2 + weight (w_a x + alpha w_p x - a)^2 + strength |alpha| |w_a|."""
    first, second = 2 * (w_p * x - p), 2 * weight * (w_a * x + alpha * w_p * x - a)
    return (
        first * x + second * alpha * x,
        second * x + strength * abs(alpha) * math.copysign(1, w_a),
        second * w_p * x + strength * math.copysign(1, alpha) * abs(w_a),
    )


def test_joint_is_one_gradient_step_on_everything(toy: Any, batch: Any) -> None:
    net, learner = toy()
    learner = replace(learner, penalty=penalty_of(net))
    losses = joint_step(learner, batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}}), progress=0.25)
    assert losses == pytest.approx({"p": 25.0, "a": 4.0})
    g = gradients(2.0, -1.0, 0.5, 3.0, 1.0, 2.0, weight=3.0, strength=PENALTY * 0.25)
    assert values(net) == pytest.approx((2.0 - 0.1 * g[0], -1.0 - 0.1 * g[1], 0.5 - 0.2 * g[2]))


def test_alternate_steps_alphas_then_weights_on_another_batch(toy: Any, batch: Any) -> None:
    net, learner = toy()
    learner = replace(learner, penalty=penalty_of(net))
    losses = alternate_step(
        learner, batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}}), batch([-1.0], {"p": {0: 0.5}, "a": {0: 1.5}}), progress=0.25
    )
    alpha = 0.5 - 0.2 * gradients(2.0, -1.0, 0.5, 3.0, 1.0, 2.0, 3.0, PENALTY * 0.25)[2]
    g = gradients(2.0, -1.0, alpha, -1.0, 0.5, 1.5, 3.0, PENALTY * 0.25)
    assert values(net) == pytest.approx((2.0 - 0.1 * g[0], -1.0 - 0.1 * g[1], alpha), rel=1e-5)
    assert losses["p"] == pytest.approx(6.25)
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(parameter.grad is None for parameter in net.parameters()), "the next half would hold them in memory"


def values(net: Any) -> tuple[float, ...]:
    return float(net.w_p.detach()), float(net.w_a.detach()), float(net.alpha.detach())


def replace(learner: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(learner, **changes)


def test_a_task_without_labels_in_a_batch_contributes_nothing(toy: Any, batch: Any) -> None:
    net, learner = toy()
    seen: list[tuple[Any, Any]] = []
    learner.weights.register_step_pre_hook(lambda *_: seen.append((net.w_a.grad, net.alpha.grad)))
    assert joint_step(learner, batch([3.0, 1.0], {"p": {0: 1.0, 1: 1.0}}), progress=0.0) == pytest.approx({"p": 13.0})
    assert values(net)[1:] == (-1.0, 0.5)
    assert seen == [(None, None)]
    net, learner = toy()
    assert joint_step(learner, batch([3.0, 1.0], {"a": {}, "p": {0: 1.0}}), progress=0.0) == pytest.approx({"p": 25.0})


def test_only_labeled_rows_count(toy: Any, batch: Any) -> None:
    net, learner = toy()
    joint_step(learner, batch([3.0, 100.0], {"p": {0: 1.0}}), progress=0.0)
    assert float(net.w_p.detach()) == pytest.approx(2.0 - 0.1 * 2 * 5 * 3)


def test_the_alpha_half_computes_no_gradients_of_weights(toy: Any, batch: Any) -> None:
    net, learner = toy()
    seen: list[tuple[bool, bool]] = []
    net.register_forward_pre_hook(lambda module, arguments: seen.append((net.w_p.requires_grad, net.alpha.requires_grad)))
    first = batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}})
    alternate_step(learner, first, first, progress=0.0)
    assert seen == [(False, True), (True, False)]


def test_parameters_that_the_user_froze_stay_frozen() -> None:
    free, fixed = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1), requires_grad=False)
    with frozen([free, fixed]):
        assert not free.requires_grad
    assert free.requires_grad
    assert not fixed.requires_grad


@pytest.mark.parametrize("freeze", [False, True])
def test_batch_norm_in_the_alpha_half(freeze: bool, toy: Any, batch: Any) -> None:
    net, learner = toy(freeze_batch_norm=freeze)
    first, second = batch([3.0, 5.0], {"a": {0: 2.0}}), batch([1.0, 2.0], {"a": {0: 2.0}})
    alternate_step(learner, first, second, progress=0.0)
    expected = nn.BatchNorm1d(1, affine=False)
    if not freeze:
        expected(torch.cat([first.inputs["x"]] * 2))
    expected(torch.cat([second.inputs["x"]] * 2))
    assert int(net.norm.num_batches_tracked) == (1 if freeze else 2)
    state = net.norm.state_dict()
    assert all(torch.equal(state[name], expected.state_dict()[name]) for name in ("running_mean", "running_var"))


def test_a_frozen_batch_norm_still_normalizes_by_its_batch() -> None:
    norm, x = nn.BatchNorm2d(2), torch.randn(4, 2, 3, 3)
    with batch_norm_frozen(norm, enabled=True):
        assert torch.equal(norm(x), nn.BatchNorm2d(2)(x))


def test_gradients_of_weights_are_clipped(toy: Any, batch: Any) -> None:
    net, learner = toy(alpha_rate=None, clip_gradient=0.5)
    before = torch.stack([net.w_p, net.w_a]).detach()
    joint_step(learner, batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}}), progress=0.0)
    assert float((torch.stack([net.w_p, net.w_a]).detach() - before).norm()) == pytest.approx(0.1 * 0.5)


def test_after_each_alpha_step_the_rate_and_the_progress_are_told(toy: Any, batch: Any) -> None:
    told: list[tuple[float, float]] = []
    _, learner = toy(after_alpha_step=lambda rate, progress: told.append((rate, progress)))
    one = batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}})
    joint_step(learner, one, progress=0.25)
    alternate_step(learner, one, one, progress=0.5)
    assert told == [(0.2, 0.25), (0.2, 0.5)]


def test_a_loss_that_is_no_number_changes_nothing(toy: Any, batch: Any) -> None:
    net, learner = toy()
    with pytest.raises(NotFinite) as caught:
        joint_step(learner, batch([3.0, 1.0], {"p": {0: 1.0}, "a": {1: math.nan}}), progress=0.0)
    assert (caught.value.what, caught.value.ids) == ("the loss of 'a'", ("toy/0001",))
    assert math.isnan(caught.value.value)
    assert values(net) == (2.0, -1.0, 0.5)
    with pytest.raises(NotFinite) as caught:
        joint_step(replace(learner, penalty=lambda progress: torch.tensor(math.inf)), batch([3.0], {"p": {0: 1.0}}), progress=0.0)
    assert (caught.value.what, caught.value.ids) == ("the penalty", ())
    assert values(net) == (2.0, -1.0, 0.5)


def test_float16_scales_its_loss(toy: Any, batch: Any) -> None:
    from graphnas.search.precision import make_precision

    net, learner = toy()
    learner = replace(learner, precision=make_precision("cpu", "float16"))
    before = values(net)
    joint_step(learner, batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}}), progress=0.25)
    g = gradients(2.0, -1.0, 0.5, 3.0, 1.0, 2.0, weight=3.0, strength=0.0)
    expected = tuple(value - rate * gradient for value, rate, gradient in zip(before, (0.1, 0.1, 0.2), g, strict=True))
    assert values(net) == pytest.approx(expected, rel=1e-2)
