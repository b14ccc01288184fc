"""Weights by the numbers of labels and the first losses, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphnas.search.balance import Setting

LOSSES = {"p": 1.0, "many": 10.0, "few": 100.0}
LABELS = {"p": 100, "many": 600, "few": 50}


def tensors(losses: dict[str, float]) -> dict[str, torch.Tensor]:
    return {task: torch.tensor(value) for task, value in losses.items()}


def total(balance: Any, progress: float, labels: dict[str, int], first: dict[str, float] | None = None) -> float:
    working = balance.start(Setting("p", tuple(LOSSES), labels=labels))
    working.see(tensors(first or {}))
    return float(working.weighted_sum(tensors(LOSSES), progress))


def test_auxiliaries_weigh_as_their_labels_outnumber_the_primarys_and_fade(make: Any) -> None:
    assert total(make("label_ratio"), 0.0, LABELS) == pytest.approx(1 + 12 * 10 + 1 * 100)
    assert total(make("label_ratio"), 0.75, LABELS) == pytest.approx(1 + 3 * 10 + 0.25 * 100)
    assert total(make("label_ratio"), 1.0, LABELS) == 1
    assert total(make("label_ratio", factor=1, most=4), 0.0, LABELS) == pytest.approx(1 + 4 * 10 + 0.5 * 100)


def test_they_have_faded_at_the_share_that_is_said(make: Any) -> None:
    balance = make("label_ratio", until=0.5)
    assert total(balance, 0.25, LABELS) == pytest.approx(1 + 6 * 10 + 0.5 * 100)
    assert [total(balance, progress, LABELS) for progress in (0.5, 0.75, 1.0)] == [1, 1, 1]


def test_losses_count_by_what_they_began_with(make: Any) -> None:
    assert total(make("label_ratio"), 0.0, LABELS, {"p": 3.0, "many": 30.0, "few": 1.0}) == pytest.approx(1 + 12 * 10 * 0.1 + 100 * 3)


@pytest.mark.parametrize("first", [{"p": 0.0, "many": 5.0}, {"p": 5.0, "many": 0.0}, {"p": 5.0}, {"many": 5.0}])
def test_a_first_loss_of_nothing_or_none_changes_nothing(make: Any, first: dict[str, float]) -> None:
    assert total(make("label_ratio"), 0.0, LABELS, first) == total(make("label_ratio"), 0.0, LABELS)


def test_only_the_first_losses_of_each_task_are_kept_and_are_part_of_the_state(make: Any) -> None:
    working = make("label_ratio").start(Setting("p", tuple(LOSSES), labels=LABELS))
    assert working.unseen(["p"])
    working.see(tensors({"p": 2.0, "many": 4.0}))
    assert not working.unseen(["p", "many"])
    assert working.unseen(["few"])
    working.see(tensors({"p": 20.0, "many": 4.0, "few": 8.0}))
    other = make("label_ratio").start(Setting("p", tuple(LOSSES), labels=LABELS))
    other.restore(working.state())
    for each in (working, other):
        assert float(each.weighted_sum(tensors(LOSSES), 0.0)) == pytest.approx(1 + 12 * 10 * 0.5 + 100 * 0.25)


def test_what_was_never_seen_is_not_there_when_the_state_is_restored(make: Any) -> None:
    working = make("label_ratio").start(Setting("p", tuple(LOSSES), labels=LABELS))
    working.see(tensors({"p": 2.0}))
    other = make("label_ratio").start(Setting("p", tuple(LOSSES), labels=LABELS))
    other.restore(working.state())
    assert not other.unseen(["p"])
    assert other.unseen(["many"])


def test_weights_multiply(make: Any) -> None:
    balance = make("label_ratio", weights={"p": 3, "many": {"start": 2, "end": 0}})
    assert total(balance, 0.5, {"p": 100, "many": 100, "few": 100}) == pytest.approx(3 + 1 * 2 * 0.5 * 10 + 2 * 0.5 * 100)


@pytest.mark.parametrize("labels", [{}, {"p": 0, "many": 600, "few": 50}])
def test_without_numbers_of_labels_it_is_the_weighted_sum(make: Any, labels: dict[str, int]) -> None:
    balance = make("label_ratio", weights={"p": 3})
    assert total(balance, 0.5, labels) == pytest.approx(3 + 10 + 100)


def test_auxiliaries_weigh_nothing_once_they_have_faded(make: Any) -> None:
    working = make("label_ratio", until=0.5).start(Setting("p", tuple(LOSSES), labels=LABELS))
    assert [working.weightless(["many", "few"], progress) for progress in (0.25, 0.5)] == [frozenset(), {"many", "few"}]
    assert working.weightless(["p"], 1.0) == frozenset()


def test_the_gradient_is_that_of_the_weighted_sum(make: Any, describe: Any) -> None:
    x = nn.Parameter(torch.tensor([1.0, 1.0]))
    working = make("label_ratio").start(Setting("p", ("p", "a"), labels={"p": 10, "a": 30}))
    assert working.backward(describe({"p": x[0], "a": x[1]}, [x], progress=0.5))
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 3.0]
