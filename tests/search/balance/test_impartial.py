"""Evened lengths, by hand for gradients at right angles, by their promise for random ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

RIGHT_ANGLE = {"p": [2.0, 0.0], "a": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("imtl_g", {}, [2 / 3, 2 / 3]),  # weights 1/3 and 2/3
        ("aligned_mtl", {}, [1.0, 1.0]),
        ("aligned_mtl", {"scale": "rmse"}, [2.5**0.5, 2.5**0.5]),
        ("config", {}, [1.5, 1.5]),  # (1, 1) / sqrt 2, times 2 / sqrt 2 + 1 / sqrt 2
    ],
)
def test_two_gradients_at_right_angles(name: str, fields: Any, expected: list[float], make: Any, gradient: Any) -> None:
    assert_close(gradient(make(name, **fields), RIGHT_ANGLE), torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["imtl_g", "config"])
def test_projections_onto_all_directions_are_equal(name: str, make: Any, gradient: Any) -> None:
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [10.0], [0.1]])
    found = gradient(make(name), dict(zip("pab", rows.tolist(), strict=True)))
    projections = rows / rows.norm(dim=1, keepdim=True) @ found
    assert_close(projections, projections[:1].expand(3), rtol=1e-3, atol=0)
    assert projections[0] > 0


def test_imtl_g_does_not_see_lengths(make: Any, gradient: Any) -> None:
    direction = gradient(make("imtl_g"), {"p": [1.0, 0.2], "a": [-0.3, 1.0]})
    scaled = gradient(make("imtl_g"), {"p": [5.0, 1.0], "a": [-0.3, 1.0]})
    assert_close(scaled / scaled.norm(), direction / direction.norm())
