"""The official ``nyu_depth_v2_labeled.mat`` with its ``splits.mat``.

The file is MATLAB's v7.3, which is HDF5 with the axes in reverse: ``images`` of 480 x 640 x 3 x 1449 is read as (1449, 3, 640, 480).

| key | holds |
|---|---|
| ``image`` | RGB bytes |
| ``depth``, ``raw_depth`` | metres: with holes filled by the data set's authors, and as measured, 0 where nothing was |
| ``label`` | 1 to 894, a number for each name, 0 not labeled; or with ``mapping`` a class from 0 on, 255 not labeled |
| ``instance`` | number of the object among those of its name, 0 for none |

Fields: ``scene`` (``kitchen_0001``, what was filmed in one go) and ``scene_type`` (``kitchen``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from graphnas.data.base import Records
from graphnas.data.optional import imported
from graphnas.data.trees import file_stamp, find_file
from graphnas.errors import DataError, suggest

KEYS = {"image": "images", "depth": "depths", "raw_depth": "rawDepths", "label": "labels", "instance": "instances"}
FIELDS = {"scene": "scenes", "scene_type": "sceneTypes"}
NAMES = 894
NOT_LABELED = 255
SPLIT_NAMES = {"train": "trainNdxs", "test": "testNdxs"}


class MatRecords(Records):
    """Some samples of the file.

    Args:
        path: The file.
        indices: Their numbers, from 0; all, if left out.
        mapping: A file with a class for each name.
    """

    def __init__(self, path: str, indices: Sequence[int] | None, mapping: str | None) -> None:
        self._path = path
        self._open: tuple[int, Any] | None = None
        file = self._file()
        for name in KEYS.values():
            if name in file and file[name].ndim != (4 if name == "images" else 3):
                raise DataError(f"{path}: {name} has {file[name].ndim} axes", fix="the file as it is published")
        if "images" not in file:
            raise DataError(f"{path}: there are no images in it", fix="the file nyu_depth_v2_labeled.mat as it is published")
        self._stored = {key: name for key, name in KEYS.items() if name in file}
        self._all = len(file["images"])
        self._indices = tuple(range(self._all) if indices is None else indices)
        if self._indices and max(self._indices) >= self._all:
            raise DataError(
                f"{path}: holds {self._all} samples, but sample {max(self._indices) + 1} is wanted", fix="the splits.mat of this file"
            )
        self._classes = None if mapping is None else read_mapping(mapping)
        self.ids = tuple(f"{index + 1:04d}" for index in self._indices)

    def __getstate__(self) -> dict[str, Any]:
        """An open file stays in its process."""
        return {**self.__dict__, "_open": None}

    def keys(self, index: int) -> Collection[str]:
        return {*self._stored, *FIELDS}

    def read(self, index: int, key: str) -> Any:
        if key in FIELDS:
            return self.field(index, key)
        try:
            value: NDArray[Any] = self._file()[self._stored[key]][self._indices[index]]
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.file(index, key)}: can't be read: {error}", fix="restore the file") from None
        value = np.ascontiguousarray(value.T)  # columns first in MATLAB
        return self._mapped(value, index) if key == "label" and self._classes is not None else value

    def field(self, index: int, name: str) -> Any:
        if name not in FIELDS:
            raise DataError(f"{self._path}: no field {name!r}", fix=suggest(name, FIELDS))
        return self._texts[name][self._indices[index]]

    def file(self, index: int, key: str) -> str:
        return f"{self._path}: {self.ids[index]}.{key}"

    def lacks(self, key: str) -> tuple[str, str]:
        return f"there is no key {key!r} in {self._path}", suggest(key, [*self._stored, *FIELDS])

    def stamp(self, index: int, key: str) -> str | None:
        return f"{file_stamp(self._path)}|{self._indices[index]}|{key}"

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        """Field -> its text for every sample of the file: a cell array, so references to arrays of characters."""
        file = self._file()
        if missing := [name for name in FIELDS.values() if name not in file]:
            raise DataError(f"{self._path}: there is no {missing[0]} in it", fix="leave group out, or the file as it is published")
        return {
            field: ["".join(map(chr, np.asarray(file[reference]).ravel())) for reference in np.asarray(file[name]).ravel()]
            for field, name in FIELDS.items()
        }

    def _mapped(self, names: NDArray[Any], index: int) -> NDArray[np.uint8]:
        classes = cast("NDArray[np.uint8]", self._classes)
        if names.max(initial=0) > NAMES:
            raise DataError(f"{self.file(index, 'label')}: name {names.max()} of {NAMES}", fix="the file as it is published")
        return classes[names]

    def _file(self) -> Any:
        """Opened once in each process: a worker must not use the file of the process that it was forked from."""
        if self._open is None or self._open[0] != os.getpid():
            h5py = imported("h5py", "the official file of NYUv2")
            try:
                self._open = (os.getpid(), h5py.File(self._path, "r"))
            except OSError as error:
                raise DataError(f"{self._path}: not a MATLAB v7.3 file that can be read: {error}", fix="restore the file") from None
        return self._open[1]


def split_indices(path: str, part: str) -> list[int]:
    """The numbers, from 0, of a part's samples.

    Raises:
        DataError: Not the official splits.mat.
    """
    name = SPLIT_NAMES[part]
    found = _variable(path, name)
    if found is None:
        raise DataError(f"{path}: there is no {name} in it", fix="the splits.mat that belongs to nyu_depth_v2_labeled.mat")
    return [int(number) - 1 for number in found.ravel()]


def read_mapping(path: str) -> NDArray[np.uint8]:
    """Name's number, from 0 -> class from 0 on, or 255.

    Raises:
        DataError: Not a class for each of the names.
    """
    find_file(path)
    array = path.endswith(".npy")
    found = _or_none(lambda: np.load(path, allow_pickle=False)) if array else _variable(path, "mapClass")
    flat = None if found is None else np.asarray(found).ravel()
    if flat is None or flat.dtype.kind not in "uif" or len(flat) != NAMES or flat.min() < 0 or flat.max() >= NOT_LABELED:
        fix = f"mapClass of classMapping40.mat, or a .npy file of {NAMES} numbers from 1 on, 0 for none"
        raise DataError(f"{path}: not a class for each of the {NAMES} names", fix=fix)
    classes = np.full(NAMES + 1, NOT_LABELED, np.uint8)
    classes[1:] = np.where(flat > 0, flat - 1, NOT_LABELED)
    return classes


def _variable(path: str, name: str) -> NDArray[Any] | None:
    io: ModuleType = imported("scipy.io", "MATLAB files")
    found = _or_none(lambda: io.loadmat(path, variable_names=[name]))
    if found is None:
        raise DataError(f"{path}: not a MATLAB file that can be read", fix="restore the file")
    return found.get(name)


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # noqa: BLE001  # what broken files make scipy and numpy raise is of many kinds
        return None
