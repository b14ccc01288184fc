"""Data sets of the user's own, given from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import Dataset

from graphnas.data import open_data
from graphnas.errors import DataError
from graphnas.graph import types
from graphnas.spec import TaskPairSpec, parse_spec

PAIR: dict[str, Any] = {
    "kind": "task_pair",
    "primary": "depth",
    "sources": {"rooms": {"layout": "python"}},
    "inputs": {"image": {"key": "image"}},
    "tasks": {"depth": {"type": "depth", "key": "depth"}, "seg": {"type": "semantic_segmentation", "key": "seg", "classes": 3}},
}


class Rooms(Dataset[dict[str, Any]]):
    """As many samples; every second one has no segmentation."""

    def __init__(self, count: int = 10, kind: str = "tensor") -> None:
        self.count, self.kind = count, kind

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = np.full((4, 6, 3), index, np.uint8)
        depth = np.full((4, 6), 1.0 + index, np.float32)
        seg = np.full((4, 6), index % 3, np.uint8) if index % 2 else None
        if self.kind == "tensor":
            return {"image": torch.as_tensor(image).permute(2, 0, 1).float() / 255, "depth": torch.as_tensor(depth)[None], "seg": seg}
        if self.kind == "pil":
            return {"image": Image.fromarray(image), "depth": Image.fromarray(depth), "seg": seg if seg is None else Image.fromarray(seg)}
        return {"image": image, "depth": depth, "seg": seg, "room": index // 2}


def pair(**changes: Any) -> TaskPairSpec:
    return parse_spec({**PAIR, **changes})


@pytest.mark.parametrize("kind", ["tensor", "pil", "array"])
def test_samples_are_dicts_of_images_arrays_or_tensors(kind: str) -> None:
    data = open_data(pair(), seed=0, datasets={"rooms": Rooms(kind=kind)})
    assert data.input_types() == {"image": types.Image(3, 4, 6)}
    sizes = data.sizes()
    assert [sizes[split]["depth"] for split in ("training", "validation", "test")] == [8, 2, 0]
    assert sizes["training"]["seg"] + sizes["validation"]["seg"] == 5
    for batch in data.evaluation("training", 4):
        number = torch.tensor([float(name.removeprefix("rooms/")) for name in batch.ids])
        assert_close(batch.inputs["image"][:, 1, 2, 3], number / 255)
        assert_close(batch.targets["depth"][:, 0, 0, 0], number + 1)
        assert_close(batch.targets["seg"][:, 0, 0].float(), number[batch.rows["seg"]] % 3)
        assert all(int(number[row]) % 2 for row in batch.rows["seg"])


def test_groups_are_keys_of_a_sample() -> None:
    sources = {"rooms": {"layout": "python", "validation": {"fraction": 0.3, "group": "room"}}}
    data = open_data(pair(sources=sources), seed=0, datasets={"rooms": Rooms(kind="array")})
    rooms = [{int(name[-1]) // 2 for batch in data.evaluation(split, 4) for name in batch.ids} for split in ("training", "validation")]
    assert not rooms[0] & rooms[1]


def test_parts() -> None:
    data = open_data(pair(), seed=0, datasets={"rooms": {"train": Rooms(6), "validation": Rooms(3), "test": Rooms(2)}})
    assert {split: sizes["depth"] for split, sizes in data.sizes().items()} == {"training": 6, "validation": 3, "test": 2}


def test_a_data_set_may_stand_for_files() -> None:
    sources = {"rooms": {"layout": "webdataset", "train": "nowhere.tar", "test": "nowhere.tar"}}
    data = open_data(pair(sources=sources), seed=0, datasets={"rooms": Rooms()})
    assert data.sizes()["training"]["depth"] == 8


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with fewer cores
def test_workers_get_the_data_set() -> None:
    data = open_data(pair(), seed=0, datasets={"rooms": Rooms()})
    here, there = (list(data.training(0, batch_size=3, workers=workers)) for workers in (0, 2))
    assert [batch.ids for batch in here] == [batch.ids for batch in there]


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({}, "sources.rooms: 'rooms' is given from Python, and it is not\n  fix: gn.search(spec, data={\"rooms\": dataset})"),
        ({"room": Rooms()}, "sources: no source is called 'room'\n  fix: did you mean 'rooms'?"),
        ({"rooms": {"training": Rooms()}}, "sources.rooms: a source has no part 'training'\n  fix: did you mean 'train'?"),
        (
            {"rooms": {"test": Rooms()}},
            'sources.rooms: no samples to learn from are given for \'rooms\'\n  fix: data={"rooms": {"train": dataset}}',
        ),
        ({"rooms": Rooms(0)}, "sources.rooms: 'rooms' has no samples\n  fix: add some, or leave the source out"),
        ({"rooms": iter([])}, "sources.rooms: rooms: a list_iterator has no length or no numbered samples\n  fix: a map-style Dataset"),
        ({"rooms": [1, 2]}, 'sources.rooms: rooms[0]: a sample is a dict, got int\n  fix: {"image": ..., "depth": ...}'),
        (
            {"rooms": [{"image": "a.png", "depth": 0, "seg": 0}] * 4},
            "inputs.image.key: rooms[0]['image']: neither an image nor numbers, but str\n  fix: a PIL image, an array or a tensor",
        ),
        (
            {"rooms": [{"image": torch.zeros(2, 4, 6), "depth": torch.ones(4, 6), "seg": torch.ones(4, 6)}] * 4},
            "inputs.image.key: rooms[0]['image']: an image is (H, W) or (H, W, 3), got (4, 6, 2)\n"
            "  fix: tensors are (3, H, W), arrays (H, W, 3)",
        ),
    ],
)
def test_refusals(datasets: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError) as raised:
        open_data(pair(), seed=0, datasets=datasets)
    assert str(raised.value).replace("rooms[1]", "rooms[0]").replace("rooms[2]", "rooms[0]") == message
