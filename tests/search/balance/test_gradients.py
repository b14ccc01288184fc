"""Which gradients a balance sees of which parameters, and what the others get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphnas.errors import RunError
from graphnas.search.balance import Setting
from graphnas.search.balance.gradients import Aggregating, Aggregator, GradientBalance
from graphnas.search.precision import Precision
from graphnas.search.step import NotFinite, joint_step

TASKS = ("p", "a", "b")


class Spy(GradientBalance):
    """Answers with a hundred times the sum of the rows, and keeps what it saw."""

    type: Literal["spy"] = "spy"

    def aggregator(self, rows: int) -> Aggregator:
        return _Spy()


class _Spy(Aggregator):
    seen: list[tuple[list[list[list[float]]], list[list[float]]]] = []

    def forward(self, rows: Sequence[Sequence[Tensor]], gramian: Tensor) -> list[Tensor]:
        self.seen.append(([[part.tolist() for part in row] for row in rows], gramian.tolist()))
        return [100 * torch.stack(parts).sum(0) for parts in zip(*rows, strict=True)]


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    _Spy.seen.clear()


def scalars(count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1)) for _ in range(count)]


def gradients(parameters: Sequence[nn.Parameter]) -> list[float | None]:
    return [None if parameter.grad is None else parameter.grad.item() for parameter in parameters]


def test_only_what_several_losses_reach_is_aggregated_each_group_apart(describe: Any) -> None:
    x, y, z, own, unread = weights = scalars(5)
    losses = {"a": (3 * x + 5 * y + 7 * own).sum(), "p": (2 * x + 4 * y).sum(), "b": (x + 9 * z).sum()}
    assert Aggregating(Spy(), Setting("p", TASKS)).backward(describe(losses, weights))
    # the primary first; x by all three, y by two
    assert [rows for rows, _ in _Spy.seen] == [[[[2.0]], [[3.0]], [[1.0]]], [[[4.0]], [[5.0]]]]
    assert _Spy.seen[0][1] == [[4.0, 6.0, 2.0], [6.0, 9.0, 3.0], [2.0, 3.0, 1.0]]
    assert gradients(weights) == [600.0, 900.0, 9.0, 7.0, None]
    assert unread.grad is None


def test_a_task_without_labels_has_no_row_nor_has_one_of_weight_zero(describe: Any) -> None:
    for balance, present in ((Spy(), "pb"), (Spy.model_validate({"weights": {"a": 0}}), "pab")):
        [x] = weights = scalars(1)
        losses = {task: (factor * x).sum() for task, factor in {"p": 2, "a": 3, "b": 1}.items() if task in present}
        assert Aggregating(balance, Setting("p", TASKS)).backward(describe(losses, weights))
        assert _Spy.seen.pop() == ([[[2.0]], [[1.0]]], [[4.0, 2.0], [2.0, 1.0]])
        assert gradients(weights) == [300.0]


def test_a_row_of_zeros_is_left_out(describe: Any) -> None:
    x, y = weights = scalars(2)
    losses = {"p": (2 * x + y).sum(), "a": (0 * x + y).sum(), "b": (0 * y + x).sum()}
    Aggregating(Spy(), Setting("p", TASKS)).backward(describe(losses, weights))
    # x: by all but with nothing of a is another group than y; each is reached by p, a, b
    assert [len(rows) for rows, _ in _Spy.seen] == [3]
    _Spy.seen.clear()
    losses = {"p": (2 * x).sum(), "a": (0 * x).sum(), "b": (4 * x).sum()}
    Aggregating(Spy(), Setting("p", TASKS)).backward(describe(losses, weights[:1]))
    assert [rows for rows, _ in _Spy.seen] == [[[[2.0]], [[4.0]]]]
    losses = {"p": (2 * x).sum(), "a": (0 * x).sum()}
    Aggregating(Spy(), Setting("p", TASKS)).backward(describe(losses, weights[:1]))
    assert len(_Spy.seen) == 1
    assert gradients(weights[:1]) == [2.0]


def test_with_one_loss_left_it_is_plain(describe: Any) -> None:
    balance = Spy.model_validate({"weights": {"a": 3}})
    [x] = weights = scalars(1)
    assert Aggregating(balance, Setting("p", TASKS)).backward(describe({"a": (2 * x).sum()}, weights))
    assert _Spy.seen == []
    assert gradients(weights) == [6.0]
    assert not Aggregating(balance, Setting("p", TASKS)).backward(describe({}, weights))


def test_weights_change_over_training(describe: Any) -> None:
    balance = Spy.model_validate({"weights": {"a": {"start": 4, "end": 0}}})
    [x] = weights = scalars(1)
    losses = {"p": x.sum(), "a": x.sum()}
    Aggregating(balance, Setting("p", TASKS)).backward(describe(losses, weights, progress=0.25))
    assert [rows for rows, _ in _Spy.seen] == [[[[1.0]], [[3.0]]]]


def test_alphas_get_the_weighted_sum_and_all_the_penalty(describe: Any) -> None:
    balance = Spy.model_validate({"weights": {"a": 3}})
    x, y, alpha, unread = scalars(4)
    losses = {"p": (2 * x + alpha).sum(), "a": (x + 5 * alpha + y).sum()}
    penalty = (0.5 * alpha + 0.25 * x + unread).sum()
    assert Aggregating(balance, Setting("p", TASKS)).backward(describe(losses, [x, y], alphas=[alpha, unread], penalty=penalty))
    assert gradients([x, y, alpha, unread]) == [500.25, 3.0, 16.5, 1.0]


NO_CONFLICT = {"p": [1.0, 0.5, 0.0], "a": [0.0, 2.0, 1.0], "b": [3.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("upgrad", {}),
        ("dualproj", {}),
        ("pcgrad", {}),
        ("gradvac", {}),
        ("cagrad", {"c": 0}),
        ("graddrop", {}),
        ("gcs", {}),
        ("auto_lambda", {"every": 2}),
    ],
)
@pytest.mark.parametrize("weights", [{}, {"a": 3, "b": 0.5}])
def test_without_conflict_these_are_the_sum(name: str, fields: Any, weights: dict[str, float], make: Any, gradient: Any) -> None:
    expected = gradient(make("sum", weights=weights), NO_CONFLICT)
    working = make(name, weights=weights, **fields).start(Setting("p", TASKS))
    if name == "auto_lambda":
        working.restore({**working.state(), "steps": torch.tensor(1)})  # a step that does not look ahead
    assert_close(gradient(working, NO_CONFLICT), expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_not_finite_is_told_by_the_step(toy: Any, batch: Any, make: Any) -> None:
    from dataclasses import replace

    net, learner = toy()
    learner = replace(learner, balance=make("upgrad").start(Setting("p", ("p", "a"))))
    net.w_p.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NotFinite) as caught:
        joint_step(learner, batch([3.0], {"p": {0: 1.0}, "a": {0: 2.0}}), progress=0.0)
    assert caught.value.what == "the gradient"


def test_a_solver_that_fails_says_what_it_was_about(describe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> list[Tensor]:
        raise ValueError("no\nsolution")

    monkeypatch.setattr(_Spy, "forward", fails)
    [x] = weights = scalars(1)
    with pytest.raises(RunError) as caught:
        Aggregating(Spy(), Setting("p", TASKS)).backward(describe({"p": x.sum(), "a": x.sum()}, weights))
    assert str(caught.value) == (
        "the gradients of p, a can't be combined by 'spy': no solution\n"
        "  fix: lower training.optimizers.weights.lr, or choose another balance"
    )


def test_a_lack_of_memory_stays_one(describe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> list[Tensor]:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(_Spy, "forward", fails)
    [x] = weights = scalars(1)
    with pytest.raises(torch.OutOfMemoryError):
        Aggregating(Spy(), Setting("p", TASKS)).backward(describe({"p": x.sum(), "a": x.sum()}, weights))


def test_gradients_are_compared_in_float32_under_autocast(toy: Any, batch: Any) -> None:
    from dataclasses import replace

    _, learner = toy()
    precision = Precision(torch.device("cpu"), torch.bfloat16)
    learner = replace(learner, balance=Aggregating(Spy(), Setting("p", ("p", "a"))), precision=precision)
    joint_step(learner, batch([3.0, 2.0], {"p": {0: 1.0}, "a": {1: 2.0}}), progress=0.0)
    [(rows, _)] = _Spy.seen
    assert rows == [[30.0], [-4.0]]  # 2 (2 x - 1) x at 3, and 2 (-x + alpha 2 x - 2) alpha x at 2; exact in bfloat16


def test_channels_last_changes_nothing(describe: Any, make: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, 5)
    found: list[Tensor] = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(1)
        conv = nn.Conv2d(4, 4, 3).to(memory_format=layout)
        y = conv(x)
        for name in ("upgrad", "config"):
            losses = {"p": y.sum(), "a": -(y.square()).mean()}
            make(name).start(Setting("p", TASKS)).backward(describe(losses, list(conv.parameters())))
            assert conv.weight.grad is not None
            found.append(conv.weight.grad.contiguous().clone())
            y = conv(x)
    assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)
    assert_close(found[1], found[3], rtol=1e-4, atol=1e-5)
