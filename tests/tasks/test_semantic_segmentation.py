"""Semantic segmentation: what is decoded, what is lost, what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch.testing import assert_close
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from graphnas.errors import DataError
from graphnas.tasks.semantic_segmentation import SemanticSegmentation


def task(**fields: Any) -> SemanticSegmentation:
    return SemanticSegmentation.model_validate({"key": "seg.png", "classes": 4, **fields})


def test_decodes_ids() -> None:
    raw = np.array([[0, 3], [255, 1]], dtype=np.uint8)
    assert task().decode(raw, file="a.png").tolist() == raw.tolist()
    assert task(ignore_index=-1).decode(np.array([[0, -1]]), file="a.npy").tolist() == [[0, -1]]
    assert task().decode(np.array([[[0.0], [2.0]]]), file="a.npy").tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            np.array([[0, 7]], np.uint8),
            "a.tar: 3.seg.png: class id 7 is outside 0 to 3 and is not ignore_index, 255\n  fix: ignore_index: 7, or classes: 8",
        ),
        (
            np.array([[0, 7, 9]], np.uint8),
            "a.tar: 3.seg.png: class id 7 is outside 0 to 3 and is not ignore_index, 255\n  fix: classes: 10",
        ),
        (
            np.array([[-2, 7]], np.int32),
            "a.tar: 3.seg.png: class id -2 is outside 0 to 3 and is not ignore_index, 255\n"
            "  fix: correct the label, whose wrong ids are -2, 7",
        ),
        (
            np.array([[0, -1]], np.int32),
            "a.tar: 3.seg.png: class id -1 is outside 0 to 3 and is not ignore_index, 255\n  fix: ignore_index: -1",
        ),
        (np.array([[0.5, 1.0]]), "a.tar: 3.seg.png: class ids are whole numbers, got 0.5\n  fix: another key"),
        (
            np.zeros((2, 2, 3), np.uint8),
            (
                "a.tar: 3.seg.png: a label of semantic segmentation has one channel, got 2x2x3\n"
                "  fix: a grayscale image or a palette image, or another key"
            ),
        ),
    ],
)
def test_labels_of_another_kind(raw: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        task().decode(raw, file="a.tar: 3.seg.png")
    assert str(raised.value) == message


def test_one_class_is_no_choice() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        task(classes=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs(smoothing: float) -> None:
    prediction, target = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 3, 5))
    target[0, 0] = 255
    expected = F.cross_entropy(prediction, target, ignore_index=255, label_smoothing=smoothing)
    assert_close(task(label_smoothing=smoothing).loss_value(prediction, target), expected)
    assert_close(task(label_smoothing=smoothing).loss_value(prediction, target.to(torch.uint8)), expected)


def test_a_smaller_prediction_is_resized() -> None:
    prediction, target = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 6, 10))
    larger = F.interpolate(prediction, scale_factor=2, mode="bilinear", align_corners=False)
    assert_close(task().loss_value(prediction, target), F.cross_entropy(larger, target))


def test_metrics_are_torchmetrics() -> None:
    prediction, target = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 8, 8))
    target[1] = 255
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    miou = MulticlassJaccardIndex(4, ignore_index=255)(prediction, target)
    accuracy = MulticlassAccuracy(4, ignore_index=255, average="micro")(prediction, target)
    assert_close(metrics.compute(), {"miou": 100 * miou.item(), "pixel_accuracy": 100 * accuracy.item()}, atol=1e-4, rtol=0)


def test_a_class_in_neither_labels_nor_predictions_is_left_out() -> None:
    target = torch.tensor([[[0, 0, 1, 1]]])
    prediction = F.one_hot(torch.tensor([[[0, 0, 0, 1]]]), 4).movedim(-1, 1).float()
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    assert_close(metrics.compute(), {"miou": 100 * (2 / 3 + 1 / 2) / 2, "pixel_accuracy": 75.0})


def test_an_ignored_class_has_no_iou() -> None:
    target = torch.tensor([[[0, 0, 1, 1]]])
    prediction = F.one_hot(torch.tensor([[[0, 0, 0, 1]]]), 4).movedim(-1, 1).float()
    metrics = task(ignore_index=0).new_metrics()
    metrics.update(prediction, target)
    assert metrics.compute() == {"miou": 50.0, "pixel_accuracy": 50.0}
