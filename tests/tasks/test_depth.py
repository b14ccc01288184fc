"""Depth: what is decoded, what is lost, what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from graphnas.errors import DataError
from graphnas.tasks.depth import Depth


def task(**fields: Any) -> Depth:
    return Depth.model_validate({"key": "depth.png", **fields})


def test_decodes_metres() -> None:
    raw = np.array([[0, 1500], [65535, 5]], dtype=np.uint16)
    assert_close(task(scale=0.001).decode(raw, file="a.png"), torch.tensor([[[0.0, 1.5], [65.535, 0.005]]]))


def test_what_is_no_depth_is_unlabeled() -> None:
    assert task().decode(np.array([[np.nan, -1, np.inf, 2]]), file="a.npy").tolist() == [[[0, 0, 0, 2]]]


def test_numbers_that_mean_none() -> None:
    raw = np.array([[512, 65535, 1024]], dtype=np.uint16)  # Taskonomy's encoding
    assert task(scale=1 / 512, invalid=65535).decode(raw, file="a.png").tolist() == [[[1, 0, 2]]]
    assert task(invalid=[3, 5]).decode(np.array([[3.0, 4.0, 5.0]]), file="a.npy").tolist() == [[[0, 4, 0]]]


def test_a_color_image_is_no_depth() -> None:
    with pytest.raises(DataError) as raised:
        task().decode(np.zeros((2, 2, 3), np.uint8), file="a.png")
    assert str(raised.value) == (
        "a.png: a label of depth has one channel, got 2x2x3\n  fix: a grayscale image or a palette image, or another key"
    )


def maps(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_l1_and_berhu() -> None:
    prediction, target = maps(1.5, 7.0, 3.0), maps(1.0, 2.0, 0.0)  # errors 0.5 and 5; the third pixel has no label
    assert_close(task(loss="l1").loss_value(prediction, target).item(), 2.75)
    assert_close(task(loss="berhu").loss_value(prediction, target).item(), (0.5 + (25 + 1) / 2) / 2)  # c = 1


def test_scale_invariant_log_of_a_constant_factor_is_half_its_square() -> None:
    target = 1 + torch.rand(3, 1, 4, 5)
    target[0, 0, 0] = 0
    factor = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1)
    expected = torch.tensor([math.log(k) ** 2 / 2 for k in (1, 2, 4)]).mean()
    assert_close(task(loss="scale_invariant_log").loss_value(factor * target, target), expected)


def test_scale_invariant_log_below_zero_pulls_up() -> None:
    prediction = maps(-0.5, -1.0).requires_grad_()
    loss = task(loss="scale_invariant_log").loss_value(prediction, maps(1.0, 2.0))
    loss.backward()
    assert prediction.grad is not None
    assert loss > 1
    assert (prediction.grad.sum() < 0).item()


def test_metrics_of_known_errors() -> None:
    metrics = task().new_metrics()
    metrics.update(maps(1.2, 3.0, -1.0, 9.0), maps(1.0, 2.0, 4.0, 0.0))
    values = metrics.compute()
    assert list(values) == list(Depth.metric_directions)
    expected = {
        "rel": (0.2 + 0.5 + 1.25) / 3,
        "abs": (0.2 + 1 + 5) / 3,
        "rmse": math.sqrt((0.04 + 1 + 25) / 3),
        "log_rmse": math.sqrt((math.log(1.2) ** 2 + math.log(1.5) ** 2 + math.log(1e-6 / 4) ** 2) / 3),
        "delta1": 100 / 3,
        "delta2": 200 / 3,
        "delta3": 200 / 3,
    }
    assert_close(values, expected, atol=1e-5, rtol=1e-5)


def test_inverse_depth_is_predicted_and_metres_are_measured() -> None:
    target, prediction = maps(2.0, 4.0, 0.0), maps(0.5, 0.5, 9.0)
    inverse = task(inverse=True)
    assert_close(inverse.loss_value(prediction, target).item(), 0.125)
    metrics, others = inverse.new_metrics(), task().new_metrics()
    metrics.update(prediction, target)
    others.update(maps(2.0, 2.0, 7.0), target)
    assert metrics.compute() == others.compute()


def test_inverse_depth_below_zero_is_a_kilometre() -> None:
    metrics = task(inverse=True).new_metrics()
    metrics.update(maps(-3.0), maps(10.0))
    assert_close(metrics.compute()["abs"], 990.0)


def test_scale_invariant_log_is_the_same_of_inverse_depth() -> None:
    target, prediction = 1 + torch.rand(2, 1, 4, 5), 1 + torch.rand(2, 1, 4, 5)
    loss = task(loss="scale_invariant_log").loss_value(prediction, target)
    assert_close(task(loss="scale_invariant_log", inverse=True).loss_value(1 / prediction, target), loss)
