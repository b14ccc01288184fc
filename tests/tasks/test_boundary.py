"""Boundaries: what is decoded, what is lost, what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.functional.classification import binary_average_precision, binary_f1_score

from graphnas.errors import DataError
from graphnas.tasks.boundary import Boundary


def task(**fields: Any) -> Boundary:
    return Boundary.model_validate({"key": "edges.png", **fields})


def maps(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def labels(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, -1)


def test_decodes() -> None:
    assert task().decode(np.array([[0, 1]]), file="a.png").tolist() == [[0, 1]]
    assert task().decode(np.array([[False, True]]), file="a.npy").tolist() == [[0, 1]]
    assert task(positive=255).decode(np.array([[0, 255]], np.uint8), file="a.png").tolist() == [[0, 1]]
    assert task(ignore_index=-1).decode(np.array([[0, 1, -1]]), file="a.npy").tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.array([[0, 1, 255]]), "a: 255 is neither 0 nor positive, 1\n  fix: positive: 255, or ignore_index: 255"),
        (np.array([[0.5]]), "a: numbers of boundaries are whole numbers, got 0.5\n  fix: another key"),
        (
            np.zeros((2, 2, 3), np.uint8),
            "a: a label of boundaries has one channel, got 2x2x3\n  fix: a grayscale image or a palette image, or another key",
        ),
    ],
)
def test_labels_of_another_kind(raw: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        task().decode(raw, file="a")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positive": 0}, "0 means no boundary"),
        ({"ignore_index": 0}, "0 means no boundary"),
        ({"positive": 255, "ignore_index": 255}, "255 means boundary"),
        ({"positive_weight": 0}, "greater than 0"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**fields)


def test_loss_with_a_weight_is_torchs() -> None:
    prediction, target = torch.randn(2, 1, 3, 4), torch.randint(0, 2, (2, 3, 4), dtype=torch.uint8)
    expected = F.binary_cross_entropy_with_logits(prediction[:, 0], target.float(), pos_weight=torch.tensor(3.0))
    assert_close(task(positive_weight=3).loss_value(prediction, target), expected)
    assert_close(
        task(positive_weight=1).loss_value(prediction, target), F.binary_cross_entropy_with_logits(prediction[:, 0], target.float())
    )


def test_balanced_both_kinds_of_pixels_count_alike() -> None:
    prediction, target = maps(0.3, -1, 2, 0.5, 9), labels(1, 0, 0, 0, 255)
    positive = F.softplus(torch.tensor(-0.3))
    negative = F.softplus(torch.tensor([-1.0, 2, 0.5])).mean()
    assert_close(task().loss_value(prediction, target), (positive + negative) / 2)
    assert_close(task().loss_value(prediction[..., 1:], target[..., 1:]), negative / 2)


def measured(prediction: Tensor, target: Tensor) -> dict[str, float]:
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    return metrics.compute()


def test_metrics_by_hand() -> None:
    prediction = maps(*(math.log(share / (1 - share)) for share in (0.9005, 0.7005, 0.4005, 0.2005)), 0.0)
    target = labels(1, 0, 1, 0, 255)
    values = measured(prediction, target)
    assert_close(values["best_f1"], 100 * 2 * 2 / (2 * 2 + 1))  # at 0.400: two right, one wrong
    assert values["f1"] == values["best_f1"]
    assert 0.2 < values["threshold"] <= 0.4
    assert_close(values["average_precision"], 100 * (0.5 * 1 + 0.5 * 2 / 3))


def test_metrics_are_torchmetrics() -> None:
    shares = torch.randint(1, 1000, (2, 1, 30, 40)) / 1000 + 0.0005 - 0.0003  # every bin holds one value
    prediction, target = torch.logit(shares.double()), torch.randint(0, 2, (2, 30, 40), dtype=torch.uint8)
    values = measured(prediction, target)
    flat, truth = shares.flatten(), target.flatten().long()
    assert_close(values["average_precision"], 100 * binary_average_precision(flat, truth).item(), atol=1e-4, rtol=0)
    f1 = [binary_f1_score(flat, truth, threshold=k / 1000).item() for k in range(1000)]
    assert_close(values["best_f1"], 100 * max(f1), atol=1e-4, rtol=0)
    assert_close(f1[round(1000 * values["threshold"])], max(f1))


def test_a_test_is_measured_at_the_threshold_of_validation() -> None:
    validation, test = task().new_metrics(), task().new_metrics()
    validation.update(maps(4, 2, 1, -2), labels(1, 1, 0, 0))
    test.use(validation.found())
    test.update(maps(0.5, 0.2, -1, -2), labels(1, 1, 0, 0))
    values = test.compute()
    assert values["threshold"] == validation.compute()["threshold"]
    assert values["f1"] == 0  # nothing of the test is so sure
    assert values["best_f1"] == 100


def test_without_a_boundary_nothing_is_found() -> None:
    metrics = task().new_metrics()
    metrics.update(maps(1, 2), labels(0, 0))
    assert all(math.isnan(value) for value in metrics.compute().values())
    assert metrics.found() == {}
