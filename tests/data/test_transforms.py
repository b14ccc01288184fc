"""Transforms move inputs and labels together, each label as its kind demands."""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from graphnas.data.tensors import PerSample, adjusted, as_float, crop, horizontal_flip, image_value, plain, resize, target_value
from graphnas.data.transforms import Transform, TransformError
from graphnas.registry import transforms
from graphnas.schema import Keyed, Spec
from graphnas.tasks.base import TargetKind


class Holder(Spec):
    step: Annotated[Spec, Keyed(transforms)]


def build(written: Any) -> Transform:
    step = Holder.model_validate({"step": written}).step
    assert isinstance(step, Transform)
    return step


WRITTEN = [
    {"resize": [4, 6]},
    {"random_scale": [0.5, 2.0]},
    {"random_scale": {"among": [0.7, 1.3]}},
    {"random_crop": [4, 6]},
    {"random_crop": {"size": [9, 9], "pad": True}},
    "horizontal_flip",
    {"rotation": 30.0},
    {"color_jitter": 0.3},
    {"color_jitter": {"hue": 0.1}},
]
KINDS: dict[TargetKind, int] = {
    "normal": 3,
    "depth": 1,
    "inverse_depth": 1,
    "pixel_disparity": 1,
    "map": 2,
    "vector_map": 3,
    "pixel_vector_map": 2,
}


def as_tv(value: Tensor) -> tv_tensors.TVTensor:
    assert isinstance(value, tv_tensors.TVTensor)
    return value


@given(st.integers(0, 2**32), st.sampled_from(["bytes", "numbers"]))
def test_what_every_epoch_does_is_torchvisions_bit_for_bit(seed: int, kind: str) -> None:
    draw, values = Random(seed), every_kind(13, 17)
    values[0] = image_value((255 * plain(values[0])).to(torch.uint8)) if kind == "bytes" else values[0]
    top, left = draw.randrange(4), draw.randrange(5)
    for value in [*values, target_value(torch.randn(3), "direction"), target_value(torch.tensor(3), "sample")]:
        window, expected = crop(value, top, left, 9, 12), as_tv(F.crop(value, top, left, 9, 12))
        assert type(window) is type(expected)
        assert_close(plain(window), plain(expected), rtol=0, atol=0, equal_nan=True)
        assert_close(plain(horizontal_flip(window)), plain(as_tv(F.horizontal_flip(expected))), rtol=0, atol=0, equal_nan=True)
    changes = [("brightness", draw.uniform(0, 2)), ("contrast", draw.uniform(0, 2)), ("saturation", draw.uniform(0, 2)), ("hue", 0.1)]
    draw.shuffle(changes)
    image = crop(values[0], top, left, 9, 12)
    expected = as_tv(F.to_dtype(image, torch.float32, scale=True))
    for what, amount in changes:
        expected = getattr(F, f"adjust_{what}")(expected, amount)
    changed = adjusted(image, changes)
    assert type(changed) is type(expected) is tv_tensors.Image
    assert plain(changed).equal(plain(expected))


def sample(height: int = 6, width: int = 8) -> list[Any]:
    """Every value says in its last channel (if it has one) where each of its pixels was."""
    place = torch.arange(height * width).view(1, height, width)
    return [
        image_value(torch.cat([torch.randint(0, 256, (2, height, width)), place]).to(torch.uint8)),
        target_value(place[0].to(torch.uint8), "ids"),
        target_value(torch.nn.functional.normalize(torch.randn(3, height, width), dim=0), "normal"),
        target_value(1.0 + place, "depth"),
    ]


def every_kind(height: int = 6, width: int = 8) -> list[Any]:
    """An image, and a label of every kind, a quarter of whose pixels are unlabeled."""
    missing = torch.rand(height, width) < 0.25
    image = image_value(torch.rand(3, height, width))
    numbers: list[Any] = [
        target_value((0.5 + torch.rand(count, height, width)).where(~missing, 0.0), kind) for kind, count in KINDS.items()
    ]
    for value in numbers[4:]:
        value[value == 0] = math.nan
    numbers[0] = target_value(torch.nn.functional.normalize(plain(numbers[0]), dim=0), "normal")
    return [
        image,
        target_value(torch.randint(0, 5, (height, width)).where(~missing, -1), "ids", -1),
        target_value(torch.randint(0, 2, (height, width)).where(~missing, 255).to(torch.uint8), "boundary"),
        *numbers,
        target_value(torch.tensor(3), "sample"),
        target_value(torch.tensor([1.0, 2.0, 3.0]), "direction"),
    ]


def test_every_transform_is_here() -> None:
    assert {build(written).name for written in WRITTEN} == set(transforms.names())


@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_contract(written: Any) -> None:
    step = build(written)
    values = every_kind()
    before = [plain(value).clone() for value in values]
    first, second = step.apply(values, Random(3)), step.apply(values, Random(3))
    assert [type(value) for value in first] == [type(value) for value in values]
    for a, b in zip(first, second, strict=True):
        assert_close(plain(a), plain(b), rtol=0, atol=0, equal_nan=True)  # the same draw, the same result
    for a, b in zip(values, before, strict=True):
        assert_close(plain(a), b, rtol=0, atol=0, equal_nan=True)  # what was given is as it was
    for a, b in zip(values, first, strict=True):
        assert a.dtype == b.dtype or isinstance(a, tv_tensors.Image)
        assert a.shape[:-2] == b.shape[:-2]
        assert getattr(a, "unlabeled", None) == getattr(b, "unlabeled", None)
    sizes = {tuple(value.shape[-2:]) for value in first if not isinstance(value, PerSample)}
    assert len(sizes) == 1
    assert Holder.model_validate(Holder(step=step).model_dump(mode="json")).step == step


@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_the_global_generators_are_left_alone(written: Any) -> None:
    values, state = every_kind(), torch.get_rng_state()
    build(written).apply(values, Random(0))
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(0, 1000))
def test_pixels_stay_together(seed: int) -> None:
    values, random = sample(), Random(seed)
    for written in ({"random_crop": [4, 5]}, "horizontal_flip"):
        values = build(written).apply(values, random)
    image, ids, normals, depth = map(plain, values)
    assert image.shape == (3, 4, 5)
    assert normals.shape == (3, 4, 5)
    assert torch.equal(image[2], ids)
    assert torch.equal(depth[0] - 1, ids.float())


def test_crops_reach_every_place() -> None:
    step = build({"random_crop": [5, 6]})
    corners = {int(plain(step.apply(sample(), Random(seed))[1])[0, 0]) for seed in range(200)}
    assert corners == {8 * row + column for row in range(2) for column in range(3)}


def test_flip_negates_x_of_normals() -> None:
    normals = sample()[2]
    flipped = horizontal_flip(normals)
    assert type(flipped) is type(normals)
    assert_close(plain(flipped), plain(normals).flip(-1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1))
    assert_close(plain(horizontal_flip(flipped)), plain(normals))
    assert type(F.horizontal_flip(normals)) is type(normals)  # torchvision's own functional knows them
    assert_close(F.horizontal_flip(normals).as_subclass(Tensor), plain(flipped))


def test_flips_are_as_frequent_as_said() -> None:
    step = build({"horizontal_flip": 0.25})
    flipped = sum(int(plain(step.apply(sample(), Random(seed))[1])[0, 0]) == 7 for seed in range(400))
    assert 70 < flipped < 130


def test_resize_of_ids_and_normals_takes_the_nearest() -> None:
    _, ids, normals, _ = sample()
    larger = plain(resize(ids, (12, 16)))
    assert torch.equal(larger, plain(ids).repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert larger.dtype == torch.uint8
    assert_close(plain(resize(normals, (3, 4))).norm(dim=0), torch.ones(3, 4))
    wide = target_value(torch.tensor([[-1, 300]]), "ids")
    assert plain(resize(wide, (1, 4))).tolist() == [[-1, -1, 300, 300]]


def test_resize_of_depth_never_mixes_in_what_is_not_labeled() -> None:
    metres = torch.zeros(1, 4, 4)
    metres[0, :, :2] = 5.0
    metres[0, 0, 2] = 3.0
    smaller = plain(resize(target_value(metres, "depth"), (2, 2)))
    assert_close(smaller[0, :, 0], torch.tensor([5.0, 5.0]), atol=0.2, rtol=0)
    assert smaller[0, 1, 1] == 0
    whole = plain(resize(target_value(torch.full((1, 6, 8), 2.5), "depth"), (5, 5)))
    assert_close(whole, torch.full((1, 5, 5), 2.5))


def test_resize_to_the_same_size_changes_nothing() -> None:
    values = sample()
    assert build({"resize": [6, 8]}).apply(values, Random(0)) == values


def test_jitter_changes_images_only_and_is_torchvisions() -> None:
    values = sample()
    changed = build({"color_jitter": {"brightness": 0.5}}).apply(values, Random(1))
    for a, b in zip(changed[1:], values[1:], strict=True):
        assert a is b
    image = plain(changed[0])
    assert image.dtype == torch.float32
    factors = (image / plain(as_float(values[0])))[plain(values[0]).gt(0) & image.lt(1)]
    assert_close(factors, factors[0].expand_as(factors), rtol=1e-5, atol=1e-5)
    assert 0.5 <= float(factors[0]) <= 1.5


def test_strength_is_of_brightness_contrast_and_saturation() -> None:
    assert build({"color_jitter": 0.0}).apply(sample(), Random(0))[0].dtype == torch.float32
    many: list[Tensor] = [plain(build({"color_jitter": 0.3}).apply(sample(), Random(seed))[0]) for seed in range(3)]
    assert all(value.min() >= 0 and value.max() <= 1 for value in many)
    assert not torch.equal(many[0], many[1])


def test_a_crop_that_is_too_large() -> None:
    with pytest.raises(TransformError) as raised:
        build({"random_crop": [40, 5]}).apply(sample(), Random(0))
    assert str(raised.value) == "a crop of [40, 5] is larger than the sample, [6, 8]"
    assert raised.value.fix == "random_crop: [6, 5], a resize before it, or random_crop: {size: [40, 5], pad: true}"


@pytest.mark.parametrize(
    "written",
    [
        {"random_crop": [0, 4]},
        {"resize": 4},
        {"color_jitter": {"hue": 0.6}},
        {"horizontal_flip": 2.0},
        {"rotation": 0},
        {"rotation": 181},
        "rotation",
        "random_scale",
        {"random_scale": [2.0, 1.0]},
        {"random_scale": [0.0, 1.0]},
        {"random_scale": {"between": [1.0, 2.0], "among": [1.0]}},
    ],
)
def test_out_of_range(written: Any) -> None:
    with pytest.raises(ValidationError):
        build(written)
