"""Disparity: what is decoded, what is lost, what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from graphnas.errors import DataError
from graphnas.tasks.disparity import Disparity


def task(**fields: Any) -> Disparity:
    return Disparity.model_validate({"key": "disparity.png", "unit": "pixels", **fields})


def test_decodes_the_encoding_of_cityscapes() -> None:
    raw = np.array([[0, 1], [257, 32257]], dtype=np.uint16)
    target = task(encoding={"offset": 1, "scale": 256, "invalid": 0}).decode(raw, file="a.png")
    assert target.tolist() == [[[0, 0], [1, 126]]]
    assert target.dtype == torch.float32


def test_what_is_no_disparity_is_unlabeled() -> None:
    assert task().decode(np.array([[np.nan, -1, np.inf, 2, 0]]), file="a.npy").tolist() == [[[0, 0, 0, 2, 0]]]


def test_computed_from_depth() -> None:
    raw = np.array([[0, 2000, 500, 65535]], dtype=np.uint16)
    camera = {"scale": 0.001, "baseline": 0.2, "focal_length": 100.0, "invalid": 65535}
    assert_close(task(from_depth=camera).decode(raw, file="a.png"), torch.tensor([[[0.0, 10.0, 40.0, 0.0]]]))
    inverse = task(unit="inverse_metres", from_depth={"scale": 0.001, "invalid": [65535]})
    assert_close(inverse.decode(raw, file="a.png"), torch.tensor([[[0.0, 0.5, 2.0, 0.0]]]))
    assert task(from_depth=camera).decode(np.array([[np.nan, -3.0, np.inf]]), file="a.npy").tolist() == [[[0, 0, 0]]]


def test_what_transforms_do_follows_from_the_unit() -> None:
    assert task().target_kind == "pixel_disparity"
    assert task(unit="inverse_metres").target_kind == "inverse_depth"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"from_depth": {"baseline": 1}}, "disparities in pixels need the focal_length"),
        ({"from_depth": {"focal_length": 1}}, "disparities in pixels need the baseline"),
        ({"unit": "inverse_metres", "from_depth": {"baseline": 1}}, "1 / metres need no baseline"),
        ({"encoding": {}, "from_depth": {"baseline": 1, "focal_length": 1}}, "labels are disparities or depths, not both"),
        ({"unit": None}, "Input should be 'pixels' or 'inverse_metres'"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**fields)


def test_a_color_image_is_no_disparity() -> None:
    with pytest.raises(DataError) as raised:
        task().decode(np.zeros((2, 2, 3), np.uint8), file="a.png")
    assert str(raised.value) == (
        "a.png: a label of disparity has one channel, got 2x2x3\n  fix: a grayscale image or a palette image, or another key"
    )


def test_why_a_flip_is_refused() -> None:
    assert task().why_not("flip") == (
        "its labels are stereo disparities in pixels, and a flip swaps the sides that the two views lie on",
        "leave it out; or, where a network sees one view, unit: inverse_metres",
    )


def test_loss_and_metrics_by_hand() -> None:
    prediction, target = torch.tensor([[[[1.5, 7.0, 3.0]]]]), torch.tensor([[[[1.0, 2.0, 0.0]]]])
    assert_close(task().loss_value(prediction, target).item(), 2.75)
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    assert list(metrics.compute()) == list(Disparity.metric_directions)
    assert_close(metrics.compute(), {"abs": 2.75, "rel": (0.5 + 2.5) / 2, "rmse": math.sqrt((0.25 + 25) / 2)})
