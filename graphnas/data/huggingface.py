"""Data sets of Hugging Face's library ``datasets``: from the hub by name, or from a local folder (parquet, images with metadata, or what
``save_to_disk`` wrote).

A column is a key: images are decoded by the library, class labels are their numbers, ``None`` is a label that the sample has not. Code that
comes with a data set is never run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from graphnas.data.base import Records, SplitLayout
from graphnas.data.optional import imported
from graphnas.errors import DataError, suggest
from graphnas.schema import FilePath, Text, error_at, refuse

SAVED = ("dataset_dict.json", "state.json")


class HuggingFace(SplitLayout):
    """A data set of the hub, or a local folder that the library ``datasets`` reads."""

    layout: Literal["huggingface"] = "huggingface"
    name: Text | None = Field(default=None, examples=["owner/dataset"])
    """The data set's name on the hub; or"""
    folder: FilePath | None = Field(default=None, examples=["data/rooms"])
    """the folder that it lies in."""
    config: Text | None = Field(default=None, examples=["default"])
    """Which of its configurations, where it has several."""
    revision: Text | None = Field(default=None, examples=["main"])
    """Which version of the hub's; a commit's number stays the same for ever."""
    columns: dict[Text, Text] = Field(default={}, examples=[{"img": "pixel_values"}])
    """Key -> column, where they are not called alike."""

    @model_validator(mode="after")
    def _one(self) -> HuggingFace:
        if (self.name is None) == (self.folder is None):
            refuse([error_at((), "one of name and folder says where the data set is", "name: OWNER/DATASET, or folder: PATH")])
        if self.revision is not None and self.folder is not None:
            refuse([error_at(("revision",), "a folder has no revisions", "leave revision out")])
        return self

    def find_split(self, split: str) -> None:
        if self.folder is not None and not os.path.isdir(self.folder):
            raise DataError(f"no such folder: {self.folder}", fix="check the path")

    def open_split(self, split: str) -> Records:
        self.find_split(split)
        return TableRecords(f"{self.name or self.folder} ({split})", self._loaded(split), self.columns)

    def _loaded(self, split: str) -> Any:
        datasets = imported("datasets", "the layout huggingface")
        where = cast("str", self.name or self.folder)
        try:
            if self.folder is not None and any(os.path.isfile(os.path.join(self.folder, name)) for name in SAVED):
                found = datasets.load_from_disk(self.folder)
                return _part(where, found, split)
            found = datasets.load_dataset(where, self.config, revision=self.revision)
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001  # the library raises what its many readers and the network raise
            said = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{where}: the library datasets can't load it: {said}", fix="check the name, the folder, or the network"
            ) from None
        return _part(where, found, split)


def _part(where: str, found: Any, split: str) -> Any:
    if not isinstance(found, Mapping):
        return found  # saved as a single split
    if split not in found:
        raise DataError(f"{where}: no split {split!r}", fix=suggest(split, cast("Mapping[str, Any]", found)))
    return cast("Any", found[split])


class TableRecords(Records):
    """The rows of a table.

    Args:
        name: What it is called in messages.
        table: A ``datasets.Dataset``.
        columns: Key -> column.
    """

    def __init__(self, name: str, table: Any, columns: Mapping[str, str]) -> None:
        known = list(table.column_names)
        for column in columns.values():
            if column not in known:
                raise DataError(f"{name}: no column {column!r}", fix=suggest(column, known))
        self._name = name
        self._columns = {**{column: column for column in known if column not in columns.values()}, **columns}
        self._tables = {key: table.select_columns([column]) for key, column in self._columns.items()}
        digits = len(str(max(len(table) - 1, 0)))
        self.ids = tuple(f"{index:0{digits}d}" for index in range(len(table)))
        self._null = {key: _nulls(found, self._columns[key]) for key, found in self._tables.items()}

    def keys(self, index: int) -> Collection[str]:
        return {key for key, null in self._null.items() if index not in null}

    def read(self, index: int, key: str) -> Any:
        try:
            value = self._tables[key][index][self._columns[key]]
        except Exception as error:  # noqa: BLE001  # whatever the decoder of a column raises
            said = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{self.file(index, key)}: can't be read: {said}", fix="restore the data set, or leave the sample out"
            ) from None
        return np.asarray(cast("list[Any]", value)) if isinstance(value, list) else value

    def field(self, index: int, name: str) -> Any:
        if name not in self._columns:
            raise DataError(f"{self._name}: no field {name!r}", fix=suggest(name, self._columns))
        return self.read(index, name)

    def file(self, index: int, key: str) -> str:
        return f"{self._name}[{index}][{self._columns[key]!r}]"

    def lacks(self, key: str) -> tuple[str, str]:
        if key in self._columns:
            return f"{self._name}: the column {self._columns[key]!r} is empty", "another key"
        return f"{self._name}: no column {key!r}", suggest(key, self._columns)


def _nulls(table: Any, column: str) -> frozenset[int]:
    """The rows that have nothing in this column, found without decoding any."""
    found: set[int] = set()
    start = 0
    for batch in table.with_format("arrow").iter(batch_size=1000):
        mask = batch.column(column).is_null().to_numpy(zero_copy_only=False)
        found.update((start + np.flatnonzero(mask)).tolist())
        start += len(mask)
    return frozenset(found)
