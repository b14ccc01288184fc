"""Semantic segmentation: what is decoded, what is lost, what is measured."""

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
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from graphnas.errors import DataError
from graphnas.tasks.semantic_segmentation import SegmentationMetrics, SemanticSegmentation


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": 0}, "greater than 0"),
        ({"names": ["a", "b", "c"]}, "3 names of 4 classes"),
        ({"names": ["a", "b", "c", "a"]}, "'a' stands twice"),
        ({"class_weights": [1, 2, 3]}, "3 class weights of 4 classes"),
        ({"class_weights": [1, 2, 3, -1]}, "greater than or equal to 0"),
        ({"loss": {}}, "an empty sum"),
        ({"loss": {"cross_entropy": 0}}, "greater than 0"),
        ({"loss": "crossentropy"}, "Input should be 'cross_entropy' or 'dice'"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**fields)


def test_the_ids_of_one_class() -> None:
    one = task(classes=1)
    assert one.out_channels == 1
    assert one.decode(np.array([[0, 1, 255]]), file="a.png").tolist() == [[0, 1, 255]]
    with pytest.raises(DataError) as raised:
        one.decode(np.array([[0, 2]]), file="a.png")
    assert str(raised.value) == ("a.png: class id 2 is outside 0 to 1 and is not ignore_index, 255\n  fix: ignore_index: 2, or classes: 3")


def test_the_size_of_numbers_does_not_depend_on_the_label() -> None:
    for ignored, dtype in ((255, torch.uint8), (-1, torch.int64), (300, torch.int64)):
        assert task(ignore_index=ignored).decode(np.array([[0, 1]]), file="a.png").dtype == dtype


def test_not_a_number_is_no_class() -> None:
    with pytest.raises(DataError) as raised:
        task().decode(np.array([[np.nan, 1]]), file="a.npy")
    assert str(raised.value) == "a.npy: class ids are whole numbers, got nan\n  fix: another key"


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs(smoothing: float) -> None:
    prediction, target = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 3, 5))
    target[0, 0] = 255
    expected = F.cross_entropy(prediction, target, ignore_index=255, label_smoothing=smoothing)
    assert_close(task(label_smoothing=smoothing).loss_value(prediction, target), expected)
    assert_close(task(label_smoothing=smoothing).loss_value(prediction, target.to(torch.uint8)), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_torchs(smoothing: float) -> None:
    prediction, target, weights = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 3, 5)), [1.0, 0.5, 0.0, 2.0]
    target[0, 0] = 255
    expected = F.cross_entropy(prediction, target, torch.tensor(weights), ignore_index=255, label_smoothing=smoothing)
    assert_close(task(class_weights=weights, label_smoothing=smoothing).loss_value(prediction, target), expected)


def test_a_batch_of_classes_without_weight_has_no_loss() -> None:
    loss = task(class_weights=[0, 1, 1, 1]).loss_value(torch.randn(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    assert loss.item() == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_class_is_two_logits_of_which_one_is_zero(smoothing: float) -> None:
    logit, target = torch.randn(2, 1, 3, 5), torch.randint(0, 2, (2, 3, 5))
    target[0, 0] = 255
    two = torch.cat([torch.zeros_like(logit), logit], dim=1)
    for weights in ([], [3.0]):
        one = task(classes=1, label_smoothing=smoothing, class_weights=weights).loss_value(logit, target)
        both = task(classes=2, label_smoothing=smoothing, class_weights=[1.0, *weights] if weights else [])
        if not (smoothing and weights):  # torch weights the smoothed parts by their classes, too
            assert_close(one, both.loss_value(two, target))
    metrics, others = task(classes=1).new_metrics(), task(classes=2).new_metrics()
    metrics.update(logit, target)
    others.update(two, target)
    assert_close(metrics.compute()["miou"], others.compute()["iou/1"])
    assert metrics.compute()["pixel_accuracy"] == others.compute()["pixel_accuracy"]


def test_dice_by_hand() -> None:
    logits = torch.full((1, 4, 1, 4), -100.0)
    for pixel, predicted in enumerate((0, 0, 1, 2)):
        logits[0, predicted, 0, pixel] = 100
    target = torch.tensor([[[0, 1, 1, 255]]])  # the fourth pixel is not labeled; class 0: 2 * 1 / (2 + 1); class 1: 2 * 1 / (1 + 2)
    assert_close(task(loss="dice").loss_value(logits, target).item(), 1 / 3)
    one = task(classes=1, loss="dice")
    assert_close(one.loss_value(torch.tensor([[[[100.0, 100.0, -100.0, 100.0]]]]), target).item(), 0.5)
    assert one.loss_value(torch.zeros(1, 1, 1, 4), torch.zeros_like(target)).item() == 0  # nothing of the class in this batch


def test_a_sum_of_losses() -> None:
    prediction, target = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 3, 5))
    parts = [task(loss=loss).loss_value(prediction, target) for loss in ("cross_entropy", "dice")]
    both = task(loss={"cross_entropy": 1, "dice": 0.5})
    assert_close(both.loss_value(prediction, target), parts[0] + 0.5 * parts[1])
    assert both.model_dump(mode="json")["loss"] == {"cross_entropy": 1, "dice": 0.5}


def test_metrics_are_torchmetrics() -> None:
    prediction, target = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 8, 8))
    target[1] = 255
    metrics = task(names=["wall", "floor", "door", "sky"]).new_metrics()
    metrics.update(prediction, target)
    each = MulticlassJaccardIndex(4, ignore_index=255, average="none")(prediction, target)
    expected = {
        "miou": 100 * MulticlassJaccardIndex(4, ignore_index=255)(prediction, target).item(),
        "pixel_accuracy": 100 * MulticlassAccuracy(4, ignore_index=255, average="micro")(prediction, target).item(),
        **{f"iou/{name}": 100 * value.item() for name, value in zip(("wall", "floor", "door", "sky"), each, strict=True)},
    }
    assert list(metrics.compute()) == list(expected)
    assert_close(metrics.compute(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("ignore_index", [255, -1, 2])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_confusion_matrix_is_torchmetrics(count: int, ignore_index: int) -> None:
    kept, expected = (
        task(classes=count, ignore_index=ignore_index).new_metrics(),
        MulticlassConfusionMatrix(max(count, 2), ignore_index=ignore_index),
    )
    assert isinstance(kept, SegmentationMetrics)
    for _ in range(2):
        logits, target = torch.randn(3, count, 4, 8).round(), torch.randint(0, max(count, 2), (3, 4, 8))  # rounded, some are equal
        target[torch.rand(3, 4, 8) < 0.2] = ignore_index
        kept.update(logits, target)
        expected.update(logits.argmax(dim=1) if count > 1 else logits[:, 0].gt(0).long(), target)
    assert kept._confusion.equal(expected.confmat)


def classes(*values: int) -> Tensor:
    return F.one_hot(torch.tensor([[values]]), 4).movedim(-1, 1).float()


def test_a_class_in_neither_labels_nor_predictions_is_left_out() -> None:
    metrics = task().new_metrics()
    metrics.update(classes(0, 0, 0, 1), torch.tensor([[[0, 0, 1, 1]]]))
    expected = {"miou": 100 * (2 / 3 + 1 / 2) / 2, "pixel_accuracy": 75.0, "iou/0": 200 / 3, "iou/1": 50.0}
    assert_close(metrics.compute(), expected | {"iou/2": math.nan, "iou/3": math.nan}, equal_nan=True)


def test_an_ignored_class_has_no_iou() -> None:
    metrics = task(ignore_index=0).new_metrics()
    metrics.update(classes(0, 0, 0, 1), torch.tensor([[[0, 0, 1, 1]]]))
    values = {name: value for name, value in metrics.compute().items() if not math.isnan(value)}
    assert values == {"miou": 50.0, "pixel_accuracy": 50.0, "iou/1": 50.0}
