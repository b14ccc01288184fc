"""Losses, options and metrics of every task type, with values that a person can work out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphnas.registry import task_types
from graphnas.tasks.base import TaskType

NAN = math.nan
LOG2 = math.log(2)
HALF_DICE = 1 - 2 * 0.5 / (1 + 1)  # of two classes, a pixel each, both of probability one half


def task(kind: str, **fields: Any) -> TaskType:
    return task_types.get(kind).model_validate({"type": kind, "key": "k", **fields})


def ids(*numbers: int, kind: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor([[numbers]], dtype=kind)


def row(*numbers: float) -> Tensor:
    return torch.tensor([[[numbers]]], dtype=torch.float32)


def zeros(channels: int, pixels: int) -> Tensor:
    return torch.zeros(1, channels, 1, pixels)


UP, RIGHT = torch.tensor([0.0, 1, 0]).view(1, 3, 1, 1), torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1)
SEG = "semantic_segmentation"
ONE_HALF = torch.tensor([[0.0, math.log(3)]])  # probabilities of 1/4 and 3/4

LOSSES: dict[str, tuple[TaskType, Tensor, Tensor, float]] = {
    "cross entropy": (task(SEG, classes=2), zeros(2, 3), ids(0, 1, 255), LOG2),
    "another ignore_index": (task(SEG, classes=2, ignore_index=-1), zeros(2, 3), ids(0, 1, -1), LOG2),
    "class weights": (
        task(SEG, classes=2, class_weights=[1, 3]),
        torch.tensor([0.0, 0, math.log(3), math.log(3)]).view(1, 2, 1, 2),
        ids(0, 1),
        (math.log(4) + 3 * math.log(4 / 3)) / 4,
    ),
    "smooth": (task(SEG, classes=2, label_smoothing=0.5), ONE_HALF.view(1, 2, 1, 1), ids(1), 0.75 * math.log(4 / 3) + 0.25 * math.log(4)),
    "dice": (task(SEG, classes=2, loss="dice"), zeros(2, 2), ids(0, 1), HALF_DICE),
    "a sum": (task(SEG, classes=2, loss={"cross_entropy": 2, "dice": 0.5}), zeros(2, 3), ids(0, 1, 255), 2 * LOG2 + HALF_DICE / 2),
    "one class": (task(SEG, classes=1), zeros(1, 2), ids(0, 1), LOG2),
    "cosine": (task("surface_normal"), RIGHT, UP, 1.0),
    "angular": (task("surface_normal", loss="angular"), RIGHT, UP, math.pi / 2),
    "l1 of unit vectors": (task("surface_normal", loss="l1"), RIGHT, UP, 2 / 3),
    "l2 of unit vectors": (task("surface_normal", loss="l2"), RIGHT, UP, 2 / 3),
    "depth": (task("depth"), row(3, 9), row(2, 0), 1.0),
    "berhu": (task("depth", loss="berhu"), row(1.5, 7), row(1, 2), (0.5 + (25 + 1) / 2) / 2),
    "scale-invariant": (task("depth", loss="scale_invariant_log"), row(math.e, math.e), row(1, 1), 0.5),
    "inverse": (task("depth", inverse=True), row(1, 9), row(2, 0), 0.5),
    "disparity": (task("disparity", unit="pixels"), row(3, 9), row(2, 0), 1.0),
    "a class": (task("classification", classes=2), torch.zeros(2, 2), torch.tensor([1, -1]), LOG2),
    "a smooth class": (
        task("classification", classes=2, label_smoothing=0.5), ONE_HALF, torch.tensor([1]), 0.75 * math.log(4 / 3) + 0.25 * math.log(4),
    ),
    "a distribution": (
        task("classification", classes=2, target="probabilities"),
        ONE_HALF.repeat(2, 1),
        torch.tensor([[0.5, 0.5], [NAN, NAN]]),
        0.5 * math.log(4) + 0.5 * math.log(4 / 3),
    ),
    "several classes": (task("classification", classes=2, multi_label=True), torch.zeros(1, 2), torch.tensor([[1, NAN]]), LOG2),
    "balanced": (task("boundary"), zeros(1, 4), ids(1, 0, 0, 255, kind=torch.uint8), LOG2),
    "weighted": (task("boundary", positive_weight=3), zeros(1, 2), ids(1, 0, kind=torch.uint8), (3 * LOG2 + LOG2) / 2),
    "l1": (task("regression", channels=1), row(1, 5, 9), row(0, 0, NAN), 3.0),
    "l2": (task("regression", channels=1, loss="l2"), row(1, 5, 9), row(0, 0, NAN), 13.0),
    "huber": (task("regression", channels=1, loss="huber", delta=2), row(1, 5, 9), row(0, 0, NAN), (0.5 + 2 * (5 - 1)) / 2),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    kind, prediction, target, expected = LOSSES[name]
    assert_close(kind.loss_value(prediction, target), torch.tensor(expected))


METRICS: dict[str, tuple[TaskType, Tensor, Tensor, dict[str, float]]] = {
    "classes": (
        task("classification", classes=6),
        torch.tensor([[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [9, 0, 0, 0, 0, 0]]),
        torch.tensor([0, 4, 5, -1]),
        {"top1": 100 / 3, "top5": 200 / 3, "class_accuracy": 100 / 3},  # right, second, last, not labeled
    ),
    "several classes": (
        task("classification", classes=2, multi_label=True),
        torch.tensor([[3.0, 1], [2, 2], [1, 3]]),
        torch.tensor([[1.0, NAN], [0, 0], [1, 1]]),
        {"map": (100 * (1 + 2 / 3) / 2 + 100) / 2, "ap/0": 100 * (1 + 2 / 3) / 2, "ap/1": 100},
    ),
    "numbers": (
        task("regression", channels=1, per="sample", geometry="none"),
        torch.tensor([[1.0], [2], [4], [99]]),
        torch.tensor([[1.0], [3], [2], [NAN]]),
        {"mae": 1, "rmse": math.sqrt(5 / 3), "r2": 1 - 5 / 2},
    ),
    "disparities": (
        task("disparity", unit="pixels"), row(3, 5, 9), row(2, 4, 0), {"abs": 1, "rel": (1 / 2 + 1 / 4) / 2, "rmse": 1},
    ),
    "depths": (
        task("depth"),
        row(1.2, 3, 9),
        row(1, 2, 0),
        {"rel": 0.35, "abs": 0.6, "rmse": math.sqrt(1.04 / 2), "log_rmse": math.sqrt((math.log(1.2) ** 2 + math.log(1.5) ** 2) / 2)}
        | {"delta1": 50, "delta2": 100, "delta3": 100},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str) -> None:
    kind, prediction, target, expected = METRICS[name]
    metrics = kind.new_metrics()
    metrics.update(prediction, target)
    assert_close(metrics.compute(), {key: float(value) for key, value in expected.items()}, rtol=1e-6, atol=1e-6)


def test_labels() -> None:
    logits = task("classification", classes=2, target="logits", temperature=2)
    assert_close(logits.decode(np.array([2 * math.log(3), 0.0]), file="a.npy"), torch.tensor([0.75, 0.25]))
    names = task("classification", classes=2, names=["door", "lamp"], multi_label=True, unknown="skip")
    assert names.decode(np.array(["lamp", "ghost"]), file="a.json").tolist() == [0, 1]
    flow = task("regression", channels=2, geometry="vector", unit="pixels", encoding={"offset": 32768, "scale": 64, "invalid": 0})
    assert flow.decode(np.array([[[32832, 32704]]]), file="a.png").tolist() == [[[1]], [[-1]]]
