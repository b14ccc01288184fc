"""NYUv2 in the authors' layout: a tree that the test writes, and four real samples where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from graphnas.data import open_data
from graphnas.data.nyuv2 import Nyuv2
from graphnas.errors import DataError
from graphnas.spec import TaskPairSpec, load_spec, parse_spec
from tests.data.builders import message

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "nyuv2-samples"
PRESET = Path(__file__).parents[2] / "taskpairs" / "nyuv2-normals-segmentation.yaml"


def tree(root: Path, count: int = 4) -> Path:
    for folder in ("img", "seg", "normal_mask", "depth"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        name = f"{number:04d}"
        Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(root / "img" / f"{name}.png")
        Image.fromarray(np.array([[0, 39, 255]] * 4, np.uint8).repeat(2, axis=1)).save(root / "seg" / f"{name}.png")
        colors = np.array([[[255, 128, 127], [127, 127, 127], [255, 255, 255]]] * 4, np.uint8).repeat(2, axis=1)
        Image.fromarray(colors).save(root / "normal_mask" / f"{name}.png")
        np.save(root / "depth" / f"{name}.npy", np.full((4, 6), 1 + number, np.float32))
    return root


def pair(root: Path) -> TaskPairSpec:
    depth = {"type": "depth", "key": "depth"}
    loaded = load_spec(PRESET, overrides=[f"sources.nyuv2.train={root}", f"sources.nyuv2.test={root}", f"tasks.depth={depth}"])
    assert isinstance(loaded, TaskPairSpec)
    return loaded.model_copy(update={"transforms": ()})


def test_reads_back_exact_values(tmp_path: Path) -> None:
    data = open_data(pair(tree(tmp_path / "nyuv2")), seed=0)
    [batch] = data.evaluation("test", 8)
    assert batch.ids == ("nyuv2/0000", "nyuv2/0001", "nyuv2/0002", "nyuv2/0003")
    assert batch.targets["segmentation"][1].tolist() == [[0, 0, 39, 39, 255, 255]] * 4
    assert batch.targets["depth"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    normal = batch.targets["normals"][0]
    assert_close(normal[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]), atol=0.01, rtol=0)
    assert normal[:, :, 2:].eq(0).all()


def test_missing_folders(tmp_path: Path) -> None:
    root = tree(tmp_path / "nyuv2")
    for path in (root / "seg").iterdir():
        path.unlink()
    (root / "seg").rmdir()
    with pytest.raises(DataError) as raised:
        open_data(parse_spec(pair(root).model_dump(mode="json")), seed=0)
    assert message(raised.value, tmp_path) == (
        "tasks.segmentation.key: no such folder: nyuv2/seg\n  fix: put the files of 'seg' there, one a sample"
    )


def test_missing_root(tmp_path: Path) -> None:
    tree(tmp_path / "nyuv2")
    with pytest.raises(DataError) as raised:
        Nyuv2.model_validate({"train": str(tmp_path / "nyu-v2")}).open("train")
    assert message(raised.value, tmp_path) == "no such folder: nyu-v2\n  fix: did you mean 'nyuv2'?"


def test_a_key_that_the_layout_has_not(tmp_path: Path) -> None:
    records = Nyuv2.model_validate({"train": str(tree(tmp_path / "nyuv2"))}).open("train")
    assert records.lacks("normals") == (f"there is no key 'normals' in {tmp_path}/nyuv2", "did you mean 'normal_mask'?")


def test_no_fields_to_group_by(tmp_path: Path) -> None:
    records = Nyuv2.model_validate({"train": str(tree(tmp_path / "nyuv2"))}).open("train")
    with pytest.raises(DataError) as raised:
        records.field(0, "scene")
    assert message(raised.value, tmp_path) == (
        "samples of nyuv2 have no fields to group by\n  fix: leave group out, or name a path for validation"
    ).replace("nyuv2", f"{tmp_path}/nyuv2".replace(f"{tmp_path}/", ""))


def test_two_files_of_one_name(tmp_path: Path) -> None:
    root = tree(tmp_path / "nyuv2")
    (root / "img" / "0001.jpg").write_bytes(b"")
    with pytest.raises(DataError) as raised:
        Nyuv2.model_validate({"train": str(root)}).open("train")
    assert message(raised.value, tmp_path) == "nyuv2/img: 0001.jpg and 0001.png are the same sample\n  fix: keep one"


def test_a_label_without_an_image(tmp_path: Path) -> None:
    root = tree(tmp_path / "nyuv2")
    (root / "img" / "0002.png").unlink()
    (root / "img" / ".DS_Store").write_bytes(b"")
    with pytest.raises(DataError) as raised:
        open_data(parse_spec(pair(root).model_dump(mode="json")), seed=0)
    assert str(raised.value) == "inputs.image.key: nyuv2/0002 has no 'img'\n  fix: add it, or remove the sample"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not at hand")
def test_real_samples() -> None:
    data = open_data(pair(SAMPLES), seed=0)
    [batch] = data.evaluation("test", 8)
    assert len(batch.ids) == 4
    length = batch.targets["normals"].norm(dim=1)
    labeled = length > 0
    assert_close(length[labeled], torch.ones(int(labeled.sum())))
    assert 0.5 < labeled.float().mean() < 0.8
    assert set(batch.targets["segmentation"].unique().tolist()) <= {*range(40), 255}
    assert 0.5 < batch.targets["depth"].min() < batch.targets["depth"].max() < 10


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real samples are not at hand")
def test_a_flip_of_real_samples_negates_x() -> None:
    changes = {"transforms": [{"horizontal_flip": 1.0}], "primary": "normals"}
    flipped = open_data(parse_spec({**pair(SAMPLES).model_dump(mode="json"), **changes}), seed=0)
    [seen] = flipped.training(0, batch_size=8)
    plain = {
        name: (image, normal)
        for batch in flipped.evaluation("training", 8)
        for name, image, normal in zip(batch.ids, batch.inputs["image"], batch.targets["normals"], strict=True)
    }
    for name, image, normal in zip(seen.ids, seen.inputs["image"], seen.targets["normals"], strict=True):
        assert_close(image, plain[name][0].flip(-1))
        assert_close(normal, plain[name][1].flip(-1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1))
