"""Cityscapes (Cordts et al., CVPR 2016): the official tree, and the folders of the MTAN line.

| format | key | files | holds |
|---|---|---|---|
| ``official`` | ``image`` | ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` | RGB |
| | ``label`` | ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` | classes 0 to 18 (or 0 to 6), 255 not labeled |
| | ``disparity`` | ``disparity/SPLIT/CITY/*_disparity.png`` | pixels at full size, (value - 1) / 256 of 16 bits; 0 not measured |
| ``mtan`` | ``image`` | ``SPLIT/image/N.npy`` | (H, W, 3), 1 is white |
| | ``label_2``, ``label_7``, ``label_19`` | ``SPLIT/label_7/N.npy`` | classes from 0 on, -1 not labeled |
| | ``depth`` | ``SPLIT/depth/N.npy`` | (H, W, 1), inverse depth, 0 none |

Fields of the official tree: ``city`` and ``sequence`` (``aachen_000001``). The official test split has no labels that anyone but the
benchmark's server knows; so ``test`` is ``val``, as papers have it, and validation is cut from training by city.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphnas.data.base import Records, SplitLayout
from graphnas.data.files import label_array
from graphnas.data.trees import Convert, Entry, TreeRecords, by_key, find_folder, folders_of
from graphnas.errors import DataError, suggest
from graphnas.schema import FilePath, Text

NOT_LABELED = 255
CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
# Class (the official trainId) -> official labelId, name, category; what is not here is ignored in evaluation.
CLASSES = (
    (7, "road", "flat"),
    (8, "sidewalk", "flat"),
    (11, "building", "construction"),
    (12, "wall", "construction"),
    (13, "fence", "construction"),
    (17, "pole", "object"),
    (19, "traffic light", "object"),
    (20, "traffic sign", "object"),
    (21, "vegetation", "nature"),
    (22, "terrain", "nature"),
    (23, "sky", "sky"),
    (24, "person", "human"),
    (25, "rider", "human"),
    (26, "car", "vehicle"),
    (27, "truck", "vehicle"),
    (28, "bus", "vehicle"),
    (31, "train", "vehicle"),
    (32, "motorcycle", "vehicle"),
    (33, "bicycle", "vehicle"),
)
LAST_LABEL = 33
FILES = {
    "image": ("leftImg8bit", "_leftImg8bit.png"),
    "label": ("gtFine", "_gtFine_labelIds.png"),
    "disparity": ("disparity", "_disparity.png"),
}
MTAN = ("image", "label_2", "label_7", "label_19", "label", "depth")


class Cityscapes(SplitLayout):
    """Cityscapes: the official tree, or the folders of the MTAN line."""

    layout: Literal["cityscapes"] = "cityscapes"
    root: FilePath = Field(examples=["data/cityscapes"])
    """The folder that holds leftImg8bit/, gtFine/ and disparity/; or (mtan) train/ and val/."""
    format: Literal["official", "mtan"] = "official"
    """The official tree, or the folders that the MTAN line reads."""
    classes: Literal[7, 19] = 19
    """official: what ``label`` holds, the 19 classes of the official table or their 7 categories."""
    test: Text | None = Field(default="val", examples=["val"])
    """The split that is touched once, at the end; null for none. The labels of the official test split are not published."""

    @property
    def group(self) -> str | None:
        return self.validation.group or ("city" if self.format == "official" else None)

    def find_split(self, split: str) -> None:
        find_folder(self.root)
        _find_named(os.path.join(self.root, FILES["image"][0]) if self.format == "official" else self.root, split)

    def open_split(self, split: str) -> Records:
        self.find_split(split)
        if self.format == "mtan":
            return by_key(os.path.join(self.root, split), MTAN, order=lambda stem: (int(stem) if stem.isdecimal() else -1, stem))
        return _official(self.root, split, {"label": partial(class_ids, classes=self.classes), "disparity": disparity})


def _find_named(folder: str, split: str) -> None:
    find_folder(folder)
    if split not in (known := folders_of(folder)):
        raise DataError(f"{folder}: no split {split!r}", fix=suggest(split, known))


def _official(root: str, split: str, convert: Mapping[str, Convert]) -> TreeRecords:
    files: dict[str, dict[str, str]] = {}
    lacking: dict[str, tuple[str, str]] = {}
    for key, (folder, ending) in FILES.items():
        place = os.path.join(root, folder, split)
        lacking[key] = (f"no file {place}/CITY/*{ending}", f"unpack Cityscapes' package {folder} into {root}")
        for city in folders_of(place) if os.path.isdir(place) else ():
            for name in os.listdir(os.path.join(place, city)):
                if name.endswith(ending):
                    files.setdefault(name.removesuffix(ending), {})[key] = os.path.join(place, city, name)
    entries = [Entry(name, files[name], _fields(name)) for name in sorted(files)]
    return TreeRecords(os.path.join(root, "*", split), entries, lacking, convert=convert, fields=root)


def _fields(name: str) -> dict[str, str]:
    """``aachen_000001_000019``: city, sequence, frame."""
    sequence = name.rpartition("_")[0] or name
    return {"city": name.partition("_")[0], "sequence": sequence}


def class_ids(value: Any, file: str, classes: int) -> NDArray[np.uint8]:
    """Official labelIds -> classes, 19 or 7; 255 where there is none that is evaluated."""
    labels = label_array(value, file=file)
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise DataError(f"{file}: not a file of labelIds, 8 bits and one channel", fix="the file as it is published")
    wrong = labels[(labels > LAST_LABEL) & (labels != NOT_LABELED)]
    if wrong.size:
        raise DataError(f"{file}: label {wrong[0]} is not in the official table, 0 to {LAST_LABEL}", fix="the file as it is published")
    table = np.full(256, NOT_LABELED, np.uint8)
    for train_id, (label, _, category) in enumerate(CLASSES):
        table[label] = train_id if classes == len(CLASSES) else CATEGORIES.index(category)
    return table[labels]


def disparity(value: Any, file: str) -> NDArray[np.float32]:
    """16 bits -> pixels; 0 where nothing was measured, which a value of 1 (a point at infinity) then is too."""
    stored = label_array(value, file=file)
    if stored.dtype.itemsize < 2 or stored.ndim != 2:
        raise DataError(f"{file}: a disparity has 16 bits and one channel", fix="the file as it is published")
    return (np.maximum(stored.astype(np.float32) - 1, 0) / 256).astype(np.float32)
