"""Regression: what is decoded, what is lost, what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch.testing import assert_close
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score

from graphnas.errors import DataError
from graphnas.tasks.regression import Regression


def task(**fields: Any) -> Regression:
    return Regression.model_validate({"key": "flow.npy", "channels": 2, **fields})


def test_decodes_maps() -> None:
    raw = np.arange(12.0).reshape(2, 3, 2)
    assert_close(task().decode(raw, file="a"), torch.arange(12.0).view(2, 3, 2).movedim(2, 0))
    assert task(channels=1).decode(np.zeros((2, 3)), file="a").shape == (1, 2, 3)
    assert task(channels=1).decode(np.zeros((2, 3, 1)), file="a").shape == (1, 2, 3)


def test_decodes_vectors() -> None:
    assert task(per="sample").decode(np.asarray([1, 2]), file="a").tolist() == [1, 2]
    assert task(per="sample", channels=1).decode(np.asarray(3.5), file="a").tolist() == [3.5]
    assert task(per="sample").decode(np.asarray([[1, 2]]), file="a").tolist() == [1, 2]


def test_decodes_the_encoding_of_kitti() -> None:
    raw = np.array([[[32768, 32832], [0, 0]]], dtype=np.uint16)
    target = task(encoding={"offset": 32768, "scale": 64, "invalid": 0}).decode(raw, file="a.png")
    assert_close(target, torch.tensor([[[0.0, math.nan]], [[1.0, math.nan]]]), equal_nan=True)


@pytest.mark.parametrize(
    ("fields", "raw", "message"),
    [
        ({}, np.zeros((4, 5, 3)), "a: a label is (H, W, 2) numbers, got (4, 5, 3)\n  fix: channels: 3, or another key"),
        ({}, np.zeros((4, 5)), "a: a label is (H, W, 2) numbers, got (4, 5)\n  fix: another key"),
        ({}, np.zeros(2), "a: a label is (H, W, 2) numbers, got (2,)\n  fix: per: sample, or another key"),
        ({"per": "sample"}, np.zeros(3), "a: a label is (2,) numbers, got (3,)\n  fix: channels: 3, or another key"),
        ({"per": "sample"}, np.zeros((4, 5, 2)), "a: a label is (2,) numbers, got (4, 5, 2)\n  fix: per: pixel, or another key"),
        ({"per": "sample"}, np.asarray("left"), "a: a label is (2,) numbers, got () text\n  fix: another key"),
    ],
)
def test_labels_of_another_kind(fields: dict[str, Any], raw: np.ndarray, message: str) -> None:
    with pytest.raises(DataError) as raised:
        task(**fields).decode(raw, file="a")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"geometry": "vector", "channels": 1}, "a vector has two channels or more: right, down, ..."),
        ({"unit": "pixels"}, "lengths in pixels are of vectors"),
        ({"geometry": "vector", "per": "sample", "unit": "pixels"}, "the vector of a whole sample is not scaled with the image"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**fields)


def test_what_transforms_do_follows_from_the_fields() -> None:
    assert task().target_kind == "map"
    assert task(geometry="vector").target_kind == "vector_map"
    assert task(geometry="vector", unit="pixels").target_kind == "pixel_vector_map"
    assert task(per="sample").target_kind == "sample"
    assert task(per="sample", geometry="vector").target_kind == "direction"


def test_why_transforms_are_refused() -> None:
    assert task().why_not("crop") == (
        "what it does to the numbers of the labels is not known (geometry: unknown)",
        "geometry: none (they stay as they are) or vector (the first two point right and down); or leave the transform out",
    )
    assert task(geometry="vector").why_not("resize") == (
        "whether the vectors of its labels are lengths in pixels is not said",
        "unit: pixels, or unit: other",
    )


def test_losses_are_torchs() -> None:
    prediction, target = 3 * torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)
    target[0, 0, 0, 0] = math.nan
    p, t = prediction[target.isfinite()], target[target.isfinite()]
    assert_close(task(loss="l1").loss_value(prediction, target), F.l1_loss(p, t))
    assert_close(task(loss="l2").loss_value(prediction, target), F.mse_loss(p, t))
    assert_close(task(loss="huber", delta=0.5).loss_value(prediction, target), F.huber_loss(p, t, delta=0.5))


def test_metrics_are_torchmetrics() -> None:
    prediction, target = torch.randn(50, 2), 5 + torch.randn(50, 2)
    metrics = task(per="sample").new_metrics()
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        metrics.update(prediction[rows], target[rows])
    expected = {
        "mae": mean_absolute_error(prediction, target).item(),
        "rmse": math.sqrt(mean_squared_error(prediction, target).item()),
        "r2": r2_score(prediction, target).item(),
    }
    assert list(metrics.compute()) == list(expected)
    assert_close(metrics.compute(), expected, atol=1e-5, rtol=1e-5)


def test_r2_is_of_the_channels_that_vary() -> None:
    metrics = task(per="sample").new_metrics()
    metrics.update(torch.tensor([[1.0, 3.0], [3.0, 3.0]]), torch.tensor([[1.0, 2.0], [2.0, 2.0]]))
    assert_close(metrics.compute()["r2"], 1 - 1 / 0.5)
    constant = task(per="sample").new_metrics()
    constant.update(torch.zeros(3, 2), torch.ones(3, 2))
    assert math.isnan(constant.compute()["r2"])
