"""Functions of the losses: their gradients by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from graphnas.search.balance import Setting


def test_stch_is_a_softmax_of_the_weighted_losses(make: Any, describe: Any) -> None:
    balance = make("stch", mu=0.5, weights={"p": 3})
    x = nn.Parameter(torch.tensor([1.0, 2.0]))
    value = balance.combine({"p": x[0], "a": x[1]}, 0.0)
    assert value.item() == pytest.approx(0.5 * math.log(math.exp(0.75 / 0.5) + math.exp(0.5 / 0.5)))
    balance.start(Setting("p", ("p", "a"))).backward(describe({"p": x[0], "a": x[1]}, [x]))
    assert_close(x.grad, torch.softmax(torch.tensor([1.5, 1.0]), 0) * torch.tensor([0.75, 0.25]))


def test_stch_of_one_loss_is_that_loss(make: Any) -> None:
    assert make("stch", weights={"a": 3}).combine({"a": torch.tensor(2.0)}, 0.0).item() == pytest.approx(2.0)


def test_rlw_draws_from_the_seed_alone(make: Any, describe: Any) -> None:
    def drawn(seed: int, state: int) -> list[list[float]]:
        torch.manual_seed(state)
        working, found = make("rlw", weights={"a": 2}).start(Setting("p", ("p", "a"), seed)), []
        for _ in range(3):
            x = nn.Parameter(torch.ones(2))
            working.backward(describe({"p": x[0], "a": x[1]}, [x]))
            assert x.grad is not None
            found.append(x.grad.tolist())
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(state)))
        return found

    first = drawn(0, 1)
    assert first == drawn(0, 2)
    assert first != drawn(1, 1)
    assert first[0] != first[1]
    assert [p + a / 2 for p, a in first] == pytest.approx([1.0] * 3)
