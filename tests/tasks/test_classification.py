"""Classification: what is decoded, what is lost, what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch.testing import assert_close
from torchmetrics.classification import MulticlassAccuracy, MultilabelAveragePrecision

from graphnas.errors import DataError
from graphnas.tasks.classification import Classification

ROOMS = ["kitchen", "bedroom", "hall", "bath"]


def task(**fields: Any) -> Classification:
    return Classification.model_validate({"key": "scene", "classes": 4, **fields})


@pytest.mark.parametrize("raw", [2, 2.0, [2], [[2]], np.int64(2), "hall", ["hall"]])
def test_decodes_a_class(raw: Any) -> None:
    target = task(names=ROOMS).decode(np.asarray(raw), file="a")
    assert target.shape == ()
    assert target.dtype == torch.int64
    assert target.item() == 2


def test_classes_that_are_not_labeled() -> None:
    assert task().decode(np.asarray(-1), file="a").item() == -1
    assert task(ignore_index=255).decode(np.asarray(255), file="a").item() == 255
    assert task().decode(np.asarray(np.nan), file="a").item() == -1
    assert task(names=ROOMS, unknown="skip").decode(np.asarray("attic"), file="a").item() == -1


def test_decodes_several_classes() -> None:
    several = task(names=ROOMS, multi_label=True)
    assert several.loss == "binary_cross_entropy"
    assert several.decode(np.asarray(["hall", "kitchen", "hall"]), file="a").tolist() == [1, 0, 1, 0]
    assert several.decode(np.asarray([]), file="a").tolist() == [0, 0, 0, 0]
    assert several.decode(np.asarray([True, False, False, True]), file="a").tolist() == [1, 0, 0, 1]
    marks = several.decode(np.asarray([[0, 1, -1, np.nan]]), file="a")
    assert_close(marks, torch.tensor([0.0, 1.0, math.nan, math.nan]), equal_nan=True)
    assert task(names=ROOMS, multi_label=True, unknown="skip").decode(np.asarray(["attic", "bath"]), file="a").tolist() == [0, 0, 0, 1]


def test_decodes_distributions() -> None:
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    assert_close(task(target="probabilities").decode(shares, file="a"), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    for shift in (0.0, 500.0):
        logits = task(target="logits", temperature=2.0).decode(2 * np.log(shares) + shift, file="a")
        assert_close(logits, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert task(target="logits").decode(np.full(4, np.nan), file="a").isnan().all()


def test_a_subset_of_a_distribution_adds_up_to_one() -> None:
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    fields = {"classes": 2, "subset": [3, 1]}
    assert_close(task(target="probabilities", **fields).decode(shares, file="a"), torch.tensor([0.4, 0.2]) / 0.6)
    assert_close(task(target="logits", **fields).decode(np.log(shares), file="a"), torch.tensor([0.4, 0.2]) / 0.6)
    assert task(target="probabilities", **fields).decode(np.array([1.0, 0, 0, 0]), file="a").isnan().all()


@pytest.mark.parametrize(
    ("fields", "raw", "message"),
    [
        ({}, 7, "a: class 7 is outside 0 to 3\n  fix: ignore_index: 7, or classes: 8"),
        ({}, -2, "a: class -2 is outside 0 to 3\n  fix: ignore_index: -2"),
        ({}, 1.5, "a: a class is a whole number, got 1.5\n  fix: another key, or target: probabilities"),
        ({}, [0.5, 0.5], "a: a label is one class, got 2 values\n  fix: target: probabilities, or target: logits"),
        ({}, ["hall", "bath"], "a: a label is one class, got 2 values\n  fix: multi_label: true"),
        ({}, "hall", "a: the class is named, 'hall', and the task names none\n  fix: names: [hall, ...]"),
        (
            {"names": ROOMS},
            "hal",
            "a: unknown class 'hal'\n  fix: did you mean 'hall'?; or add it to names, or unknown: skip",
        ),
        (
            {"names": ROOMS, "multi_label": True},
            ["hall", "attic"],
            "a: unknown class 'attic'\n  fix: one of bath, bedroom, hall, kitchen; or add it to names, or unknown: skip",
        ),
        (
            {"multi_label": True},
            [0, 1, 1],
            "a: 3 numbers of 4 classes\n  fix: a 0 or 1 a class, or names; or classes: 3",
        ),
        (
            {"multi_label": True},
            [0, 1, 2, 1],
            "a: 2 is neither 0 nor 1\n  fix: ignore_index: 2 if it means unknown; or another key",
        ),
        ({"target": "logits"}, [1.0, 2.0], "a: 2 numbers of 4 classes\n  fix: classes: 2, or a subset of them"),
        ({"target": "logits"}, "hall", "a: logits are numbers, got text\n  fix: target: class"),
        (
            {"target": "probabilities"},
            [0.5, 0.5, 0.5, -0.5],
            "a: probabilities are 0 or more and add up to 1; the least is -0.5, their sum 1\n  fix: target: logits, or correct the label",
        ),
        (
            {"target": "probabilities"},
            [0.5, 0.5, 0.5, 0],
            "a: probabilities are 0 or more and add up to 1; the least is 0, their sum 1.5\n  fix: target: logits, or correct the label",
        ),
    ],
)
def test_labels_of_another_kind(fields: dict[str, Any], raw: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        task(**fields).decode(np.asarray(raw), file="a")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ["a"]}, "1 names of 4 classes"),
        ({"names": ["a", "b", "b", "c"]}, "'b' stands twice"),
        ({"classes": 1}, "one class is no choice"),
        ({"loss": "binary_cross_entropy"}, "binary_cross_entropy with multi_label: false"),
        ({"multi_label": True, "loss": "cross_entropy"}, "cross_entropy with multi_label: true"),
        ({"multi_label": True, "target": "logits"}, "logits are of one class, and there may be several"),
        ({"subset": [1, 2, 3, 4]}, "a label that is a class has no entries to choose from"),
        ({"subset": [1, 2], "target": "logits"}, "2 entries of 4 classes"),
        ({"temperature": 2}, "a temperature is of logits, and the target is class"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**fields)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_classes_is_torchs(smoothing: float) -> None:
    prediction, target = torch.randn(6, 4), torch.tensor([0, 1, -1, 3, 2, -1])
    expected = F.cross_entropy(prediction, target, ignore_index=-1, label_smoothing=smoothing)
    assert_close(task(label_smoothing=smoothing).loss_value(prediction, target), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_distributions_is_torchs(smoothing: float) -> None:
    prediction, target = torch.randn(6, 4), torch.randn(6, 4).softmax(1)
    expected = F.cross_entropy(prediction[:4], target[:4], label_smoothing=smoothing)
    target[4:] = math.nan
    assert_close(task(target="probabilities", label_smoothing=smoothing).loss_value(prediction, target), expected)


def test_loss_of_several_classes_is_over_what_is_known() -> None:
    prediction, target = torch.randn(6, 4), torch.randint(0, 2, (6, 4)).float()
    several = task(multi_label=True)
    assert_close(several.loss_value(prediction, target), F.binary_cross_entropy_with_logits(prediction, target))
    target[0] = math.nan
    target[1, 2] = math.nan
    known = target.isfinite()
    assert_close(several.loss_value(prediction, target), F.binary_cross_entropy_with_logits(prediction[known], target[known]))


def test_accuracies_are_torchmetrics() -> None:
    prediction, target = torch.randn(200, 8), torch.randint(0, 7, (200,))  # of the eighth class there is no sample
    metrics = task(classes=8).new_metrics()
    metrics.update(prediction, target)
    each = MulticlassAccuracy(8, average="none")(prediction, target)
    expected = {
        "top1": 100 * MulticlassAccuracy(8, average="micro")(prediction, target).item(),
        "top5": 100 * MulticlassAccuracy(8, average="micro", top_k=5)(prediction, target).item(),
        "class_accuracy": 100 * each[:7].mean().item(),
    }
    assert list(metrics.compute()) == list(expected)
    assert_close(metrics.compute(), expected, atol=1e-4, rtol=0)


def test_five_classes_have_no_top5() -> None:
    assert list(task(classes=5).metric_directions) == ["top1", "class_accuracy"]


def test_the_class_of_a_distribution_is_its_likeliest() -> None:
    soft, hard = task(target="probabilities").new_metrics(), task().new_metrics()
    prediction, target = torch.randn(30, 4), torch.randn(30, 4).softmax(1)
    soft.update(prediction, target)
    hard.update(prediction, target.argmax(1))
    assert soft.compute() == hard.compute()


def test_average_precision_is_torchmetrics() -> None:
    prediction, target = torch.randn(50, 3), torch.randint(0, 2, (50, 3)).float()
    metrics = task(classes=4, names=ROOMS, multi_label=True).new_metrics()
    absent = torch.cat([target, torch.zeros(50, 1)], dim=1)  # no sample is of the fourth class
    absent[7, 3] = math.nan
    metrics.update(torch.cat([prediction, torch.randn(50, 1)], dim=1), absent)
    each = 100 * MultilabelAveragePrecision(3, average="none")(prediction, target.long()).double()
    values = metrics.compute()
    assert list(values) == ["map", "ap/kitchen", "ap/bedroom", "ap/hall", "ap/bath"]
    expected = [float(each.mean()), *(float(value) for value in each), math.nan]
    assert_close(list(values.values()), expected, atol=1e-5, rtol=0, equal_nan=True)
