"""The shortest convex combination, and the best worst gain in a ball: by hand, and by trying all weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

CONFLICT = {"p": [1.0, 0.0], "a": [-1.0, 1.0]}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (CONFLICT, [0.2, 0.4]),  # 0.6 (1, 0) + 0.4 (-1, 1)
        ({"p": [1.0, 0.0], "a": [3.0, 1.0]}, [1.0, 0.0]),  # an end: the other is longer, and does not point against it
        ({"p": [3.0, 1.0], "a": [1.0, 0.0], "b": [2.0, -1.0]}, [1.0, 0.0]),
        ({"p": [1e-3, 0.0], "a": [-1e-3, 1e-3]}, [2e-4, 4e-4]),
    ],
)
def test_mgda_is_the_point_of_the_hull_next_to_zero(rows: dict[str, list[float]], expected: list[float], make: Any, gradient: Any) -> None:
    assert_close(gradient(make("mgda"), rows), torch.tensor(expected), rtol=1e-5, atol=1e-9)


def test_cagrad_in_closed_form(make: Any, gradient: Any) -> None:
    """Two gradients of a length at right angles: the mean's direction, longer by c; no ball: the sum."""
    rows = {"p": [1.0, 0.0], "a": [0.0, 1.0]}
    assert_close(gradient(make("cagrad"), rows), torch.tensor([1.4, 1.4]), rtol=1e-5, atol=0)
    assert_close(gradient(make("cagrad", c=0), CONFLICT), torch.tensor([0.0, 1.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_cagrad_solves_its_dual(scale: float, make: Any, gradient: Any) -> None:
    rows = scale * torch.tensor([[1.0, 0.0, 0.5], [-2.0, 1.0, 0.3]])
    found = gradient(make("cagrad", c=0.5), {"p": rows[0].tolist(), "a": rows[1].tolist()})
    mean, radius = rows.double().mean(0), 0.5 * rows.double().mean(0).norm()
    shares = torch.linspace(0, 1, 200_001, dtype=torch.float64)[:, None]
    mixed = shares * rows[0] + (1 - shares) * rows[1]
    best = mixed[(mixed @ mean + radius * mixed.norm(dim=1)).argmin()]
    assert_close(found.double(), 2 * (mean + radius * best / best.norm()), rtol=1e-4, atol=1e-5 * scale)
