"""Tar shards: the index, random access, fields, and what is refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from graphnas.data.base import FileLayout
from graphnas.data.webdataset import WebDataset
from graphnas.errors import DataError
from tests.data.builders import image, message, sample, samples, write_tar


def layout(path: Path) -> FileLayout:
    return WebDataset.model_validate({"layout": "webdataset", "train": str(path)})


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as raised:
        layout(path).open("train")
    return message(raised.value, path.parent)


def test_reads_by_offset_in_any_order(tmp_path: Path) -> None:
    records = layout(write_tar(tmp_path / "rooms.tar", samples(5))).open("train")
    assert records.ids == ("0000", "0001", "0002", "0003", "0004")
    assert set(records.keys(3)) == {"img.png", "normal.png", "seg.png", "json"}
    for index in (4, 0, 2):
        assert np.array_equal(np.asarray(records.read(index, "img.png")), image(index))
    assert records.field(4, "map") == "m1"
    assert records.file(1, "seg.png") == f"{tmp_path}/rooms.tar: 0001.seg.png"


def test_shards_by_pattern_in_order_of_their_names(tmp_path: Path) -> None:
    everything = samples(5)
    write_tar(tmp_path / "b.tar", {name: everything[name] for name in ("0003", "0004")})
    write_tar(tmp_path / "a.tar", {name: everything[name] for name in ("0000", "0001", "0002")})
    records = layout(tmp_path / "*.tar").open("train")
    assert records.ids == ("0000", "0001", "0002", "0003", "0004")
    assert np.array_equal(np.asarray(records.read(3, "img.png")), image(3))


def test_shards_that_count_from_zero_each(tmp_path: Path) -> None:
    for shard in ("a", "b"):
        write_tar(tmp_path / f"{shard}.tar", {"0000": sample(1), "0001": sample(2)})
    assert layout(tmp_path / "?.tar").open("train").ids == ("a/0000", "a/0001", "b/0000", "b/0001")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    assert layout(write_tar(tmp_path / "rooms[1].tar", samples(1))).open("train").ids == ("0000",)


def test_folders_inside_belong_to_the_name(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "rooms.tar", {"a/0000": sample(0), "b/0000": sample(1)})
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("a/.hidden"))
        tar.addfile(tarfile.TarInfo("README"))
    assert layout(path).open("train").ids == ("a/0000", "b/0000")


def test_missing_file(tmp_path: Path) -> None:
    write_tar(tmp_path / "training.tar", samples(1))
    assert error_of(tmp_path / "trainig.tar") == "no such file: trainig.tar\n  fix: did you mean 'training.tar'?"
    assert error_of(tmp_path / "x.tar") == "no such file: x.tar\n  fix: check the path"
    assert error_of(tmp_path / "data" / "x.tar") == f"no such file: x.tar\n  fix: there is no folder {tmp_path}/data"


def test_pattern_that_matches_nothing(tmp_path: Path) -> None:
    assert error_of(tmp_path / "train-*.tar") == "no file matches train-*.tar\n  fix: check the pattern; * stays within a folder name"


def test_not_a_tar_file(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar file" * 100)
    assert error_of(tmp_path / "a.tar") == "a.tar: not a tar file that can be read: invalid header\n  fix: restore the tar file"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0000.img.png"))
    assert error_of(tmp_path / "a.tar.gz").endswith("\n  fix: unpack it to a plain .tar: members are read by their place")


def test_truncated(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"0000": {"img.png": bytes(1500)}})
    path.write_bytes(path.read_bytes()[:1000])
    assert error_of(path) == "a.tar: 0000.img.png: the tar file ends in the middle of it\n  fix: restore the tar file"


def test_no_samples(tmp_path: Path) -> None:
    assert error_of(write_tar(tmp_path / "a.tar", {})) == (
        "a.tar: holds no samples\n  fix: members are called NAME.KEY, such as 0012.img.png"
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"json": b'{"mop": 1}'}, "a.tar: 0000.json: no field 'map'\n  fix: did you mean 'mop'?"),
        ({"json": b"[1]"}, "a.tar: 0000.json: the fields of a sample are a JSON object"),
        ({"json": b"{"}, "a.tar: 0000.json: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ({"img.png": b""}, "a.tar: sample '0000' has no .json member, so no field 'map'\n  fix: leave group out"),
    ],
)
def test_no_field_to_group_by(tmp_path: Path, members: dict[str, bytes], expected: str) -> None:
    records = layout(write_tar(tmp_path / "a.tar", {"0000": members})).open("train")
    with pytest.raises(DataError) as raised:
        records.field(0, "map")
    assert message(raised.value, tmp_path) == expected


def test_what_a_broken_image_is_called(tmp_path: Path) -> None:
    whole = sample(0)["img.png"]
    broken = {"a.png": whole[:-30], "b.png": b"", "c.jpg": whole[:30], "d.npy": b"x", "e.gif": b"GIF89a"}
    records = layout(write_tar(tmp_path / "a.tar", {"0000": broken})).open("train")
    messages: list[str] = []
    for key in broken:
        with pytest.raises(DataError) as raised:
            records.read(0, key)
        messages.append(message(raised.value, tmp_path))
    assert messages[0] == "a.tar: 0000.a.png: corrupt image: image file is truncated\n  fix: restore the file, or remove the sample"
    assert messages[1] == "a.tar: 0000.b.png: corrupt image: it holds no image\n  fix: restore the file, or remove the sample"
    assert messages[2].startswith("a.tar: 0000.c.jpg: corrupt image: ")
    assert messages[3].startswith("a.tar: 0000.d.npy: corrupt array: ")
    assert messages[4] == (
        "a.tar: 0000.e.gif: files of the kind 'gif' can't be read\n  fix: one of bmp, jpeg, jpg, npy, pgm, png, ppm, tif, tiff, webp"
    )


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    records = layout(write_tar(tmp_path / "a.tar", {"0000": {"x.npy": (tmp_path / "x.npy").read_bytes()}})).open("train")
    with pytest.raises(DataError, match=r"corrupt array: Object arrays cannot be loaded when allow_pickle=False"):
        records.read(0, "x.npy")
