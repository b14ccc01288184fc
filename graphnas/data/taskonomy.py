"""Taskonomy (Zamir et al., CVPR 2018): a folder a domain and building, files ``point_3_view_1_domain_rgb.png``.

``rgb/taskonomy/BUILDING/``, ``rgb/BUILDING/`` and ``BUILDING/rgb/`` are all in use, and all are read; a key is the domain's folder.

| key | holds |
|---|---|
| ``rgb`` | RGB |
| ``depth_euclidean``, ``depth_zbuffer`` | metres: 16 bits / 512; 65535 is no label |
| ``normal`` | RGB = 127.5 n + 127.5 |
| ``class_object``, ``class_scene`` | npy, a number for each of 1000 (ImageNet's) and 365 (Places') classes, by a network |
| ``segment_semantic`` | 0 uncertain, 1 background, 2 to 17 objects, by a network |
| any other domain | what its files hold, as it is |

Fields: ``building``, ``point`` and ``view``. Splits are lists of buildings; validation is cut from training by building.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphnas.data.base import FileLayout, Part, Records, Validation
from graphnas.data.files import SUFFIXES, label_array
from graphnas.data.trees import Entry, TreeRecords, find_file, find_folder, folders_of
from graphnas.errors import DataError, suggest
from graphnas.schema import FilePath

DEPTH_UNITS = 512  # a metre
NO_DEPTH = 65535
NAME = re.compile(r"(point_(\d+)_view_(\d+))_domain_\w+\.(\w+)")
DOMAINS = frozenset({
    "rgb", "depth_euclidean", "depth_zbuffer", "normal", "class_object", "class_scene", "segment_semantic",
    "segment_unsup2d", "segment_unsup25d", "edge_occlusion", "edge_texture", "keypoints2d", "keypoints3d", "principal_curvature",
    "reshading", "mask_valid", "point_info", "fragments", "points", "nonfixated_matches",
})  # fmt: skip


class Taskonomy(FileLayout):
    """Taskonomy's tree; a path is a list of buildings, one a line, or one of the official CSV files of splits."""

    layout: Literal["taskonomy"] = "taskonomy"
    root: FilePath = Field(examples=["data/taskonomy"])
    """The folder that holds a folder for each domain, or for each building."""
    train: FilePath = Field(examples=["data/taskonomy/train_val_test_tiny.csv"])
    """The buildings to learn from: a file with one a line, or a CSV file with the columns id, train, val and test."""
    validation: Validation = Validation()
    """Which samples choose: {fraction, group} of training (by building, if no group is said), or a file of buildings."""

    columns: ClassVar[Mapping[Part, str]] = {"train": "train", "validation": "val", "test": "test"}

    @property
    def group(self) -> str | None:
        return self.validation.group or "building"

    def find(self, path: str) -> Sequence[str]:
        find_folder(self.root)
        return [find_file(path)]

    def open(self, part: Part) -> Records:
        return self._of(self._named(part), part)

    def open_path(self, path: str) -> Records:
        return self._of(path, "train")

    def _of(self, path: str, part: Part) -> Records:
        [path] = self.find(path)
        places = _places(self.root)
        known = {building for buildings in places.values() for building in buildings}
        wanted = _buildings(path, self.columns[part])
        for building in wanted:
            if building not in known:
                raise DataError(f"{path}: there is no building {building!r} in {self.root}", fix=suggest(building, known))
        entries = [entry for building in wanted for entry in _entries(building, places)]
        lacking = {
            domain: (f"no file of {domain} for the buildings in {path}", f"unpack Taskonomy's {domain} into {self.root}")
            for domain in sorted(DOMAINS | places.keys())
        }
        return TreeRecords(
            self.root, entries, lacking, convert=dict.fromkeys(("depth_euclidean", "depth_zbuffer"), metres), fields=self.root
        )


def metres(value: Any, file: str) -> NDArray[np.float32]:
    """16 bits -> metres, 0 where there is no label."""
    stored = label_array(value, file=file)
    if stored.dtype.itemsize < 2 or stored.ndim != 2:
        raise DataError(f"{file}: depth has 16 bits and one channel", fix="the file as it is published")
    return np.where(stored >= NO_DEPTH, np.float32(0), stored.astype(np.float32) / np.float32(DEPTH_UNITS))


def _places(root: str) -> dict[str, dict[str, str]]:
    """Domain -> building -> folder."""
    found: dict[str, dict[str, str]] = {}
    for first in folders_of(root):
        top = os.path.join(root, first)
        if first in DOMAINS:
            inner = os.path.join(top, "taskonomy")
            top = inner if os.path.isdir(inner) else top
            found[first] = {building: os.path.join(top, building) for building in folders_of(top)}
        else:
            for domain in folders_of(top):
                found.setdefault(domain, {})[first] = os.path.join(top, domain)
    if not found:
        raise DataError(f"{root}: there are no domains of Taskonomy in it", fix="folders such as rgb/BUILDING/ or BUILDING/rgb/")
    return found


def _entries(building: str, places: Mapping[str, Mapping[str, str]]) -> list[Entry]:
    files: dict[str, dict[str, str]] = {}
    numbers: dict[str, tuple[int, int]] = {}
    for domain, buildings in places.items():
        folder = buildings.get(building)
        for name in sorted(os.listdir(folder)) if folder is not None else ():
            match = NAME.fullmatch(name)
            if match is not None and match[4].lower() in SUFFIXES:
                files.setdefault(match[1], {})[domain] = os.path.join(cast("str", folder), name)
                numbers[match[1]] = int(match[2]), int(match[3])
    return [
        Entry(f"{building}/{name}", files[name], {"building": building, "point": numbers[name][0], "view": numbers[name][1]})
        for name in sorted(files, key=numbers.__getitem__)
    ]


def _buildings(path: str, column: str) -> list[str]:
    """The buildings that a file names for a split.

    Raises:
        DataError: None, or a CSV file of another kind.
    """
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if rows and rows[0][0] == "id":
        if column not in rows[0]:
            raise DataError(f"{path}: no column {column!r}", fix=suggest(column, rows[0]))
        place = rows[0].index(column)
        names = [row[0] for row in rows[1:] if place < len(row) and row[place].strip().lower() in ("1", "true")]
    else:
        names = [row[0].strip() for row in rows]
    if not names:
        raise DataError(f"{path}: names no buildings for {column!r}", fix="one a line, or 1 in that column")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: {twice[0]!r} stands there twice", fix="keep one")
    return names
