"""Bargaining solutions: the equations that they solve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

ROWS = {"p": [2.0, 0.0, 0.5], "a": [-0.5, 1.0, 0.2]}


def weights_of(found: torch.Tensor, rows: dict[str, list[float]]) -> torch.Tensor:
    return torch.linalg.lstsq(torch.tensor(list(rows.values())).double().T, found.double()[:, None]).solution[:, 0]


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_nash_all_gain_the_same_share(scale: float, make: Any, gradient: Any) -> None:
    rows = {task: [scale * value for value in row] for task, row in ROWS.items()}
    found = gradient(make("nash_mtl", max_norm=0), rows)
    weights, gains = weights_of(found, rows), torch.tensor(list(rows.values())).double() @ found.double()
    shares = weights * gains
    assert_close(shares, torch.ones(2).double(), rtol=2e-3, atol=0)
    assert_close(found.norm(), torch.tensor(2**0.5), rtol=2e-3, atol=0)


def test_nash_is_no_longer_than_said(make: Any, gradient: Any) -> None:
    for longest in (1.0, 0.3):
        assert_close(gradient(make("nash_mtl", max_norm=longest), ROWS).norm(), torch.tensor(longest))


@pytest.mark.parametrize("fairness", [1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_fairgrad_solves_its_equation(fairness: float, scale: float, make: Any, gradient: Any) -> None:
    rows = {task: [scale * value for value in row] for task, row in ROWS.items()}
    found = gradient(make("fairgrad", fairness=fairness), rows)
    gains = torch.tensor(list(rows.values())).double() @ found.double()
    assert_close(gains, weights_of(found, rows) ** (-1 / fairness), rtol=1e-4, atol=0)


def test_fairgrad_by_hand(make: Any, gradient: Any) -> None:
    """At right angles |g|^2 w = w^(-1/2), so w = |g|^(-4/3)."""
    found = gradient(make("fairgrad"), {"p": [2.0, 0.0], "a": [0.0, 1.0]})
    assert_close(found, torch.tensor([2 * 2 ** (-4 / 3), 1.0]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["nash_mtl", "fairgrad"])
@pytest.mark.parametrize("second", [[-1.0, 0.0], [-3.0, 0.0], [-1e-4, 0.0], [2.0, 0.0], [-1.0, 1e-3]])
def test_gradients_that_cancel_or_are_parallel_have_a_solution(name: str, second: list[float], make: Any, gradient: Any) -> None:
    found = gradient(make(name), {"p": [1.0, 0.0], "a": second})
    assert bool(torch.isfinite(found).all())
    assert name != "nash_mtl" or found.norm() <= 1 + 1e-6


@pytest.mark.parametrize("fairness", [0.5, 1.0, 2.0, 10.0])
def test_lengths_may_differ_much(fairness: float, make: Any) -> None:
    """The equation, with the little that is added to the diagonal."""
    solver = make("fairgrad", fairness=fairness).aggregator(3).weighting
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        rows = torch.randn(3, 8, generator=generator, dtype=torch.float64) * torch.tensor([[1.0], [100.0], [0.01]], dtype=torch.float64)
        gramian = rows @ rows.T
        weights = solver(gramian)
        assert weights.min() > 0
        gains = gramian @ weights + 1e-7 * gramian.diagonal() * weights
        assert_close(gains * weights ** (1 / fairness), torch.ones(3).double(), rtol=1e-6, atol=0)
