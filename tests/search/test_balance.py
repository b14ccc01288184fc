"""The weighted sum, and weights that are linear over training."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from graphnas.search.balance import WeightedSum


def test_weights_are_numbers_or_linear_and_one_if_unnamed() -> None:
    balance = WeightedSum.model_validate({"weights": {"normals": 3, "seg": {"start": 12, "end": 0}}})
    losses = {"normals": torch.tensor(1.0), "seg": torch.tensor(10.0), "depth": torch.tensor(0.5)}
    assert [float(balance.combine(losses, progress)) for progress in (0.0, 0.5, 1.0)] == [123.5, 63.5, 3.5]
    assert float(balance.combine({"seg": losses["seg"]}, 0.25)) == 90.0


def test_round_trip() -> None:
    balance = WeightedSum.model_validate({"weights": {"normals": 3, "seg": {"start": 12, "end": 0}}})
    assert WeightedSum.model_validate(balance.model_dump(mode="json", by_alias=True)) == balance


@pytest.mark.parametrize("weight", [-1, "3", True, {"start": 1}, {"start": 1, "end": 0, "middle": 1}])
def test_wrong_weights_are_refused(weight: object) -> None:
    with pytest.raises(ValidationError):
        WeightedSum.model_validate({"weights": {"normals": weight}})
