"""The primary first: what an auxiliary may add, and what it may not take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

CONFLICT = {"p": [1.0, 0.0], "a": [-1.0, 1.0]}
AGREE = {"p": [1.0, 0.0], "a": [1.0, 1.0], "b": [-1.0, 5.0]}


def test_gcs_lets_in_what_does_not_point_against_the_primary(make: Any, gradient: Any) -> None:
    assert gradient(make("gcs"), CONFLICT).tolist() == [1.0, 0.0]
    assert gradient(make("gcs"), AGREE).tolist() == [2.0, 1.0]
    assert gradient(make("gcs"), {"p": [1.0, 0.0], "a": [0.0, 2.0]}).tolist() == [1.0, 2.0]
    assert gradient(make("gcs", weights={"a": 3}), AGREE).tolist() == [4.0, 3.0]


def test_gcs_by_cosine(make: Any, gradient: Any) -> None:
    assert_close(gradient(make("gcs", gate="cosine"), AGREE), torch.tensor([1.0 + 0.5**0.5, 0.5**0.5]))
    assert gradient(make("gcs", gate="cosine"), CONFLICT).tolist() == [1.0, 0.0]


def test_pcd_is_the_primary_where_auxiliaries_progress_anyway(make: Any, gradient: Any) -> None:
    assert_close(gradient(make("pcd"), {"p": [3.0, 0.0], "a": [1.0, 1.0]}), torch.tensor([3.0, 0.0]))


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.5])
def test_pcd_corrects_as_little_as_the_constraint_asks(tau: float, make: Any, gradient: Any) -> None:
    """d = g_p / |g_p| + mu u with u = g_a / |g_a| and <u, d> = tau, as long as g_p."""
    found = gradient(make("pcd", tau=tau), {"p": [3.0, 0.0], "a": [-5.0, 5.0]})
    u = torch.tensor([-(0.5**0.5), 0.5**0.5])
    direction = torch.tensor([1.0, 0.0]) + (tau + 0.5**0.5) * u
    assert_close(found, 3 * direction / direction.norm(), rtol=1e-5, atol=1e-6)


def test_pcd_keeps_the_primary_where_auxiliaries_contradict_each_other(make: Any, gradient: Any) -> None:
    rows = {"p": [1.0, 0.0], "a": [0.0, 1.0], "b": [0.0, -1.0]}
    assert_close(gradient(make("pcd", tau=0.1), rows), torch.tensor([1.0, 0.0]))


def test_a_decay_of_one_is_refused(make: Any) -> None:
    with pytest.raises(ValidationError, match="must be below 1"):
        make("pcd", beta=1.0)
