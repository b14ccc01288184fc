"""What is said about data that are wrong: whole messages, at the line of the task pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphnas.data import open_data
from graphnas.errors import DataError
from graphnas.spec import TaskPairSpec
from tests.data.builders import NORMALS, SEGMENTATION, load, message, png, sample, samples, write_tar

ROOMS = {"layout": "webdataset", "train": "rooms.tar"}


def read_all(pair: TaskPairSpec) -> None:
    data = open_data(pair, seed=0)
    data.sizes()
    for split in ("training", "validation"):
        list(data.evaluation(split, 4))


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """The message about a task pair; rooms.tar holds 6 good samples unless the test has written another."""

    def about(**changes: Any) -> str:
        if not (tmp_path / "rooms.tar").exists():
            write_tar(tmp_path / "rooms.tar", samples(6))
        pair = load(tmp_path, **changes)
        with pytest.raises(DataError) as raised:
            read_all(pair)
        assert raised.value.exit_status == 2
        return message(raised.value, tmp_path)

    return about


def test_missing_files_of_every_source_at_once(said: Callable[..., str]) -> None:
    sources = {
        "rooms": {**ROOMS, "test": "tests.tar"},
        "halls": {"layout": "webdataset", "train": "halls-*.tar"},
        "more": {**ROOMS, "validation": {"path": "roms.tar"}},
    }
    assert said(sources=sources) == (
        "pair.yaml:10:12: sources.halls.train: no file matches halls-*.tar\n"
        "  fix: check the pattern; * stays within a folder name\n"
        "pair.yaml:15:7: sources.more.validation: no such file: roms.tar\n"
        "  fix: did you mean 'rooms.tar'?\n"
        "pair.yaml:7:11: sources.rooms.test: no such file: tests.tar\n"
        "  fix: check the path"
    )


def test_a_key_that_no_sample_has(said: Callable[..., str]) -> None:
    tasks = {"normals": {**NORMALS, "key": "normals.png"}, "segmentation": {**SEGMENTATION, "key": "depth.png"}}
    assert said(tasks=tasks, inputs={"image": {"key": "image.png"}}) == (
        "pair.yaml:9:10: inputs.image.key: no sample of rooms.tar has 'image.png'\n"
        "  fix: did you mean 'img.png'?\n"
        "pair.yaml:13:10: tasks.normals.key: no sample of rooms.tar has 'normals.png'\n"
        "  fix: did you mean 'normal.png'?\n"
        "pair.yaml:23:10: tasks.segmentation.key: no sample of rooms.tar has 'depth.png'\n"
        "  fix: one of img.png, normal.png, seg.png"
    )


def test_a_key_that_no_source_has(said: Callable[..., str], tmp_path: Path) -> None:
    write_tar(tmp_path / "halls.tar", samples(3))
    tasks = {"normals": {**NORMALS, "key": "normal.npy"}}
    assert said(tasks=tasks, sources={"rooms": ROOMS, "halls": {"layout": "webdataset", "train": "halls.tar"}}) == (
        "pair.yaml:16:10: tasks.normals.key: no sample of rooms.tar has 'normal.npy'; no sample of halls.tar has 'normal.npy'\n"
        "  fix: did you mean 'normal.png'?"
    )


def test_samples_without_an_image(said: Callable[..., str], tmp_path: Path) -> None:
    content = samples(6)
    content["0003"] = sample(3, without=("img.png",))
    write_tar(tmp_path / "rooms.tar", content)
    assert said() == "pair.yaml:9:10: inputs.image.key: rooms/0003 has no 'img.png'\n  fix: add it, or remove the sample"


def test_missing_labels_where_they_must_not_miss(said: Callable[..., str], tmp_path: Path) -> None:
    content = samples(6)
    for name in ("0001", "0002", "0004"):
        content[name] = sample(1, without=("seg.png",))
    write_tar(tmp_path / "rooms.tar", content)
    assert said(tasks={"normals": NORMALS, "segmentation": {**SEGMENTATION, "missing": "error"}}) == (
        "pair.yaml:25:14: tasks.segmentation.missing: rooms/0001 has no 'seg.png', nor have 2 other samples\n  fix: missing: skip"
    )


def test_no_validation_sample_carries_the_primary(said: Callable[..., str], tmp_path: Path) -> None:
    write_tar(tmp_path / "v.tar", {"0000": sample(0, without=("normal.png",))})
    assert said(sources={"rooms": {**ROOMS, "validation": "v.tar"}}) == (
        "pair.yaml:14:10: tasks.normals.key: no validation sample carries a label of the primary task 'normals'\n"
        "  fix: validation: {fraction: ...} of a larger fraction, or a PATH of samples with this label"
    )


def test_no_training_sample_carries_the_primary(said: Callable[..., str], tmp_path: Path) -> None:
    content = {f"{number:04d}": sample(number, without=() if number == 4 else ("normal.png",)) for number in range(20)}
    write_tar(tmp_path / "rooms.tar", content)
    seeds = [seed for seed in range(40) if "0004" in _validation(tmp_path, seed)]
    with pytest.raises(DataError) as raised:
        open_data(load(tmp_path), seed=seeds[0])
    assert message(raised.value, tmp_path) == (
        "pair.yaml:13:10: tasks.normals.key: no training sample carries a label of the primary task 'normals'\n"
        "  fix: another seed, a smaller fraction of validation, or more labels"
    )


def _validation(folder: Path, seed: int) -> str:
    data = open_data(load(folder, primary="segmentation"), seed=seed)
    return " ".join(name for batch in data.evaluation("validation", 8) for name in batch.ids)


def test_validation_that_would_take_everything(said: Callable[..., str], tmp_path: Path) -> None:
    write_tar(tmp_path / "rooms.tar", samples(3))  # all of one map
    assert said(sources={"rooms": {**ROOMS, "validation": {"fraction": 0.2, "group": "map"}}}) == (
        "pair.yaml:8:7: sources.rooms.validation: validation would take all 3 training samples of 'rooms': all have the same 'map'\n"
        "  fix: validation: PATH of other samples, or more training samples"
    )
    write_tar(tmp_path / "rooms.tar", samples(1))
    assert said() == (
        "pair.yaml:5:5: sources.rooms.validation: validation would take all 1 training samples of 'rooms': there are no others\n"
        "  fix: validation: PATH of other samples, or more training samples"
    )


def test_no_field_to_group_by(said: Callable[..., str]) -> None:
    assert said(sources={"rooms": {**ROOMS, "validation": {"group": "maps"}}}) == (
        "pair.yaml:8:7: sources.rooms.validation: rooms.tar: 0000.json: no field 'maps'\n  fix: did you mean 'map'?"
    )


def test_more_labels_than_there_are(said: Callable[..., str]) -> None:
    assert said(tasks={"normals": {**NORMALS, "labeled": {"count": 600}}, "segmentation": {**SEGMENTATION, "labeled": 7}}) == (
        "pair.yaml:22:14: tasks.normals.labeled.count: 600 labels are wanted, but 5 training samples have one"
        " (validation is set apart first)\n"
        "  fix: count: 5\n"
        "pair.yaml:27:14: tasks.segmentation.labeled.count: 7 labels are wanted, but 5 training samples have one"
        " (validation is set apart first)\n"
        "  fix: count: 5"
    )


def damaged(folder: Path, key: str, data: bytes) -> None:
    write_tar(folder / "rooms.tar", {name: {**members, key: data} for name, members in samples(6).items()})


def test_corrupt_image(said: Callable[..., str], tmp_path: Path) -> None:
    content = samples(6)
    content["0002"]["img.png"] = content["0002"]["img.png"][:-30]
    write_tar(tmp_path / "rooms.tar", content)
    assert said() == (
        "pair.yaml:9:10: inputs.image.key: rooms.tar: 0002.img.png: corrupt image: image file is truncated\n"
        "  fix: restore the file, or remove the sample"
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with fewer cores
@pytest.mark.parametrize("workers", [0, 2])
def test_a_label_that_is_wrong_is_found_by_whoever_reads_it(tmp_path: Path, workers: int) -> None:
    content = samples(6)
    content["0003"]["seg.png"] = png(np.full((6, 8), 9, np.uint8))
    write_tar(tmp_path / "rooms.tar", content)
    write_tar(tmp_path / "v.tar", samples(1))
    pair = load(tmp_path, sources={"rooms": {**ROOMS, "validation": "v.tar"}}, tasks={"segmentation": SEGMENTATION}, primary="segmentation")
    seed = next(seed for seed in range(20) if _opens(pair, seed))
    with pytest.raises(DataError) as raised:
        list(open_data(pair, seed=seed).training(0, batch_size=2, workers=workers))
    assert message(raised.value, tmp_path) == (
        "pair.yaml:13:5: tasks.segmentation: rooms.tar: 0003.seg.png: class id 9 is outside 0 to 3 and is not ignore_index, 255\n"
        "  fix: ignore_index: 9, or classes: 10"
    )


def _opens(pair: Any, seed: int) -> bool:
    """The first sample is looked at when the data are opened; here it is a good one."""
    return bool(open_data(pair, seed=seed))


def test_a_label_of_another_size(said: Callable[..., str], tmp_path: Path) -> None:
    damaged(tmp_path, "seg.png", png(np.zeros((3, 4), np.uint8)))
    assert said().replace("0001.", "0000.") == (
        "pair.yaml:23:10: tasks.segmentation.key: rooms.tar: 0000.seg.png: [3, 4] pixels, but 'image' has [6, 8]\n"
        "  fix: start transforms with resize: [6, 8], or correct the file"
    )


def test_a_crop_that_is_too_large_is_found_when_the_data_are_opened(tmp_path: Path) -> None:
    write_tar(tmp_path / "rooms.tar", samples(6))
    with pytest.raises(DataError) as raised:
        open_data(load(tmp_path, transforms=["horizontal_flip", {"random_crop": [40, 56]}]), seed=0)
    assert message(raised.value, tmp_path) == (
        "pair.yaml:27:3: transforms[1]: rooms/0000: a crop of [40, 56] is larger than the sample, [6, 8]\n"
        "  fix: random_crop: [6, 8], a resize before it, or random_crop: {size: [40, 56], pad: true}"
    )


def test_samples_of_different_sizes(tmp_path: Path) -> None:
    shapes = {f"{number:04d}": (6, 8 + number) for number in range(4)}
    content = {
        name: {"img.png": png(np.zeros((*shape, 3), np.uint8)), "seg.png": png(np.zeros(shape, np.uint8))} for name, shape in shapes.items()
    }
    write_tar(tmp_path / "rooms.tar", content)
    write_tar(tmp_path / "v.tar", samples(1))
    pair = load(tmp_path, sources={"rooms": {**ROOMS, "validation": "v.tar"}}, tasks={"segmentation": SEGMENTATION}, primary="segmentation")
    with pytest.raises(DataError) as raised:
        list(open_data(pair, seed=0).evaluation("training", 2))
    assert message(raised.value, tmp_path) == (
        "pair.yaml:1:1: transforms: samples of one batch are of different sizes in 'image': rooms/0000 [6, 8] and rooms/0001 [6, 9]\n"
        "  fix: start transforms with resize: [HEIGHT, WIDTH]; a random crop alone leaves evaluation as it is"
    )


def test_an_encoding_is_missing(said: Callable[..., str]) -> None:
    tasks = {"normals": {"type": "surface_normal", "key": "normal.png"}}
    assert said(tasks=tasks).replace("0001.", "0000.") == (
        "pair.yaml:12:5: tasks.normals: rooms.tar: 0000.normal.png: uint8 numbers are no unit vectors, and no encoding is given\n"
        "  fix: encoding: {offset: 127.5, scale: 127.5}, or what the data set's authors say"
    )


def test_normalization_of_two_channels(said: Callable[..., str]) -> None:
    inputs = {"image": {"key": "img.png", "normalize": {"mean": [0.5, 0.5], "std": [1, 1]}}}
    assert said(inputs=inputs) == ("pair.yaml:11:7: inputs.image.normalize: mean has 2 channels, an image has 3\n  fix: mean: [R, G, B]")


def test_no_test_samples(tmp_path: Path) -> None:
    write_tar(tmp_path / "rooms.tar", samples(6))
    data = open_data(load(tmp_path), seed=0)
    with pytest.raises(DataError) as raised:
        data.evaluation("test", 4)
    assert message(raised.value, tmp_path) == (
        "pair.yaml:4:3: sources: no test sample carries a label of a task that is trained\n  fix: give a source test: PATH"
    )


def test_test_samples_without_images(said: Callable[..., str], tmp_path: Path) -> None:
    write_tar(tmp_path / "test.tar", {"0000": sample(0, without=("img.png",))})
    assert said(sources={"rooms": {**ROOMS, "test": "test.tar"}}) == (
        "pair.yaml:10:10: inputs.image.key: no sample of test.tar has 'img.png'\n  fix: one of normal.png, seg.png"
    )
