"""Projections: by hand for two gradients, by their promise for random ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from graphnas.search.balance import Setting

CONFLICT = {"p": [1.0, 0.0], "a": [-1.0, 1.0]}


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "upgrad"])
def test_two_gradients_that_conflict(name: str, make: Any, gradient: Any) -> None:
    """(1, 0) without what points against (-1, 1) is (1/2, 1/2); (-1, 1) without what points against (1, 0) is (0, 1)."""
    assert_close(gradient(make(name), CONFLICT), torch.tensor([0.5, 1.5]), rtol=0, atol=1e-6)


def test_dualproj_projects_the_sum(make: Any, gradient: Any) -> None:
    """(1, 0) + (-2, 1) harms the first; the nearest that harms neither is (0, 1)."""
    assert_close(gradient(make("dualproj"), {"p": [1.0, 0.0], "a": [-2.0, 1.0]}), torch.tensor([0.0, 1.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "upgrad", "dualproj"])
def test_without_conflict_it_is_the_sum(name: str, make: Any, gradient: Any) -> None:
    rows = {"p": [1.0, 0.5, 0.0], "a": [0.0, 2.0, 1.0], "b": [3.0, 0.0, 0.0]}
    assert_close(gradient(make(name), rows), torch.tensor([4.0, 2.5, 1.0]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_no_task_is_harmed_to_first_order(name: str, make: Any, gradient: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (1.0, 1e-4, 1e4):
        rows = scale * torch.randn(4, 6, generator=generator)
        rows[1] -= 3 * rows[0]
        found = gradient(make(name), dict(zip("pabc", rows.tolist(), strict=True)))
        gains = rows @ found / (rows.norm(dim=1) * found.norm())
        assert gains.min() > -1e-5
        assert (rows @ rows.sum(0)).min() < 0


def test_weights_of_losses_count(make: Any, gradient: Any) -> None:
    found = gradient(make("upgrad", weights={"a": 3}), CONFLICT)
    assert_close(found, torch.tensor([0.5, 0.5 + 3.0]), rtol=0, atol=2e-6)


def test_gradvac_aims_at_the_mean_cosine(make: Any, gradient: Any) -> None:
    """In the second step the target is decay * cos, and g_p + w g_a has just this cosine with g_a."""
    working = make("gradvac", decay=0.5).start(Setting("p", ("p", "a")))
    gradient(working, CONFLICT)
    cosine, target = -(0.5**0.5), -(0.5**0.5) / 2
    w = (target * (1 - cosine**2) ** 0.5 - cosine * (1 - target**2) ** 0.5) / (1 - target**2) ** 0.5
    p, a = torch.tensor(CONFLICT["p"]), torch.tensor(CONFLICT["a"])
    turned = p + w * a / 2**0.5
    assert_close(torch.cosine_similarity(turned, a, dim=0), torch.tensor(target))
    assert_close(gradient(working, CONFLICT), turned + a + w * 2**0.5 * p)


def test_the_order_of_pcgrad_is_drawn_from_the_seed_alone(make: Any, gradient: Any) -> None:
    rows = {"p": [1.0, 0.0, 0.3], "a": [-1.0, 1.0, 0.1], "b": [-0.5, -1.0, 0.2], "c": [0.1, -1.0, -0.9]}

    def found(seed: int, state: int) -> list[list[float]]:
        torch.manual_seed(state)
        working = make("pcgrad").start(Setting("p", tuple(rows), seed))
        made = [gradient(working, rows).tolist() for _ in range(4)]
        assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(state)).item()  # nothing was drawn from it
        return made

    assert found(0, 1) == found(0, 2)
    assert found(0, 1) != found(1, 1)
    assert len({tuple(row) for row in found(0, 1)}) > 1
