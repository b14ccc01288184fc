"""What every task type must do, whatever it predicts."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from graphnas.registry import task_types
from graphnas.schema import Named, Spec
from graphnas.tasks import Labeled, TaskType

FIELDS: dict[str, list[dict[str, Any]]] = {
    "surface_normal": [{"loss": loss} for loss in ("cosine", "l1", "l2")],
    "semantic_segmentation": [{"classes": 5}, {"classes": 5, "label_smoothing": 0.1}],
    "depth": [{"loss": loss} for loss in ("l1", "berhu", "scale_invariant_log")],
}


class Holder(Spec):
    task: Annotated[Spec, Named(task_types, "type")]


def build(name: str, **fields: Any) -> TaskType:
    made = Holder.model_validate({"task": {"type": name, "key": "label", **fields}}).task
    assert isinstance(made, TaskType)
    return made


ALL = [pytest.param(build(name, **fields), id="-".join([name, *map(str, fields.values())])) for name in FIELDS for fields in FIELDS[name]]


def raw_label(task: TaskType, height: int, width: int, *, labeled: float) -> np.ndarray:
    """A random label, a share of whose pixels is labeled."""
    random = np.random.default_rng(0)
    mask = random.random((height, width)) < labeled
    if task.target_kind == "ids":
        return np.where(mask, random.integers(0, task.out_channels, (height, width)), 255).astype(np.uint8)
    if task.target_kind == "depth":
        return np.where(mask, 1 + random.random((height, width)), 0).astype(np.float32)
    return np.where(mask[..., None], random.standard_normal((height, width, 3)), 0).astype(np.float32)


def targets(task: TaskType, count: int = 4, *, labeled: float = 0.7) -> Tensor:
    raw = raw_label(task, 6, 7 * count, labeled=labeled)
    return torch.stack([task.decode(part, file="f") for part in np.split(raw, count, axis=1)])


def test_every_type_is_here() -> None:
    assert set(FIELDS) == set(task_types.names())


@pytest.mark.parametrize("task", ALL)
def test_round_trip(task: TaskType) -> None:
    assert Holder.model_validate({"task": task.model_dump(mode="json")}).task == task


@pytest.mark.parametrize("task", ALL)
def test_target_has_the_shape_of_its_kind(task: TaskType) -> None:
    shape = {"ids": (6, 7), "depth": (1, 6, 7), "normal": (3, 6, 7)}[task.target_kind]
    assert task.decode(raw_label(task, 6, 7, labeled=0.5), file="f").shape == shape


@pytest.mark.parametrize("task", ALL)
def test_without_labels_loss_and_gradient_are_exactly_zero(task: TaskType) -> None:
    target = targets(task, labeled=0)
    for scale in (0.0, 1.0):
        prediction = (scale * torch.randn(4, task.out_channels, 6, 7)).requires_grad_()
        loss = task.loss_value(prediction, target)
        loss.backward()
        assert loss.item() == 0
        assert prediction.grad is not None
        assert prediction.grad.eq(0).all()


@pytest.mark.parametrize("task", ALL)
def test_a_batch_of_no_samples_has_no_loss(task: TaskType) -> None:
    prediction = torch.randn(0, task.out_channels, 6, 7, requires_grad=True)
    loss = task.loss_value(prediction, targets(task)[:0])
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("task", ALL)
def test_unlabeled_pixels_do_not_count(task: TaskType) -> None:
    target = targets(task)
    unlabeled = target == 255 if task.target_kind == "ids" else target.eq(0).all(1)
    prediction = 1 + torch.rand(4, task.out_channels, 6, 7)
    changed = torch.where(unlabeled[:, None], prediction + 10, prediction) if unlabeled.ndim == 3 else prediction
    assert_close(task.loss_value(changed, target), task.loss_value(prediction, target), rtol=1e-6, atol=1e-6)


# berhu's limit, a share of the largest error, is a constant of the batch: no gradient goes through it
@pytest.mark.parametrize("task", [case for case in ALL if "berhu" not in str(case.id)])
def test_gradient_is_the_numerical_one(task: TaskType) -> None:
    target = targets(task, 1)
    target = target if task.target_kind == "ids" else target.double()
    prediction = (1 + torch.rand(1, task.out_channels, 6, 7, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: task.loss_value(p, target), (prediction,))


@pytest.mark.parametrize("task", ALL)
def test_metrics_start_as_nan(task: TaskType) -> None:
    metrics = task.new_metrics()
    metrics.update(torch.randn(4, task.out_channels, 6, 7), targets(task, labeled=0))
    values = metrics.compute()
    assert set(values) == set(task.metric_directions)
    assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize("name", task_types.names())
@given(split=st.integers(1, 7))
def test_metrics_do_not_depend_on_batches(name: str, split: int) -> None:
    task = build(name, **FIELDS[name][0])
    target = targets(task, 8)
    prediction = torch.rand(8, task.out_channels, 6, 7)
    whole, parts = task.new_metrics(), task.new_metrics()
    whole.update(prediction, target)
    for piece in (slice(split), slice(split, None)):
        parts.update(prediction[piece], target[piece])
    assert_close(whole.compute(), parts.compute(), rtol=1e-8, atol=0)  # a float32 kernel may round a pixel by its place in the batch
    assert all(math.isfinite(value) for value in whole.compute().values())


@pytest.mark.parametrize("task", ALL)
def test_metrics_resize_the_prediction(task: TaskType) -> None:
    metrics = task.new_metrics()
    metrics.update(torch.rand(4, task.out_channels, 3, 4), targets(task))
    assert all(math.isfinite(value) for value in metrics.compute().values())


@pytest.mark.parametrize("task", ALL)
def test_bfloat16_predictions_are_measured(task: TaskType) -> None:
    metrics = task.new_metrics()
    metrics.update(torch.rand(4, task.out_channels, 6, 7, dtype=torch.bfloat16), targets(task))
    assert all(math.isfinite(value) for value in metrics.compute().values())


def test_labeled_is_a_count_or_a_fraction() -> None:
    assert build("depth", labeled=100).labeled == Labeled(count=100)
    for fields in ({}, {"count": 3, "fraction": 0.5}):
        with pytest.raises(ValidationError, match="one of count and fraction says how many labels there are"):
            build("depth", labeled=fields)
    with pytest.raises(ValidationError, match="greater than 0"):
        build("depth", labeled={"fraction": 0})


def test_a_field_that_is_not_there() -> None:
    with pytest.raises(ValidationError) as raised:
        build("semantic_segmentation", classes=3, ignore=255)
    [error] = raised.value.errors()
    assert error["msg"] == "unknown field 'ignore'"
