"""Several sources of one task pair: masks on these images, depth on those; and folders that don't belong together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphnas.data import Data, open_data
from graphnas.errors import DataError
from graphnas.spec import parse_spec
from tests.data.writers import color, ids_of, millimetres, save


def write(root: Path, names: list[str], **labels: Any) -> str:
    for number, name in enumerate(names):
        save(root / "img" / f"{name}.png", color(number))
        for key, make in labels.items():
            save(root / key / f"{name}.png", make(number))
    return str(root)


def opened(sources: dict[str, Any], **tasks: Any) -> Data:
    pair = {
        "kind": "task_pair",
        "primary": "depth",
        "sources": sources,
        "inputs": {"image": {"key": "img"}},
        "tasks": {
            "depth": {"type": "depth", "key": "depth", "scale": 0.001},
            "seg": {"type": "semantic_segmentation", "key": "seg", "classes": 3, **tasks},
        },
    }
    return open_data(parse_spec(pair), seed=0)


def two(tmp_path: Path) -> dict[str, Any]:
    rooms = write(tmp_path / "rooms", [f"{number:02d}" for number in range(10)], depth=millimetres)
    halls = write(tmp_path / "halls", [f"{number:02d}" for number in range(20)], seg=ids_of)
    return {"rooms": {"layout": "folder", "train": rooms}, "halls": {"layout": "folder", "train": halls}}


def test_masks_on_these_images_depth_on_those(tmp_path: Path) -> None:
    data = opened(two(tmp_path))
    assert data.sizes()["training"] == {"depth": 8, "seg": 16}
    assert data.sizes()["validation"] == {"depth": 2, "seg": 4}
    assert data.steps_per_epoch(4) == 2
    drawn: Counter[str] = Counter()
    for batch in data.training(0, batch_size=4, auxiliary_batch_size=12):
        assert all(name.startswith("rooms/") for name in batch.ids[:4])
        for task, source in (("depth", "rooms"), ("seg", "halls")):
            assert batch.rows[task].tolist() == [row for row, name in enumerate(batch.ids) if name.startswith(source)]
            assert len(batch.targets[task]) == len(batch.rows[task])
        drawn.update(batch.ids[4:])
    assert len(drawn) == 24  # each of both sources once
    assert set(drawn.values()) == {1}


def test_the_log_names_every_source(tmp_path: Path) -> None:
    assert opened(two(tmp_path)).describe().splitlines() == [
        "rooms: 2 of 10 training samples are set apart for validation (seed 0)",
        "halls: 4 of 20 training samples are set apart for validation (seed 0)",
        "training: 24 samples, 8 with depth, 16 with seg",
        "validation: 6 samples, 2 with depth, 4 with seg",
    ]


def test_labels_must_not_miss_within_a_source(tmp_path: Path) -> None:
    """A source without any is no mistake: that task has no labels there."""
    sources = two(tmp_path)
    opened(sources, missing="error")
    for name in ("03", "05"):
        (tmp_path / "halls" / "seg" / f"{name}.png").unlink()
    with pytest.raises(DataError) as raised:
        opened(sources, missing="error")
    assert str(raised.value) == "tasks.seg.missing: halls/03 has no 'seg', nor have 1 other samples\n  fix: missing: skip"


def test_labels_that_are_called_otherwise_than_the_images(tmp_path: Path) -> None:
    root = tmp_path / "rooms"
    write(root, [f"{number:02d}" for number in range(10)], depth=millimetres)
    for number in range(10):
        save(root / "seg" / f"{number:02d}_seg.png", ids_of(number))
    with pytest.raises(DataError) as raised:
        opened({"rooms": {"layout": "folder", "train": str(root)}})
    assert str(raised.value) == (
        "tasks.seg.key: no label 'seg' belongs to an input 'img': they are called '00_seg' and so on, the inputs '00' and so on\n"
        "  fix: call both alike"
    )


def test_an_empty_test_split_is_found_before_training(tmp_path: Path) -> None:
    sources = two(tmp_path)
    (tmp_path / "test" / "img").mkdir(parents=True)
    with pytest.raises(DataError) as raised:
        opened({**sources, "rooms": {**sources["rooms"], "test": str(tmp_path / "test")}})
    assert str(raised.value) == f"sources.rooms.test: {tmp_path}/test holds no samples\n  fix: add some, or leave test out"


def test_an_image_on_another_scale(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / "img" / f"{number}.npy", color(number).astype(np.float32) * 3 + 1)
        save(tmp_path / "depth" / f"{number}.png", millimetres(number))
        save(tmp_path / "seg" / f"{number}.png", ids_of(number))
    with pytest.raises(DataError) as raised:
        opened({"rooms": {"layout": "folder", "train": str(tmp_path)}})
    said = str(raised.value)
    assert said.partition("floating-point numbers")[0].endswith("npy: an image of ")
    assert said.endswith("up to 151\n  fix: bytes, or floating-point numbers where 1 is white")


def test_a_label_with_another_number_of_channels(tmp_path: Path) -> None:
    root = write(tmp_path / "rooms", [f"{number:02d}" for number in range(5)], depth=color, seg=ids_of)
    with pytest.raises(DataError) as raised:
        opened({"rooms": {"layout": "folder", "train": root}})
    assert str(raised.value).partition(".png: ")[2] == (
        "a label of depth has one channel, got 4x6x3\n  fix: a grayscale image or a palette image, or another key"
    )
