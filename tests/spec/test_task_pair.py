"""Transforms that would make labels wrong are refused where they stand, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphnas.errors import SpecError
from graphnas.spec import TaskPairSpec, load_spec

PAIR = """\
kind: task_pair
primary: depth
sources: {toy: {layout: python}}
inputs: {image: image}
tasks:
  depth: {type: depth, key: depth}
  stereo: %s
transforms: %s
"""
STEREO = "{type: disparity, key: disparity, unit: pixels}"
MONO = "{type: disparity, key: disparity, unit: inverse_metres}"
FLOW = "{type: regression, key: flow, channels: 2, geometry: %s}"


def load(folder: Path, task: str, transforms: str) -> TaskPairSpec:
    (folder / "pair.yaml").write_text(PAIR % (task, transforms))
    loaded = load_spec(folder / "pair.yaml")
    assert isinstance(loaded, TaskPairSpec)
    return loaded


@pytest.mark.parametrize(
    ("task", "transforms", "message"),
    [
        (
            STEREO,
            "[{resize: [4, 4]}, horizontal_flip]",
            "pair.yaml:8:32: transforms[1]: horizontal_flip can't be done to 'stereo': its labels are stereo disparities in pixels, and a "
            "flip swaps the sides that the two views lie on\n"
            "  fix: leave it out; or, where a network sees one view, unit: inverse_metres",
        ),
        (
            STEREO,
            "[rotation: 10]",
            "pair.yaml:8:14: transforms[0]: rotation can't be done to 'stereo': its labels are stereo disparities in pixels, and a "
            "rotation turns the line between the two views\n"
            "  fix: leave it out; or, where a network sees one view, unit: inverse_metres",
        ),
        (
            FLOW % "unknown",
            "[random_crop: [4, 4]]",
            "pair.yaml:8:14: transforms[0]: random_crop can't be done to 'stereo': what it does to the numbers of the labels is not known "
            "(geometry: unknown)\n"
            "  fix: geometry: none (they stay as they are) or vector (the first two point right and down); or leave the transform out",
        ),
        (
            FLOW % "vector",
            "[resize: [4, 4]]",
            "pair.yaml:8:14: transforms[0]: resize can't be done to 'stereo': whether the vectors of its labels are lengths in pixels is "
            "not said\n"
            "  fix: unit: pixels, or unit: other",
        ),
        (
            MONO,
            "[random_crop: [4, 4], random_scale: [1.0, 2.0]]",
            "pair.yaml:8:35: transforms[1]: random_scale leaves samples of several sizes\n  fix: random_crop: [HEIGHT, WIDTH] after it",
        ),
    ],
)
def test_refused(task: str, transforms: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        load(tmp_path, task, transforms)
    assert str(raised.value).replace(f"{tmp_path}/", "") == message


def test_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        load(tmp_path, STEREO, "[horizontal_flip, {rotation: 10}, {random_scale: [1.0, 2.0]}]")
    assert [problem.path for problem in raised.value.problems] == ["transforms[0]", "transforms[1]", "transforms[2]"]


@pytest.mark.parametrize(
    ("task", "transforms"),
    [
        (MONO, "[{random_scale: [1.0, 2.0]}, {random_crop: [4, 4]}, horizontal_flip, {rotation: 10}, {color_jitter: 0.1}]"),
        (STEREO, "[{resize: [4, 4]}, {color_jitter: 0.1}]"),
        (FLOW % "vector, unit: pixels", "[{resize: [4, 4]}, horizontal_flip, {rotation: 10}]"),
        (FLOW % "vector", "[{random_crop: [4, 4]}, horizontal_flip]"),
        (FLOW % "unknown", "[{color_jitter: 0.1}]"),
    ],
)
def test_accepted(task: str, transforms: str, tmp_path: Path) -> None:
    assert len(load(tmp_path, task, transforms).transforms) == transforms.count("{") + transforms.count("horizontal_flip")
