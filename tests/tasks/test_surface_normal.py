"""Surface normals: what is decoded, what is lost, what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from graphnas.errors import DataError
from graphnas.tasks.surface_normal import WITHIN, SurfaceNormal, angle_degrees

BYTES = {"offset": 128, "scale": 127, "invalid": [128, 128, 128]}


def task(**fields: Any) -> SurfaceNormal:
    return SurfaceNormal.model_validate({"type": "surface_normal", "key": "normal.png", **fields})


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=1)


def test_decodes_unit_vectors_and_the_invalid_color() -> None:
    raw = np.array([[[255, 128, 128], [128, 1, 128]], [[128, 128, 128], [200, 30, 90]]], dtype=np.uint8)
    target = task(encoding=BYTES).decode(raw, file="a.png")
    assert target.dtype == torch.float32
    assert_close(target[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert_close(target[:, 0, 1], torch.tensor([0.0, -1.0, 0.0]))
    assert target[:, 1, 0].tolist() == [0, 0, 0]
    assert_close(target[:, 1, 1].norm(), torch.tensor(1.0))


def test_several_invalid_colors() -> None:
    raw = np.array([[[255, 255, 255], [127, 127, 127], [255, 255, 254]]], dtype=np.uint8)
    target = task(encoding={"offset": 127.5, "scale": 127.5, "invalid": [[255, 255, 255], [127, 127, 127]]}).decode(raw, file="a.png")
    assert target.ne(0).any(0).tolist() == [[False, False, True]]


def test_floats_need_no_encoding_and_nan_or_zero_is_unlabeled() -> None:
    raw = np.array([[[0, 0, 2], [np.nan, 0, 1], [0, 0, 0], [np.inf, 0, 0]]], dtype=np.float64)
    assert task().decode(raw, file="a.npy")[2].tolist() == [[1, 0, 0, 0]]


def test_one_color_and_a_list_of_one_are_the_same() -> None:
    assert task(encoding=BYTES) == task(encoding={**BYTES, "invalid": [[128, 128, 128]]})
    dumped = task(encoding=BYTES).model_dump(mode="json")
    assert SurfaceNormal.model_validate(dumped) == task(encoding=BYTES)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            np.zeros((4, 6), np.uint8),
            "a.png: a label of surface normals has three channels, got 4x6\n  fix: an RGB image or (H, W, 3) numbers, or another key",
        ),
        (
            np.zeros((4, 6, 3), np.uint8),
            (
                "a.png: uint8 numbers are no unit vectors, and no encoding is given\n"
                "  fix: encoding: {offset: 127.5, scale: 127.5}, or what the data set's authors say"
            ),
        ),
    ],
)
def test_labels_of_another_kind(raw: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        task().decode(raw, file="a.png")
    assert str(raised.value) == message


def test_any_frame_becomes_right_up_viewer() -> None:
    raw = unit(1, 3, 4, 5)[0].movedim(0, 2).numpy()
    common = task().decode(raw, file="a.npy")
    for frame, columns in (
        ({"y": "down", "z": "scene"}, [(0, 1), (1, -1), (2, -1)]),
        ({"x": "viewer", "y": "right", "z": "up"}, [(2, 1), (0, 1), (1, 1)]),
        ({"x": "left", "y": "viewer", "z": "down"}, [(0, -1), (2, 1), (1, -1)]),
    ):
        written = np.stack([sign * raw[:, :, axis] for axis, sign in columns], axis=2)
        assert_close(task(frame=frame).decode(written, file="a.npy"), common, rtol=0, atol=1e-6)


def test_a_frame_has_three_axes() -> None:
    with pytest.raises(ValidationError) as raised:
        task(frame={"x": "right", "y": "left"})
    [error] = raised.value.errors()
    assert error["msg"] == "two of three components lie on one axis: x: right, y: left, z: viewer"


def test_bad_encoding_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        task(encoding={"offset": 0, "scale": 0})


@pytest.mark.parametrize(("loss", "expected"), [("cosine", 1.0), ("angular", math.pi / 2), ("l1", 2 / 3), ("l2", 2 / 3)])
def test_losses_of_orthogonal_vectors(loss: str, expected: float) -> None:
    prediction, target = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    prediction[0, 0], target[0, 1, 0, 0] = 5.0, 1.0  # the second pixel has no label
    assert_close(task(loss=loss).loss_value(prediction, target), torch.tensor(expected))


@pytest.mark.parametrize("loss", ["cosine", "angular", "l1", "l2"])
def test_the_length_of_a_prediction_does_not_matter(loss: str) -> None:
    target = unit(2, 3, 4, 5).double()
    assert_close(task(loss=loss).loss_value(7 * target, target), torch.tensor(0.0, dtype=torch.float64), atol=2e-6, rtol=0)
    other = unit(2, 3, 4, 5).double()
    assert_close(task(loss=loss).loss_value(7 * other, target), task(loss=loss).loss_value(other, target))


def test_the_angular_loss_is_the_mean_angle() -> None:
    prediction, target = torch.randn(2, 3, 4, 5), unit(2, 3, 4, 5)
    expected = angle_degrees(prediction, target).deg2rad().mean()
    assert_close(task(loss="angular").loss_value(prediction, target), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", ["cosine", "angular", "l1", "l2"])
def test_gradients_are_finite_also_of_no_length_and_of_no_error(loss: str) -> None:
    target = unit(1, 3, 2, 2)
    for start in (torch.zeros(1, 3, 2, 2), target, -target):
        prediction = start.clone().requires_grad_()
        task(loss=loss).loss_value(prediction, target).backward()
        assert prediction.grad is not None
        assert prediction.grad.abs().max() <= 1000


def test_angles_are_exact_also_near_zero() -> None:
    a = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    for degrees in (0.0, 0.001, 0.5, 45.0, 90.0, 179.9, 180.0):
        angle = math.radians(degrees)
        b = torch.tensor([math.cos(angle), math.sin(angle), 0.0]).view(1, 3, 1, 1)
        assert_close(angle_degrees(3 * a, b).item(), degrees, atol=1e-5, rtol=1e-5)
    assert angle_degrees(torch.zeros(1, 3, 1, 1), a).item() == 90


def test_metrics_of_known_angles() -> None:
    angles = torch.tensor([0.0, 10.0, 20.0, 90.0, 5.0])
    prediction = torch.stack([angles.deg2rad().cos(), angles.deg2rad().sin(), torch.zeros(5)]).view(1, 3, 1, 5)
    target = torch.zeros(1, 3, 1, 5)
    target[0, 0, 0, :4] = 1  # the fifth pixel has no label
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    values = metrics.compute()
    assert list(values) == list(SurfaceNormal.metric_directions)
    assert_close(values["mean_angle"], 30.0, atol=1e-5, rtol=0)
    assert_close(values["median_angle"], 10.0, atol=1e-3, rtol=0)
    assert_close(values["rmse_angle"], math.sqrt((100 + 400 + 8100) / 4), atol=1e-4, rtol=0)
    assert [values[f"within_{limit}"] for limit in ("11.25", "22.5", "30")] == [50, 75, 75]


def test_a_prediction_that_is_not_finite_spoils_the_mean_alone() -> None:
    prediction, target = unit(1, 3, 1, 4), torch.zeros(1, 3, 1, 4)
    target[:, :, 0, :3] = prediction[..., 0, :3]
    prediction[0, 0, 0, 2] = math.nan
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    values = metrics.compute()
    assert math.isnan(values["mean_angle"])
    assert_close(values["within_30"], 200 / 3)


@given(st.integers(1, 5), st.booleans())
def test_counts_are_of_every_angle(seed: int, last: bool) -> None:
    torch.manual_seed(seed)
    prediction, target = torch.randn(2, 3, 5, 7), unit(2, 3, 5, 7)
    target[torch.rand(2, 5, 7)[:, None].expand_as(target) < 0.3] = 0
    metrics = task().new_metrics()
    metrics.update(prediction.contiguous(memory_format=torch.channels_last) if last else prediction, target)
    angles = angle_degrees(prediction, target)[target.ne(0).any(dim=1)].double()
    values = metrics.compute()
    assert [values[f"within_{limit:g}"] for limit in WITHIN] == [100 * int((angles < limit).sum()) / len(angles) for limit in WITHIN]
    assert_close(values["mean_angle"], float(angles.mean()), rtol=1e-12, atol=0)
    assert_close(values["rmse_angle"], float(angles.square().mean().sqrt()), rtol=1e-12, atol=0)


@given(st.integers(1, 5))
def test_the_median_is_torchs(seed: int) -> None:
    torch.manual_seed(seed)
    prediction, target = torch.randn(2, 3, 5, 7), unit(2, 3, 5, 7)
    metrics = task().new_metrics()
    metrics.update(prediction, target)
    assert_close(metrics.compute()["median_angle"], angle_degrees(prediction, target).median().item(), atol=1e-3, rtol=0)
