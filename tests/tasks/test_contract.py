"""What every task type must do, whatever it predicts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from graphnas.graph.types import Image, Other, Tokens, Vector
from graphnas.registry import task_types
from graphnas.tasks import Labeled, TaskType
from graphnas.tasks.base import Change
from tests.tasks.cases import CASES, HEIGHT, INF, NAN, WIDTH, Case, Holder, build

ALL = [pytest.param(case, id=case.id) for case in CASES]
SHAPES = {
    "ids": (HEIGHT, WIDTH),
    "boundary": (HEIGHT, WIDTH),
    "normal": (3, HEIGHT, WIDTH),
    **dict.fromkeys(("depth", "inverse_depth", "pixel_disparity"), (1, HEIGHT, WIDTH)),
}


def loss_and_gradient(task: TaskType, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = prediction.clone().requires_grad_()
    loss = task.loss_value(leaf, target)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def unlabeled_entries(case: Case, target: Tensor) -> Tensor:
    """Which numbers of a prediction belong to no label, as (N, channels, ...)."""
    kind, channels = case.task.target_kind, case.task.out_channels
    if kind in ("ids", "boundary"):
        without = target.eq(case.task.unlabeled)[:, None]
    elif kind == "sample" and not target.is_floating_point():
        without = target.eq(-1)[:, None]
    elif kind in ("sample", "map"):
        without = target.isnan()
    else:
        without = target.eq(0).all(1, keepdim=True)
    return without.expand(-1, channels, *without.shape[2:])


def test_every_type_is_here() -> None:
    assert {case.type for case in CASES} == set(task_types.names())


@pytest.mark.parametrize("case", ALL)
def test_round_trip(case: Case) -> None:
    dumped = case.task.model_dump(mode="json", by_alias=True)
    assert Holder.model_validate({"task": dumped}).task == case.task


@pytest.mark.parametrize("case", ALL)
def test_target_has_the_shape_of_its_kind(case: Case) -> None:
    task, target = case.task, case.targets(case.labeled(1))[0]
    if task.per_sample:
        assert target.shape == (() if case.raw.__name__ == "ids" else (task.out_channels,))
    else:
        assert target.shape == SHAPES.get(task.target_kind, (task.out_channels, HEIGHT, WIDTH))


@pytest.mark.parametrize("case", ALL)
def test_without_labels_loss_and_gradient_are_exactly_zero(case: Case) -> None:
    for marker in case.markers:
        target = case.targets(case.labeled(share=0), marker)
        for value in (0.0, 1.0, -30.0, NAN, INF):
            loss, gradient = loss_and_gradient(case.task, torch.full_like(case.prediction(), value), target)
            assert loss.item() == 0
            assert gradient.eq(0).all()


@pytest.mark.parametrize("case", ALL)
def test_a_batch_of_no_samples_has_no_loss(case: Case) -> None:
    loss, gradient = loss_and_gradient(case.task, case.prediction()[:0], case.targets(case.labeled())[:0])
    assert loss.item() == 0
    assert gradient.numel() == 0


@pytest.mark.parametrize("case", ALL)
def test_what_stands_where_nothing_is_labeled_changes_no_bit(case: Case) -> None:
    labeled = case.labeled()
    target, prediction = case.targets(labeled), case.prediction()
    without = unlabeled_entries(case, target)
    assert 0 < without.sum() < without.numel()
    loss, gradient = loss_and_gradient(case.task, prediction, target)
    assert loss > 0
    assert gradient[without].eq(0).all()
    assert gradient[~without].ne(0).any()
    metrics = case.task.new_metrics()
    metrics.update(prediction, target)
    for marker in case.markers:
        for junk in (NAN, INF, -INF, -1e30):
            again = case.targets(labeled, marker)
            damaged = prediction.where(~without, junk)
            other_loss, other_gradient = loss_and_gradient(case.task, damaged, again)
            assert_close(other_loss, loss, rtol=0, atol=0)
            assert_close(other_gradient, gradient, rtol=0, atol=0)
            others = case.task.new_metrics()
            others.update(damaged, again)
            assert_close(others.compute(), metrics.compute(), rtol=0, atol=0, equal_nan=True)


# berhu's limit, a share of the largest error, is a constant of the batch: no gradient goes through it
@pytest.mark.parametrize("case", [case for case in ALL if "berhu" not in str(case.id)])
def test_gradient_is_the_numerical_one(case: Case) -> None:
    target = case.targets(case.labeled(2))
    target = target.double() if target.is_floating_point() else target
    prediction = case.prediction(2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: case.task.loss_value(p, target), (prediction,))


@pytest.mark.parametrize("case", ALL)
def test_a_step_against_the_gradient_lowers_the_loss(case: Case) -> None:
    prediction, target = case.prediction().double(), case.targets(case.labeled())
    target = target.double() if target.is_floating_point() else target
    loss, gradient = loss_and_gradient(case.task, prediction, target)
    assert case.task.loss_value(prediction - 1e-3 * gradient, target) < loss


@pytest.mark.parametrize("case", ALL)
def test_metrics_start_as_nan(case: Case) -> None:
    metrics = case.task.new_metrics()
    metrics.update(case.prediction(), case.targets(case.labeled(share=0)))
    values = metrics.compute()
    assert set(values) >= set(case.task.metric_directions)
    assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize("case", ALL)
@given(split=st.integers(1, 15))
def test_metrics_do_not_depend_on_batches(case: Case, split: int) -> None:
    target, prediction = case.targets(case.labeled(16)), case.prediction(16)
    whole, parts = case.task.new_metrics(), case.task.new_metrics()
    whole.update(prediction, target)
    for piece in (slice(split), slice(split, None)):
        parts.update(prediction[piece], target[piece])
    assert_close(whole.compute(), parts.compute(), rtol=1e-8, atol=0)  # a float32 kernel may round a pixel by its place in the batch
    assert all(math.isfinite(value) for value in whole.compute().values())


@pytest.mark.parametrize("case", [case for case in CASES if not case.task.per_sample], ids=lambda case: case.id)
def test_a_smaller_prediction_is_resized(case: Case) -> None:
    target = case.targets(case.labeled())
    small = case.prediction()[:, :, ::2, ::2]
    large = torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    assert_close(case.task.loss_value(small, target), case.task.loss_value(large, target), rtol=0, atol=0)
    metrics, others = case.task.new_metrics(), case.task.new_metrics()
    metrics.update(small, target)
    others.update(large, target)
    assert metrics.compute() == others.compute()


@pytest.mark.parametrize("case", ALL)
def test_bfloat16_predictions_are_measured(case: Case) -> None:
    metrics, others = case.task.new_metrics(), case.task.new_metrics()
    target, prediction = case.targets(case.labeled(16)), case.prediction(16).bfloat16()
    metrics.update(prediction, target)
    others.update(prediction.float(), target)
    assert metrics.compute() == others.compute()


@pytest.mark.parametrize("case", ALL)
def test_what_is_found_on_one_split_is_used_on_another(case: Case) -> None:
    target, prediction = case.targets(case.labeled(16)), case.prediction(16)
    metrics, others = case.task.new_metrics(), case.task.new_metrics()
    metrics.update(prediction, target)
    assert bool(metrics.found()) == case.task.chooses
    others.use(metrics.found())
    others.update(prediction, target)
    assert others.compute() == metrics.compute()


@pytest.mark.parametrize("case", ALL)
def test_networks_that_predict_something_else(case: Case) -> None:
    task, channels = case.task, case.task.out_channels
    image, vector = Image(channels, 6, 7), Vector(channels)
    right, wrong, said = (vector, image, f"vector[{channels}]") if task.per_sample else (image, vector, f"image[{channels}, H, W]")
    assert task.misfit(right) is None
    assert task.misfit(None) is None
    assert task.misfit(Other((1, 2, 3, 4))) is None
    for other in (wrong, Image(channels + 1, 6, 7), Vector(channels + 1), Tokens(5, channels)):
        assert task.misfit(other) == f"it predicts {other}, and the task is of {said}"


CHANGES: tuple[Change, ...] = ("resize", "scale", "crop", "flip", "rotation")


def refused(task: TaskType) -> set[Change]:
    return {change for change in CHANGES if task.why_not(change) is not None}


def test_changes_of_the_image_that_labels_do_not_go_along_with() -> None:
    others = ("surface_normal", "depth", "boundary")
    assert all(refused(build(name)) == set() for name in others)
    assert refused(build("semantic_segmentation", classes=3)) == set()
    assert refused(build("classification", classes=3)) == set()
    assert refused(build("disparity", unit="inverse_metres")) == set()
    assert refused(build("disparity", unit="pixels")) == {"flip", "rotation"}
    assert refused(build("regression", channels=2)) == set(CHANGES)
    assert refused(build("regression", channels=2, geometry="none")) == set()
    assert refused(build("regression", channels=2, geometry="vector")) == {"resize", "scale"}
    assert refused(build("regression", channels=2, geometry="vector", unit="other")) == set()
    assert refused(build("regression", channels=2, geometry="vector", per="sample")) == set()


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
