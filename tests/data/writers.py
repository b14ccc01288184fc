"""Tiny data sets in the official form of each layout, with what must be read back.

Four samples in training, two in testing. The second training sample lacks its second label where a layout can say so. Images are 4 x 6.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.builders import png, write_tar

ROWS, COLUMNS = 4, 6
TRAIN, TEST = 4, 2


@dataclass(frozen=True)
class Written:
    """A data set that was written.

    Args:
        source: What a task pair says of it.
        values: Part -> for each sample, in order: key -> what ``read`` gives.
        ids: Part -> names.
        group: The field that validation groups by unless it is told otherwise, and each training sample's value.
        image: The key of the image.
        files: Part of what the messages call the first sample's image.
        given: Data sets given from Python.
    """

    source: dict[str, Any]
    values: Mapping[str, Sequence[Mapping[str, Any]]]
    ids: Mapping[str, Sequence[str]]
    image: str
    file: str
    group: tuple[str, Sequence[Any]] | None = None
    given: Mapping[str, Any] | None = None
    stamped: Path | None = None
    unknown: tuple[str, str] = field(default=("", ""))


def color(number: int) -> np.ndarray:
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.stack([10 * rows, 10 * columns, np.full_like(rows, number)], axis=2).astype(np.uint8)


def ids_of(number: int) -> np.ndarray:
    ids = np.full((ROWS, COLUMNS), number % 3, np.uint8)
    ids[:, 0] = 255
    return ids


def millimetres(number: int) -> np.ndarray:
    depth = np.full((ROWS, COLUMNS), 1000 + number, np.uint16)
    depth[0] = 0
    return depth


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        path.write_bytes(png(array))


def _trees(root: Path, samples: Mapping[str, Sequence[Mapping[str, np.ndarray]]], name: Callable[[int], str], suffix: str) -> None:
    for part, found in samples.items():
        for number, values in enumerate(found):
            for key, array in values.items():
                save(root / part / key / f"{name(number)}{suffix if array.ndim < 3 or suffix == '.npy' else '.png'}", array)


def _samples(make: Callable[[int], dict[str, Any]], second: str) -> dict[str, list[dict[str, Any]]]:
    train = [make(number) for number in range(TRAIN)]
    del train[1][second]
    return {"train": train, "test": [make(10 + number) for number in range(TEST)]}


def folder(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        return {"img": color(number), "depth": millimetres(number), "seg": ids_of(number)}

    values = _samples(make, "seg")
    _trees(root, values, "{:04d}".format, ".png")
    for part, found in values.items():
        lines = [f"{number:04d},M{number // 2},{number % 2},{'' if number == 1 else 'Door Lamp'}" for number in range(len(found))]
        # the second sample has no map, and no objects in view
        lines[1] = "0001,,1,"
        (root / part / "meta.csv").write_text("\n".join(["id,map,outdoor,objects", *lines]) + "\n")
        for number, sample in enumerate(found):
            sample |= {"outdoor": number % 2, "objects": [] if number == 1 else ["Door", "Lamp"]}
            sample |= {} if number == 1 else {"map": f"M{number // 2}"}
    return Written(
        {"layout": "folder", "train": str(root / "train"), "test": str(root / "test"), "lists": ["objects"]},
        values,
        _names(values),
        "img",
        f"{root}/train/img/0000.png",
        stamped=root / "train" / "img" / "0000.png",
        unknown=("sag", f"there is no key 'sag' in {root}/train\n  fix: did you mean 'seg'?"),
    )


def folder_lists(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        return {"img": color(number), "depth": np.full((ROWS, COLUMNS), 0.5 + number, np.float32), "seg": ids_of(number)}

    values = _samples(make, "seg")
    names = {"train": ["d", "a", "c", "f"], "test": ["b", "e"]}
    for part, found in values.items():
        for name, sample in zip(names[part], found, strict=True):
            save(root / "all" / "img" / f"{name}.png", sample["img"])
            save(root / "all" / "depth" / f"{name}.npy", sample["depth"])
            if "seg" in sample:
                save(root / "all" / "seg" / f"{name}.png", sample["seg"])
        (root / f"{part}.txt").write_text("\n".join(names[part]) + "\n")
    source = {"layout": "folder", "root": str(root / "all"), "train": str(root / "train.txt"), "test": str(root / "test.txt")}
    unknown = ("dept", f"there is no key 'dept' in {root}/all\n  fix: did you mean 'depth'?")
    return Written(source, values, names, "img", f"{root}/all/img/d.png", stamped=root / "all" / "img" / "d.png", unknown=unknown)


def webdataset(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        return {"img.png": color(number), "seg.png": ids_of(number), "depth.npy": np.full((ROWS, COLUMNS), 2.0, np.float32)}

    values = _samples(make, "seg.png")
    names = {"train": ["0", "1", "2", "3"], "test": ["0", "1"]}
    shards = {"train": [(0, 2), (2, 4)], "test": [(0, 2)]}
    for part, ranges in shards.items():
        for shard, (start, end) in enumerate(ranges):
            content = {
                names[part][number]: {
                    **{key: _bytes(key, array) for key, array in values[part][number].items()},
                    "json": json.dumps({"map": f"m{number // 2}", "objects": ["Door"] * number, "nothing": None}).encode(),
                }
                for number in range(start, end)
            }
            write_tar(root / f"{part}-{shard:03d}.tar", content)
    for part, found in values.items():
        for number, sample in enumerate(found):
            sample |= {key.partition(".")[0]: array for key, array in sample.items()}
            sample |= {"map": f"m{number // 2}", "objects": ["Door"] * number}
        assert part in names
    source = {"layout": "webdataset", "train": f"{root}/train-{{000..001}}.tar", "test": f"{root}/test-000.tar"}
    unknown = ("image.png", f"no sample of {root}/train-{{000..001}}.tar has 'image.png'\n  fix: did you mean 'img.png'?")
    return Written(source, values, names, "img.png", f"{root}/train-000.tar: 0.img.png", stamped=root / "train-000.tar", unknown=unknown)


def _bytes(key: str, array: np.ndarray) -> bytes:
    if key.endswith(".png"):
        return png(array)
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def nyuv2_authors(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        normals = np.full((ROWS, COLUMNS, 3), 127, np.uint8)
        normals[1:, :, 2] = 255
        return {"img": color(number), "seg": ids_of(number), "normal_mask": normals}

    values = _samples(make, "seg")
    _trees(root, values, "{:04d}".format, ".png")
    for part, found in values.items():
        for number, sample in enumerate(found):
            sample["depth"] = np.full((ROWS, COLUMNS), 1.5 + number, np.float32)
            save(root / part / "depth" / f"{number:04d}.npy", sample["depth"])
    source = {"layout": "nyuv2", "train": str(root / "train"), "test": str(root / "test")}
    stamped = root / "train" / "img" / "0000.png"
    unknown = ("normal", f"there is no key 'normal' in {root}/train\n  fix: did you mean 'normal_mask'?")
    return Written(source, values, _names(values), "img", str(stamped), stamped=stamped, unknown=unknown)


def _mtan(root: Path, make: Callable[[int], dict[str, Any]], second: str) -> dict[str, list[dict[str, Any]]]:
    values = _samples(make, second)
    _trees(root, {"train": values["train"], "val": values["test"]}, str, ".npy")
    return values


def nyuv2_mtan(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        normal = np.zeros((ROWS, COLUMNS, 3), np.float32)
        normal[1:, :, 2] = 1
        return {
            "image": color(number).astype(np.float32) / 255,
            "label": np.where(ids_of(number) == 255, -1, 12).astype(np.float32),
            "depth": np.full((ROWS, COLUMNS, 1), 2.5, np.float32),
            "normal": normal,
        }

    values = _mtan(root, make, "label")
    source = {"layout": "nyuv2", "format": "mtan", "train": str(root / "train"), "test": str(root / "val")}
    stamped = root / "train" / "image" / "0.npy"
    names = {part: [str(number) for number in range(len(found))] for part, found in values.items()}
    unknown = ("labels", f"there is no key 'labels' in {root}/train\n  fix: did you mean 'label'?")
    return Written(source, values, names, "image", str(stamped), stamped=stamped, unknown=unknown)


def nyuv2_official(root: Path) -> Written:
    import h5py
    import scipy.io

    root.mkdir(parents=True, exist_ok=True)
    train, test = [1, 2, 5, 6], [4, 3]  # from 1, as MATLAB counts
    images = np.stack([color(number) for number in range(6)])
    labels = np.stack([np.full((ROWS, COLUMNS), 890 + number, np.uint16) for number in range(6)])
    labels[:, 0] = 0
    depths = np.stack([np.linspace(1, 2 + number, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS) for number in range(6)])
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = images.transpose(0, 3, 2, 1)  # MATLAB's 4 x 6 x 3 x 6, in reverse
        file["labels"] = labels.transpose(0, 2, 1)
        file["depths"] = depths.transpose(0, 2, 1)
        for name, texts in (("scenes", ["kitchen_0001"] * 2 + ["bath_0002"] * 2 + ["attic_0003"] * 2), ("sceneTypes", ["room"] * 6)):
            cells = [file.create_dataset(f"#refs#/{name}{k}", data=np.frombuffer(text.encode("utf-16-le"), np.uint16)[:, None])
                     for k, text in enumerate(texts)]  # fmt: skip
            file.create_dataset(name, data=np.array([[cell.ref for cell in cells]], dtype=h5py.ref_dtype))
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": np.array(train)[:, None], "testNdxs": np.array(test)[:, None]})
    scenes = ["kitchen_0001"] * 2 + ["bath_0002"] * 2 + ["attic_0003"] * 2
    values = {
        part: [
            {
                "image": images[number - 1],
                "label": labels[number - 1],
                "depth": depths[number - 1],
                "scene": scenes[number - 1],
                "scene_type": "room",
            }
            for number in numbers
        ]
        for part, numbers in (("train", train), ("test", test))
    }
    path = root / "nyu_depth_v2_labeled.mat"
    source = {"layout": "nyuv2", "format": "official", "train": str(path), "test": str(path)}
    names = {"train": [f"{number:04d}" for number in train], "test": [f"{number:04d}" for number in test]}
    group = ("scene", [scenes[number - 1] for number in train])
    unknown = ("depths", f"there is no key 'depths' in {path}\n  fix: did you mean 'depth'?")
    return Written(source, values, names, "image", f"{path}: 0001.image", group, stamped=path, unknown=unknown)


def cityscapes(root: Path) -> Written:
    labels = np.tile(np.array([0, 7, 9, 26, 31, 33], np.uint8), (ROWS, 1))
    classes = np.tile(np.array([255, 0, 255, 13, 16, 18], np.uint8), (ROWS, 1))
    disparity = np.tile(np.array([0, 1, 257, 513, 32769, 2], np.uint16), (ROWS, 1))
    pixels = np.tile(np.array([0, 0, 1, 2, 128, 1 / 256], np.float32), (ROWS, 1))
    cities = {"train": ["aachen", "aachen", "bonn", "bonn"], "val": ["ulm", "ulm"]}
    values: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, list[str]] = {}
    for split, part in (("train", "train"), ("val", "test")):
        values[part], names[part] = [], []
        for number, city in enumerate(cities[split]):
            name = f"{city}_{number:06d}_000019"
            sample: dict[str, Any] = {"image": color(number), "city": city, "sequence": f"{city}_{number:06d}"}
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", color(number))
            save(root / "gtFine" / split / city / f"{name}_gtFine_color.png", color(0))
            save(root / "disparity" / split / city / f"{name}_disparity.png", disparity)
            if (part, number) != ("train", 1):
                save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", labels)
                sample["label"] = classes
            values[part].append({**sample, "disparity": pixels})
            names[part].append(name)
    stamped = root / "leftImg8bit" / "train" / "aachen" / "aachen_000000_000019_leftImg8bit.png"
    unknown = ("labels", f"there is no key 'labels' in {root}/*/train\n  fix: did you mean 'label'?")
    source = {"layout": "cityscapes", "root": str(root)}
    return Written(source, values, names, "image", str(stamped), ("city", cities["train"]), stamped=stamped, unknown=unknown)


def cityscapes_mtan(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        return {
            "image": color(number).astype(np.float32) / 255,
            "label_7": np.where(ids_of(number) == 255, -1, 6).astype(np.float32),
            "depth": np.full((ROWS, COLUMNS, 1), 0.25, np.float32),
        }

    values = _mtan(root, make, "label_7")
    names = {part: [str(number) for number in range(len(found))] for part, found in values.items()}
    stamped = root / "train" / "image" / "0.npy"
    unknown = ("label_8", f"there is no key 'label_8' in {root}/train\n  fix: did you mean 'label_7'?")
    source = {"layout": "cityscapes", "format": "mtan", "root": str(root)}
    return Written(source, values, names, "image", str(stamped), stamped=stamped, unknown=unknown)


def taskonomy(root: Path, place: str = "{domain}/taskonomy/{building}") -> Written:
    stored = np.tile(np.array([0, 512, 256, 65535, 1, 1024], np.uint16), (ROWS, 1))
    metres = np.tile(np.array([0, 1, 0.5, 0, 1 / 512, 2], np.float32), (ROWS, 1))
    buildings = {"train": ["ackermanville", "adairsville"], "test": ["zebra"]}
    values: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    names: dict[str, list[str]] = {"train": [], "test": []}
    for part, found in buildings.items():
        for building in found:
            for number, (point, view) in enumerate(((2, 0), (10, 1))):
                name = f"point_{point}_view_{view}"
                logits = np.linspace(0, 1, 5, dtype=np.float32)
                sample: dict[str, Any] = {
                    "rgb": color(point),
                    "depth_euclidean": stored,
                    "depth_zbuffer": stored[:, ::-1],
                    "class_object": logits,
                }
                sample |= {"class_scene": logits[::-1].copy(), "segment_semantic": ids_of(point), "normal": color(view)}
                if (part, len(values[part])) == ("train", 1):
                    del sample["class_object"]
                for domain, array in sample.items():
                    folder = root / place.format(domain=domain, building=building)
                    save(folder / f"{name}_domain_{domain.replace('_', '')}.{'npy' if array.ndim == 1 else 'png'}", array)
                sample |= {"depth_euclidean": metres, "depth_zbuffer": metres[:, ::-1], "building": building, "point": point, "view": view}
                values[part].append(sample)
                names[part].append(f"{building}/{name}")
                assert number < 2
    (root / "train.txt").write_text("\n".join(buildings["train"]) + "\n")
    (root / "splits.csv").write_text("id,train,val,test\nackermanville,1,0,0\nadairsville,1,0,0\nzebra,0,0,1\n")
    path = root / place.format(domain="rgb", building="ackermanville") / "point_2_view_0_domain_rgb.png"
    source = {"layout": "taskonomy", "root": str(root), "train": str(root / "train.txt"), "test": str(root / "splits.csv")}
    group = ("building", [name.partition("/")[0] for name in names["train"]])
    unknown = ("depth_euclid", f"there is no key 'depth_euclid' in {root}\n  fix: did you mean 'depth_euclidean'?")
    return Written(source, values, names, "rgb", str(path), group, stamped=path, unknown=unknown)


def taskonomy_by_building(root: Path) -> Written:
    return taskonomy(root, "{building}/{domain}")


def huggingface(root: Path) -> Written:
    import datasets

    def make(number: int) -> dict[str, Any]:
        return {"pixels": color(number), "seg": ids_of(number), "scene": number % 2, "tags": ["Door"] * number}

    values = _samples(make, "seg")
    features = datasets.Features(
        pixels=datasets.Image(),
        seg=datasets.Image(),
        scene=datasets.ClassLabel(names=["in", "out"]),
        tags=datasets.Sequence(datasets.Value("string")),
    )
    for part, found in values.items():
        columns = {
            "pixels": [{"bytes": png(sample["pixels"])} for sample in found],
            "seg": [{"bytes": png(sample["seg"])} if "seg" in sample else None for sample in found],
            "scene": [sample["scene"] for sample in found],
            "tags": [sample["tags"] for sample in found],
        }
        (root / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(columns, features=features).to_parquet(root / "data" / f"{part}-00000-of-00001.parquet")
        for sample in found:
            sample["img"] = sample.pop("pixels")
    names = {part: [str(number) for number in range(len(found))] for part, found in values.items()}
    source = {"layout": "huggingface", "folder": str(root), "columns": {"img": "pixels"}}
    unknown = ("image", f"{root} (train): no column 'image'\n  fix: did you mean 'img'?")
    return Written(source, values, names, "img", f"{root} (train)[0]['pixels']", unknown=unknown)


class Rooms:
    """A map-style data set."""

    def __init__(self, samples: Sequence[Mapping[str, Any]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return {"seg": None, **self.samples[index]}


def python(root: Path) -> Written:
    def make(number: int) -> dict[str, Any]:
        return {"img": color(number), "depth": np.full((ROWS, COLUMNS), 1.0 + number, np.float32), "seg": ids_of(number)}

    values = _samples(make, "seg")
    names = {part: [str(number) for number in range(len(found))] for part, found in values.items()}
    given = {part: Rooms(found) for part, found in values.items()}
    unknown = ("sag", "no sample of data has 'sag'\n  fix: did you mean 'seg'?")
    return Written({"layout": "python"}, values, names, "img", "data[0]['img']", given=given, unknown=unknown)


def _names(values: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    return {part: [f"{number:04d}" for number in range(len(found))] for part, found in values.items()}


WRITERS: dict[str, Callable[[Path], Written]] = {
    "folder": folder,
    "folder, lists": folder_lists,
    "webdataset": webdataset,
    "nyuv2": nyuv2_authors,
    "nyuv2, mtan": nyuv2_mtan,
    "nyuv2, official": nyuv2_official,
    "cityscapes": cityscapes,
    "cityscapes, mtan": cityscapes_mtan,
    "taskonomy": taskonomy,
    "taskonomy, by building": taskonomy_by_building,
    "huggingface": huggingface,
    "python": python,
}
