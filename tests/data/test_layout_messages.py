"""What each layout says about a tree that is not as it should be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from graphnas.data.cityscapes import class_ids
from graphnas.data.optional import imported
from graphnas.data.python import DatasetRecords
from graphnas.data.webdataset import expanded
from graphnas.errors import DataError
from graphnas.registry import layouts
from tests.data import writers
from tests.data.builders import write_tar
from tests.data.writers import color, save


def said(source: dict[str, Any], part: Any = "train", read: str | None = None, field: str | None = None) -> str:
    """The message about opening a part, or about reading from its first sample."""

    def use() -> None:
        records = layouts.get(source["layout"]).model_validate(source).open(part)
        if read is not None:
            records.read(0, read)
        if field is not None:
            records.field(0, field)

    with pytest.raises(DataError) as raised:
        use()
    return str(raised.value)


def csv(root: Path, text: str) -> dict[str, Any]:
    save(root / "img" / "0000.png", color(0))
    (root / "meta.csv").write_text(text)
    return {"layout": "folder", "train": str(root)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,map\n0000,a\n", "no column 'id'\n  fix: id: one of name, map"),
        ("ids,map\n0000,a\n", "no column 'id'\n  fix: id: ids"),
        ("id,img\n0000,a\n", "the column 'img' is called like a folder\n  fix: rename one of them"),
        ("id,map\n0000,a\n0000,b\n", "'0000' stands there twice\n  fix: keep one"),
        ("id,map\n0000,a,b\n", "line 2 has another number of cells than the first, 2\n  fix: correct the line"),
        ("id,map\n0001,a\n0000\n", "line 3 has another number of cells than the first, 2\n  fix: correct the line"),
        ('id,map\n0000,"a\n', "not a CSV file that can be read: unexpected end of data"),
    ],
)
def test_folder_tables(tmp_path: Path, text: str, expected: str) -> None:
    assert said(csv(tmp_path, text)) == f"{tmp_path}/meta.csv: {expected}"


def test_folder_fields(tmp_path: Path) -> None:
    source = csv(tmp_path, "id,map,scene\n0000,a,\n")
    assert said(source, field="scene") == f"{tmp_path}/meta.csv: '0000' has no field 'scene'\n  fix: one of map"
    assert said(source, field="mop") == f"{tmp_path}/meta.csv: '0000' has no field 'mop'\n  fix: did you mean 'map'?"
    assert said({**source, "lists": ["maps"]}) == f"{tmp_path}/meta.csv: no column 'maps' of lists\n  fix: did you mean 'map'?"
    assert said({**source, "fields": "mta.csv"}) == f"no such file: {tmp_path}/mta.csv\n  fix: did you mean 'meta.csv'?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n", "holds no names\n  fix: one a line"),
        ("0000\n0000\n", "'0000' stands there twice\n  fix: keep one"),
        ("0000.png\n", "no file is called '0000.png'\n  fix: names without suffix: 0000"),
        ("0001\n", "no file is called '0001'\n  fix: did you mean '0000'?"),
    ],
)
def test_folder_lists(tmp_path: Path, text: str, expected: str) -> None:
    save(tmp_path / "img" / "0000.png", color(0))
    (tmp_path / "train.txt").write_text(text)
    assert said({"layout": "folder", "train": str(tmp_path / "train.txt")}) == f"{tmp_path}/train.txt: {expected}"


def test_webdataset_ranges(tmp_path: Path) -> None:
    assert expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expanded("a-{8..11}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]
    assert expanded("{a,b}-{0..1}.tar") == ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]
    write_tar(tmp_path / "a-0.tar", {"0": {"img.png": b""}})
    source = {"layout": "webdataset", "train": f"{tmp_path}/a-{{0..1}}.tar"}
    assert said(source) == f"no such file: {tmp_path}/a-1.tar\n  fix: did you mean 'a-0.tar'?"
    assert said({**source, "train": f"{tmp_path}/a-{{1..0}}.tar"}) == f"{tmp_path}/a-{{1..0}}.tar: the range 1..0 is empty\n  fix: 0..1"


def test_webdataset_fields_as_labels(tmp_path: Path) -> None:
    fields = json.dumps({"outdoor": 1, "none": None}).encode()
    write_tar(tmp_path / "a.tar", {"0": {"img.png": b"", "img.npy": b"", "seg.png": b"", "json": fields}})
    records = layouts.get("webdataset").model_validate({"train": str(tmp_path / "a.tar")}).open("train")
    keys = records.keys(0)
    assert [key in keys for key in ("outdoor", "seg", "img.png", "seg.png", "none", "img", "other", "other.png")] == [True] * 4 + [
        False
    ] * 4
    assert records.read(0, "outdoor") == 1
    assert records.file(0, "outdoor") == f"{tmp_path}/a.tar: 0.json: outdoor"
    assert records.file(0, "seg") == f"{tmp_path}/a.tar: 0.seg.png"
    assert list(keys) == ["img.png", "img.npy", "seg.png", "json"]


@pytest.fixture
def mat(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    pytest.importorskip("h5py")
    pytest.importorskip("scipy")

    def of(**changes: Any) -> dict[str, Any]:
        return {**writers.nyuv2_official(tmp_path).source, **changes}

    return of


def test_nyuv2_official_files(mat: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    source = mat()
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    assert said(source, field="room") == f"{path}: no field 'room'\n  fix: one of scene, scene_type"
    (tmp_path / "splits.mat").rename(tmp_path / "split.mat")
    assert said(source) == f"no such file: {tmp_path}/splits.mat\n  fix: did you mean 'split.mat'?"
    (tmp_path / "other.mat").write_bytes(b"MATLAB 5.0")
    other = {**source, "splits": str(tmp_path / "other.mat")}
    assert said(other) == f"{tmp_path}/other.mat: not a MATLAB file that can be read\n  fix: restore the file"
    cut = tmp_path / "cut.mat"  # another name: HDF5 knows a file that is open in this process
    cut.write_bytes(path.read_bytes()[:400])
    whole = said({**source, "train": str(cut), "splits": str(tmp_path / "split.mat")})
    assert whole.startswith(f"{cut}: not a MATLAB v7.3 file that can be read: ")
    assert whole.endswith("\n  fix: restore the file")


def test_nyuv2_official_splits(mat: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    import scipy.io

    source = mat()
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[1], [1449]])})
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    assert said(source) == f"{path}: holds 6 samples, but sample 1449 is wanted\n  fix: the splits.mat of this file"
    fix = "the splits.mat that belongs to nyu_depth_v2_labeled.mat"
    assert said(source, "test") == f"{tmp_path}/splits.mat: there is no testNdxs in it\n  fix: {fix}"


@pytest.mark.parametrize("suffix", ["npy", "mat"])
def test_nyuv2_mapping_of_names_to_classes(mat: Callable[..., dict[str, Any]], tmp_path: Path, suffix: str) -> None:
    import scipy.io

    classes = np.arange(894) % 41  # name k + 1 -> class k % 41, from 1 on; 0 for none
    path = tmp_path / f"mapping.{suffix}"
    if suffix == "npy":
        np.save(path, classes)
    else:
        scipy.io.savemat(path, {"mapClass": classes[None].astype(np.uint8)})
    records = layouts.get("nyuv2").model_validate(mat(mapping=str(path))).open("train")
    label = records.read(0, "label")
    assert label.dtype == np.uint8
    assert np.array_equal(label[0], np.full(6, 255))  # not labeled
    assert np.array_equal(label[1:], np.full((3, 6), 889 % 41 - 1))  # name 890


def test_nyuv2_mappings_that_are_none(mat: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.arange(40))
    fix = "mapClass of classMapping40.mat, or a .npy file of 894 numbers from 1 on, 0 for none"
    assert said(mat(mapping=str(tmp_path / "few.npy"))) == f"{tmp_path}/few.npy: not a class for each of the 894 names\n  fix: {fix}"


def test_nyuv2_fields_of_the_official_file_alone() -> None:
    with pytest.raises(ValidationError, match=r"mapping belongs to the official file, and the format is authors"):
        layouts.get("nyuv2").model_validate({"train": "x", "mapping": "y.npy"})


def test_cityscapes(tmp_path: Path) -> None:
    source = writers.cityscapes(tmp_path).source
    assert said({**source, "train": "vel"}) == f"{tmp_path}/leftImg8bit: no split 'vel'\n  fix: did you mean 'val'?"
    place = tmp_path / "gtFine" / "train" / "aachen" / "aachen_000000_000019_gtFine_labelIds.png"
    save(place, np.full((4, 6), 77, np.uint8))
    assert said(source, read="label") == f"{place}: label 77 is not in the official table, 0 to 33\n  fix: the file as it is published"
    save(place, np.zeros((4, 6, 3), np.uint8))
    assert said(source, read="label") == f"{place}: not a file of labelIds, 8 bits and one channel\n  fix: the file as it is published"
    place = tmp_path / "disparity" / "train" / "aachen" / "aachen_000000_000019_disparity.png"
    save(place, np.zeros((4, 6), np.uint8))
    assert said(source, read="disparity") == f"{place}: a disparity has 16 bits and one channel\n  fix: the file as it is published"


def test_cityscapes_packages_that_are_not_there(tmp_path: Path) -> None:
    save(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_000000_000019_leftImg8bit.png", color(0))
    records = layouts.get("cityscapes").model_validate({"root": str(tmp_path)}).open("train")
    assert records.lacks("disparity") == (
        f"no file {tmp_path}/disparity/train/CITY/*_disparity.png",
        f"unpack Cityscapes' package disparity into {tmp_path}",
    )


@pytest.mark.parametrize(("classes", "expected"), [(19, [255, 0, 255, 13, 16, 18]), (7, [255, 0, 255, 6, 6, 6])])
def test_cityscapes_classes(tmp_path: Path, classes: int, expected: list[int]) -> None:
    source = writers.cityscapes(tmp_path).source
    records = layouts.get("cityscapes").model_validate({**source, "classes": classes}).open("train")
    assert records.read(0, "label")[0].tolist() == expected


def test_the_official_table_of_cityscapes(tmp_path: Path) -> None:
    """As cityscapesScripts' ``labels.py`` has it: id -> trainId and category, of those that evaluation does not ignore."""
    train_ids = dict(zip([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33], range(19), strict=True))
    categories = [0] * 2 + [1] * 3 + [2] * 3 + [3] * 2 + [4] + [5] * 2 + [6] * 6
    labels = np.array([[*range(34), 255]], np.uint8)
    expected = [train_ids.get(label, 255) for label in labels[0].tolist()]
    assert class_ids(labels, "a.png", 19)[0].tolist() == expected
    assert class_ids(labels, "a.png", 7)[0].tolist() == [255 if found == 255 else categories[found] for found in expected]


def test_taskonomy(tmp_path: Path) -> None:
    source = writers.taskonomy(tmp_path).source
    (tmp_path / "train.txt").write_text("ackermanvile\n")
    assert said(source) == (
        f"{tmp_path}/train.txt: there is no building 'ackermanvile' in {tmp_path}\n  fix: did you mean 'ackermanville'?"
    )
    (tmp_path / "train.txt").write_text("zebra\nzebra\n")
    assert said(source) == f"{tmp_path}/train.txt: 'zebra' stands there twice\n  fix: keep one"
    (tmp_path / "train.txt").write_text("")
    assert said(source) == f"{tmp_path}/train.txt: names no buildings for 'train'\n  fix: one a line, or 1 in that column"
    (tmp_path / "splits.csv").write_text("id,train,val\nzebra,1,0\n")
    assert said(source, "test") == f"{tmp_path}/splits.csv: no column 'test'\n  fix: one of id, train, val"
    (tmp_path / "empty").mkdir()
    assert said({**source, "root": str(tmp_path / "empty")}) == (
        f"{tmp_path}/empty: there are no domains of Taskonomy in it\n  fix: folders such as rgb/BUILDING/ or BUILDING/rgb/"
    )


def test_taskonomy_domains_that_are_not_there(tmp_path: Path) -> None:
    records = layouts.get("taskonomy").model_validate(writers.taskonomy(tmp_path).source).open("train")
    assert records.lacks("normal") == (
        f"no file of normal for the buildings in {tmp_path}/train.txt",
        f"unpack Taskonomy's normal into {tmp_path}",
    )


def test_taskonomy_depth_of_eight_bits(tmp_path: Path) -> None:
    source = writers.taskonomy(tmp_path).source
    place = tmp_path / "depth_euclidean" / "taskonomy" / "ackermanville" / "point_2_view_0_domain_deptheuclidean.png"
    save(place, np.zeros((4, 6), np.uint8))
    assert said(source, read="depth_euclidean") == f"{place}: depth has 16 bits and one channel\n  fix: the file as it is published"


def test_huggingface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "cache")
    root = tmp_path / "data"
    source = writers.huggingface(root).source
    assert said({**source, "train": "tain"}) == f"{root}: no split 'tain'\n  fix: did you mean 'train'?"
    assert said({**source, "columns": {"img": "pixel"}}) == f"{root} (train): no column 'pixel'\n  fix: did you mean 'pixels'?"
    assert said(source, field="room") == f"{root} (train): no field 'room'\n  fix: one of img, scene, seg, tags"
    (tmp_path / "empty").mkdir()
    message = said({**source, "folder": str(tmp_path / "empty")})
    assert message.startswith(f"{tmp_path}/empty: the library datasets can't load it: ")
    assert message.endswith("\n  fix: check the name, the folder, or the network")


def test_huggingface_saved_to_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"x": [1, None, 3]})
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "two")
    for folder in ("one", "two"):
        records = layouts.get("huggingface").model_validate({"folder": str(tmp_path / folder)}).open("train")
        assert [sorted(records.keys(index)) for index in range(3)] == [["x"], [], ["x"]]
        assert records.read(2, "x") == 3


def test_huggingface_says_where() -> None:
    with pytest.raises(ValidationError, match="one of name and folder says where the data set is"):
        layouts.get("huggingface").model_validate({})
    with pytest.raises(ValidationError, match="a folder has no revisions"):
        layouts.get("huggingface").model_validate({"folder": "x", "revision": "main"})


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError) as raised:
        imported("h5py", "the official file of NYUv2")
    assert str(raised.value) == "the official file of NYUv2: the package h5py is not installed\n  fix: pip install 'graphnas[data]'"


class Counting:
    """Counts how often a sample is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads += 1
        return {"img": color(index), "depth": None if index == 3 else np.ones((4, 6)), "room": index}


class Told(Counting):
    """Says itself what its samples have."""

    def keys_of(self, index: int) -> list[str]:
        return ["img", "room"] if index == 3 else ["img", "depth", "room"]


@pytest.mark.parametrize(
    ("dataset", "keys", "reads"), [(Counting(), "each", 5), (Counting(), "first", 1), (Counting(), ("img",), 0), (Told(), "each", 0)]
)
def test_python_data_sets_are_read_no_more_than_needed(dataset: Counting, keys: Any, reads: int) -> None:
    records = DatasetRecords("rooms", dataset, keys)
    assert dataset.reads == reads
    assert "img" in records.keys(3)
    assert ("depth" in records.keys(3)) == (keys == "first")
    assert records.field(4, "room") == 4


def test_python_data_sets_that_lack_what_was_said() -> None:
    with pytest.raises(DataError) as raised:
        DatasetRecords("rooms", Counting(), "first").read(3, "depth")
    assert str(raised.value) == "rooms[3]: no 'depth', which it was said to have\n  fix: keys: each"
    with pytest.raises(DataError) as raised:
        DatasetRecords("rooms", Counting(), "first").field(3, "rom")
    assert str(raised.value) == "rooms[3]: no field 'rom'\n  fix: did you mean 'room'?"
