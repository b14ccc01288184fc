"""Weights by the numbers of labels, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphnas.search.balance import Setting

LOSSES = {"p": 1.0, "many": 10.0, "few": 100.0}


def total(balance: Any, progress: float, labels: dict[str, int]) -> float:
    working = balance.start(Setting("p", tuple(LOSSES), labels=labels))
    return float(working.weighted_sum({task: torch.tensor(value) for task, value in LOSSES.items()}, progress))


def test_auxiliaries_weigh_as_their_labels_outnumber_the_primarys_and_fade(make: Any) -> None:
    labels = {"p": 100, "many": 600, "few": 50}
    assert total(make("label_ratio"), 0.0, labels) == pytest.approx(1 + 12 * 10 + 1 * 100)
    assert total(make("label_ratio"), 0.75, labels) == pytest.approx(1 + 3 * 10 + 0.25 * 100)
    assert total(make("label_ratio"), 1.0, labels) == 1
    assert total(make("label_ratio", factor=1, most=4), 0.0, labels) == pytest.approx(1 + 4 * 10 + 0.5 * 100)


def test_weights_multiply(make: Any) -> None:
    balance = make("label_ratio", weights={"p": 3, "many": {"start": 2, "end": 0}})
    assert total(balance, 0.5, {"p": 100, "many": 100, "few": 100}) == pytest.approx(3 + 1 * 2 * 0.5 * 10 + 2 * 0.5 * 100)


@pytest.mark.parametrize("labels", [{}, {"p": 0, "many": 600, "few": 50}])
def test_without_numbers_of_labels_it_is_the_weighted_sum(make: Any, labels: dict[str, int]) -> None:
    balance = make("label_ratio", weights={"p": 3})
    assert total(balance, 0.5, labels) == pytest.approx(3 + 10 + 100)


def test_the_gradient_is_that_of_the_weighted_sum(make: Any, describe: Any) -> None:
    x = nn.Parameter(torch.tensor([1.0, 1.0]))
    working = make("label_ratio").start(Setting("p", ("p", "a"), labels={"p": 10, "a": 30}))
    assert working.backward(describe({"p": x[0], "a": x[1]}, [x], progress=0.5))
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 3.0]
