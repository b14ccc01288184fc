"""What transforms do to labels is what the camera would have seen: analytic scenes, transformed, equal the scenes that are transformed.

A plane n . X = d before a pinhole camera (right, up, to the viewer; the optical axis in the middle of the image, focal length f in pixels)
has at pixel (u, v) from the middle, v upward, the depth z = d f / (n . (u, v, -f)), and the normal n everywhere.
"""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from graphnas.data.files import label_array
from graphnas.data.tensors import crop, horizontal_flip, image_value, pad, plain, resize, rotate, target_value, zoom
from graphnas.data.transforms import RandomCrop, RandomScale, Rotation
from graphnas.data.webdataset import WebDataset
from graphnas.spec import TaskPairSpec, load_spec
from graphnas.tasks.depth import Depth
from graphnas.tasks.surface_normal import SurfaceNormal, angle_degrees

FOCAL = 40.0  # pixels
SIZE = 32
angles = st.floats(-math.pi / 5, math.pi / 5)


def plane(x: float, y: float) -> Tensor:
    """A unit normal, tilted from the viewer by these angles."""
    return torch.nn.functional.normalize(torch.tensor([math.tan(x), math.tan(y), 1.0], dtype=torch.float64), dim=0)


def rays(height: int = SIZE, width: int = SIZE) -> Tensor:
    """(u, v, -f) of each pixel."""
    u = torch.arange(width, dtype=torch.float64) + 0.5 - width / 2
    v = height / 2 - torch.arange(height, dtype=torch.float64) - 0.5
    return torch.stack(
        [u.expand(height, width), v[:, None].expand(height, width), torch.full((height, width), -FOCAL, dtype=torch.float64)]
    )


def depth_of(normal: Tensor, distance: float, height: int = SIZE, width: int = SIZE) -> Tensor:
    """The depth of the plane through (0, 0, -distance): (1, H, W)."""
    facing = -(normal[:, None, None] * rays(height, width)).sum(0) / FOCAL
    return (distance * normal[2] / facing)[None]


def normals_of(normal: Tensor, height: int = SIZE, width: int = SIZE) -> Tensor:
    return normal[:, None, None].expand(3, height, width).contiguous()


def seen_normals(depth: Tensor) -> Tensor:
    """The normals of a depth map, from the differences of its points: (3, H - 1, W - 1)."""
    points = rays(*depth.shape[-2:]) * depth / FOCAL
    right, down = points[:, :-1, 1:] - points[:, :-1, :-1], points[:, 1:, :-1] - points[:, :-1, :-1]
    return torch.nn.functional.normalize(torch.linalg.cross(down, right, dim=0), dim=0)


def test_the_scene_is_what_the_formula_says() -> None:
    normal = plane(0.3, -0.2)
    assert_close(seen_normals(depth_of(normal, 3.0)), normals_of(normal, SIZE - 1, SIZE - 1))


@given(angles, angles)
def test_a_flipped_image_shows_the_flipped_scene(x: float, y: float) -> None:
    normal, mirrored = plane(x, y), plane(-x, y)
    assert_close(plain(horizontal_flip(target_value(normals_of(normal), "normal"))), normals_of(mirrored))
    assert_close(plain(horizontal_flip(target_value(depth_of(normal, 2.0), "depth"))), depth_of(mirrored, 2.0))


@given(angles, angles, st.sampled_from([90.0, 180.0, -90.0, 270.0]))
def test_a_rotated_image_shows_the_rotated_scene(x: float, y: float, degrees: float) -> None:
    normal, angle = plane(x, y), math.radians(degrees)
    turned = torch.stack(
        [
            normal[0] * math.cos(angle) - normal[1] * math.sin(angle),
            normal[0] * math.sin(angle) + normal[1] * math.cos(angle),
            normal[2],
        ]
    )
    assert_close(plain(rotate(target_value(normals_of(normal), "normal"), degrees)), normals_of(turned))
    assert_close(plain(rotate(target_value(depth_of(normal, 2.0), "depth"), degrees)), depth_of(turned, 2.0))


@given(angles, angles, st.floats(-60, 60))
def test_normals_turn_by_any_angle_and_corners_are_unlabeled(x: float, y: float, degrees: float) -> None:
    normals = plain(rotate(target_value(normals_of(plane(x, y)), "normal"), degrees))
    depth = plain(rotate(target_value(depth_of(plane(x, y), 2.0), "depth"), degrees))
    labeled = normals.ne(0).any(0)
    assert torch.equal(labeled, depth[0] > 0)
    assert labeled[8:24, 8:24].all()
    assert_close(normals[:, labeled].norm(dim=0), torch.ones(int(labeled.sum()), dtype=torch.float64))
    inside = depth[:, 8:24, 8:24]  # by the nearest pixel, so each depth is off by what changes within one
    expected = normals[:, 16, 16]
    tilt = depth_of(expected, 2.0)
    change = 1.5 * max(tilt.diff(dim=1).abs().max().item(), tilt.diff(dim=2).abs().max().item())
    assert_close(inside, tilt[:, 8:24, 8:24], atol=change + 1e-9, rtol=0)


@given(angles, angles, st.sampled_from([2.0, 3.0, 0.5]))
def test_a_zoomed_image_shows_the_zoomed_scene(x: float, y: float, factor: float) -> None:
    """Depths and normals after a zoom are those of one scene before the same camera, and so are disparities."""
    normal, size = plane(x, y), round(factor * SIZE)
    depth = plain(zoom(target_value(depth_of(normal, 4.0), "depth"), (size, size)))
    normals = plain(zoom(target_value(normals_of(normal), "normal"), (size, size)))
    expected = torch.nn.functional.normalize(normal * torch.tensor([1, 1, factor], dtype=torch.float64), dim=0)
    assert_close(normals, normals_of(expected, size, size), rtol=1e-6, atol=1e-6)
    inside = slice(4, -4)
    nearest = depth_of(expected, 4.0 / factor, size, size)  # the same plane, squeezed, seen by the same camera
    curved = nearest.diff(n=2, dim=1).abs().max() + nearest.diff(n=2, dim=2).abs().max()  # what a mean over neighbors may be off by
    assert_close(depth[:, inside, inside], nearest[:, inside, inside], atol=float(2 * factor**2 * curved) + 1e-6, rtol=0)


@given(st.floats(1.0, 20.0), st.sampled_from([2.0, 0.5]))
def test_depth_and_disparities_stay_of_one_camera(metres: float, factor: float) -> None:
    size, baseline = round(factor * SIZE), 0.1
    depth = torch.full((1, SIZE, SIZE), metres)
    near = plain(zoom(target_value(depth, "depth"), (size, size)))
    inverse = plain(zoom(target_value(1 / depth, "inverse_depth"), (size, size)))
    pixels = plain(zoom(target_value(baseline * FOCAL / depth, "pixel_disparity"), (size, size)))
    assert_close(near, torch.full((1, size, size), metres / factor))
    assert_close(inverse, 1 / near)
    assert_close(pixels, baseline * FOCAL / near)


def test_a_resize_changes_the_camera_and_not_the_scene() -> None:
    size = (8, 24)
    for kind, factor in (("depth", 1.0), ("inverse_depth", 1.0), ("pixel_disparity", 0.75)):
        value = target_value(torch.full((1, 16, 32), 2.0), kind)  # pyright: ignore[reportArgumentType]
        assert_close(plain(resize(value, size)), torch.full((1, *size), 2.0 * factor))
    flow = torch.ones(3, 16, 32) * torch.tensor([4.0, 6.0, 5.0]).view(3, 1, 1)
    assert_close(plain(resize(target_value(flow, "pixel_vector_map"), size))[:, 0, 0], torch.tensor([3.0, 3.0, 5.0]))
    assert_close(plain(resize(target_value(flow, "vector_map"), size))[:, 0, 0], torch.tensor([4.0, 6.0, 5.0]))


ROOMS = Path(__file__).parents[2] / "examples" / "quickstart" / "data" / "testing.tar"
ROOMS_FOCAL = 55.4256  # pixels, at 64x48


@pytest.fixture(scope="module")
def rooms() -> list[tuple[Any, Any]]:
    """Depths and normals of rendered rooms."""
    records = WebDataset(train=str(ROOMS)).open("train")
    depth = Depth(key="depth.png", scale=0.001)
    normals = SurfaceNormal.model_validate({"key": "normal.png", "encoding": {"offset": 128, "scale": 127, "invalid": [128, 128, 128]}})
    found: list[tuple[Any, Any]] = []
    for index in range(0, 200, 10):
        values = [task.decode(label_array(records.read(index, task.key), file="x"), file="x") for task in (depth, normals)]
        found.append((target_value(values[0], "depth"), target_value(values[1], "normal")))
    return found


def apart(scenes: list[tuple[Tensor, Tensor]]) -> float:
    """The median angle in degrees between the normals of the depths and those of the labels, over all scenes."""
    angles: list[Tensor] = []
    for depth, normals in scenes:
        points = rays(*depth.shape[-2:]) * torch.tensor([FOCAL, FOCAL, ROOMS_FOCAL]).view(3, 1, 1) / FOCAL * depth / ROOMS_FOCAL
        right, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        inside, labels = depth[0, 1:-1, 1:-1] > 0, normals[:, 1:-1, 1:-1].double()
        seen = torch.linalg.cross(down, right, dim=0)
        angles.append(angle_degrees(seen[None], labels[None])[0][inside & labels.ne(0).any(0)])
    return float(torch.cat(angles).median())


def test_rendered_rooms_stay_one_scene(rooms: list[tuple[Any, Any]]) -> None:
    assert apart([(plain(depth), plain(normals)) for depth, normals in rooms]) < 1
    assert apart([(plain(horizontal_flip(depth)), plain(horizontal_flip(normals))) for depth, normals in rooms]) < 1
    assert apart([(plain(rotate(depth, 180.0)), plain(rotate(normals, 180.0))) for depth, normals in rooms]) < 1
    size = (96, 128)
    assert apart([(plain(zoom(depth, size)), plain(zoom(normals, size))) for depth, normals in rooms]) < 1
    # and what would be wrong is seen to be
    assert apart([(plain(horizontal_flip(depth)), plain(normals).flip(-1)) for depth, normals in rooms]) > 10
    assert apart([(plain(zoom(depth, size)), plain(resize(normals, size))) for depth, normals in rooms]) > 5


SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "nyuv2-samples"
NYU_FOCAL = 519.0  # pixels, of the color camera at 640x480


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of NYUv2 are not here")
def test_the_frame_of_nyuv2_is_the_one_that_its_depths_show() -> None:
    pair = load_spec("nyuv2-normals-depth")
    assert isinstance(pair, TaskPairSpec)
    task = pair.tasks["normals"]
    for path in sorted((SAMPLES / "normal_mask").iterdir()):
        normals = task.decode(label_array(Image.open(path), file="x"), file="x")
        depth = torch.as_tensor(np.load(SAMPLES / "depth" / f"{path.stem}.npy")).double().view(1, *normals.shape[1:])
        smooth = torch.nn.functional.avg_pool2d(depth[None], 9, 1, 4)[0]  # measured depths are noisy: means, and differences over 16 pixels
        points = rays(*depth.shape[-2:]) * torch.tensor([1.0, 1.0, NYU_FOCAL / FOCAL]).view(3, 1, 1) * smooth / NYU_FOCAL
        right, down = points[:, 8:-8, 16:] - points[:, 8:-8, :-16], points[:, 16:, 8:-8] - points[:, :-16, 8:-8]
        labels = normals[:, 8:-8, 8:-8].double()
        angles = angle_degrees(torch.linalg.cross(down, right, dim=0)[None], labels[None])[0][labels.ne(0).any(0)]
        assert angles.median() < 8  # in any other frame 24 or more


def scene(shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """An image, the same moved, and the flow from one to the other: a dot moves right and down."""
    first, second = torch.zeros(3, SIZE, SIZE), torch.zeros(3, SIZE, SIZE)
    first[:, 10, 12], second[:, 10 + shift, 12 + 2 * shift] = 1, 1
    flow = torch.tensor([2.0 * shift, shift]).view(2, 1, 1).expand(2, SIZE, SIZE)
    return first, second, flow.contiguous()


def dot(image: Any) -> Tensor:
    """(u, v) of the brightest pixel."""
    place = int(plain(image)[0].argmax())
    return torch.tensor([float(place % image.shape[-1]), float(place // image.shape[-1])])


@pytest.mark.parametrize("kind", ["vector_map", "pixel_vector_map"])
@pytest.mark.parametrize("change", ["flip", "90", "180", "-90"])
def test_flow_goes_from_the_first_changed_image_to_the_second(kind: Any, change: str) -> None:
    def changed(value: Any) -> Any:
        return horizontal_flip(value) if change == "flip" else rotate(value, float(change))

    first, second, flow = scene(4)
    one, two, moved = changed(image_value(first)), changed(image_value(second)), changed(target_value(flow, kind))
    u, v = (int(number) for number in dot(one))
    assert_close(dot(two) - dot(one), plain(moved)[:, v, u])


def test_the_flow_in_pixels_is_resized_with_the_image() -> None:
    first, second, flow = scene(4)
    one, two = resize(image_value(first), (64, 96)), resize(image_value(second), (64, 96))
    moved = plain(resize(target_value(flow, "pixel_vector_map"), (64, 96)))
    assert_close(dot(two) - dot(one), moved[:, 0, 0])


def test_the_vector_of_a_sample_turns_with_its_image() -> None:
    vector = target_value(torch.tensor([1.0, 0.0, 5.0]), "direction")
    assert_close(plain(horizontal_flip(vector)), torch.tensor([-1.0, 0.0, 5.0]))
    assert_close(plain(rotate(vector, 90.0)), torch.tensor([0.0, -1.0, 5.0]))  # counterclockwise: right becomes up
    for same in (crop(vector, 1, 1, 2, 2), resize(vector, (2, 3)), pad(vector, 1, 1, 1, 1), zoom(vector, (9, 9))):
        assert_close(plain(same), plain(vector))
    number = target_value(torch.tensor(3), "sample")
    assert plain(rotate(horizontal_flip(number), 20.0)).item() == 3


def test_what_comes_into_view_is_unlabeled() -> None:
    step = RandomCrop(size=(6, 7), pad=True)
    ids = target_value(torch.zeros(3, 4, dtype=torch.int64), "ids", -1)
    values = [
        image_value(torch.ones(3, 3, 4)),
        ids,
        target_value(torch.ones(3, 4, dtype=torch.uint8), "boundary"),
        target_value(torch.ones(1, 3, 4), "depth"),
        target_value(torch.ones(2, 3, 4), "map"),
    ]
    changed = [plain(value) for value in step.apply(values, Random(0))]
    there = torch.zeros(6, 7, dtype=torch.bool)
    there[1:4, 1:5] = True  # in the middle, up to a pixel
    assert torch.equal(changed[0][0] == 1, there)
    assert torch.equal(changed[1] == -1, ~there)
    assert torch.equal(changed[2] == 255, ~there)
    assert torch.equal(changed[3][0] > 0, there)
    assert torch.equal(changed[4].isnan().all(0), ~there)
    rotated = plain(Rotation(degrees=45.0).apply([ids], Random(1))[0])
    assert set(rotated.unique().tolist()) == {-1, 0}


def test_boundaries_survive_a_smaller_size() -> None:
    lines = torch.zeros(12, 12, dtype=torch.uint8)
    lines[5] = 1
    lines[:, 2] = 1
    lines[9, 9] = 255
    smaller = plain(resize(target_value(lines, "boundary"), (4, 4)))
    assert smaller.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 255]]
    larger = plain(resize(target_value(smaller, "boundary"), (8, 4)))
    assert torch.equal(larger, smaller.repeat_interleave(2, 0))


def test_maps_are_resized_by_what_is_labeled() -> None:
    numbers = torch.full((1, 4, 4), math.nan)
    numbers[0, :, :2] = 5.0
    smaller = plain(resize(target_value(numbers, "map"), (2, 2)))
    assert_close(smaller, torch.tensor([[[5.0, math.nan], [5.0, math.nan]]]), equal_nan=True)


@given(st.integers(0, 1000))
def test_scales_are_within_what_is_said(seed: int) -> None:
    values = [image_value(torch.rand(3, 20, 30)), target_value(torch.full((1, 20, 30), 6.0), "depth")]
    image, depth = RandomScale(between=(0.8, 1.5)).apply(values, Random(seed))
    factor = image.shape[-1] / 30
    assert 0.78 <= factor <= 1.52
    assert_close(plain(depth), torch.full((1, *image.shape[-2:]), 6.0 / factor))
    among, _ = RandomScale(among=(0.5, 2.0)).apply(values, Random(seed))
    assert tuple(among.shape[-2:]) in {(10, 15), (40, 60)}
