"""A folder a label: the layout of most data sets that people make themselves.

```
rooms/training/img/0012.png      key img
rooms/training/depth/0012.png    key depth; a sample may lack it
rooms/training/meta.csv          a row a sample: fields, for validation's groups and for labels that are no files
```
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from graphnas.data.base import FileLayout, Records
from graphnas.data.trees import Entry, TreeRecords, by_stem, find_folder, folders_of, lacking_folders
from graphnas.errors import DataError, nearest, suggest
from graphnas.schema import FilePath, Text

CSV = "meta.csv"


class Folder(FileLayout):
    """A folder a key, files matched by stem; a path is a folder that holds the keys' folders, or a list of samples' names, one a line.

    A key is a folder's name or a column of the CSV file. Files are images (png, jpg, tif, ...) or npy arrays.
    """

    layout: Literal["folder"] = "folder"
    root: FilePath | None = Field(default=None, examples=["data/rooms"])
    """Where paths are lists: the folder that holds the keys' folders; the list's own, if left out."""
    fields: Text | None = Field(default=None, examples=["meta.csv"])
    """A CSV file beside the keys' folders, with a row for each sample; meta.csv, if that is there. An empty cell is no value."""
    id: Text = "id"
    """The column of the CSV file that holds the samples' names."""
    lists: tuple[Text, ...] = Field(default=(), examples=[["objects"]])
    """Columns of the CSV file that hold several names a cell, with spaces or semicolons between them; an empty cell is a list of none."""

    def find(self, path: str) -> Sequence[str]:
        return [path] if os.path.isfile(path) else find_folder(path)

    def open_path(self, path: str) -> Records:
        [path] = self.find(path)
        if os.path.isdir(path):
            return self._open(path, None)
        root = self.root or os.path.dirname(path)
        find_folder(root)
        return self._open(root, path)

    def _open(self, root: str, listed: str | None) -> Records:
        keys = folders_of(root)
        files = {key: by_stem(os.path.join(root, key)) for key in keys}
        known = {stem for found in files.values() for stem in found}
        stems = sorted(known) if listed is None else _listed(listed, known)
        table = os.path.join(root, self.fields or CSV)
        if self.fields is not None and not os.path.isfile(table):
            near = nearest(self.fields, os.listdir(root))
            raise DataError(f"no such file: {table}", fix=f"did you mean {near!r}?" if near else "leave fields out")
        rows = _rows(table, self.id, keys, self.lists) if os.path.isfile(table) else {}
        entries = [Entry(stem, {key: found[stem] for key, found in files.items() if stem in found}, rows.get(stem, {})) for stem in stems]
        return TreeRecords(root, entries, lacking_folders(root, keys), fields=table if rows else None)


def _listed(path: str, known: Collection[str]) -> list[str]:
    """The names in a list file, in its order.

    Raises:
        DataError: It holds none, one twice, or one that no folder has.
    """
    with open(path, encoding="utf-8-sig") as stream:
        names = [line.strip() for line in stream if line.strip()]
    if not names:
        raise DataError(f"{path}: holds no names", fix="one a line")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: {name!r} stands there twice", fix="keep one")
        if name not in known:
            stem = os.path.splitext(name)[0]
            fix = f"names without suffix: {stem}" if stem in known else suggest(name, known) if known else "check root"
            raise DataError(f"{path}: no file is called {name!r}", fix=fix)
        seen.add(name)
    return names


def _rows(path: str, id_column: str, keys: Iterable[str], lists: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name -> column -> value.

    Raises:
        DataError: The file is no such table.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file that can be read: {error}") from None
    if id_column not in columns:
        near = nearest(id_column, columns)
        raise DataError(f"{path}: no column {id_column!r}", fix=f"id: {near}" if near else f"id: one of {', '.join(columns)}")
    for name in lists:
        if name not in columns:
            raise DataError(f"{path}: no column {name!r} of lists", fix=suggest(name, columns))
    if both := sorted(set(keys) & set(columns)):
        raise DataError(f"{path}: the column {both[0]!r} is called like a folder", fix="rename one of them")
    if any(None in row or None in row.values() for row in rows):
        number = next(number for number, row in enumerate(rows, start=2) if None in row or None in row.values())
        raise DataError(f"{path}: line {number} has another number of cells than the first, {len(columns)}", fix="correct the line")
    names = [row[id_column] for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise DataError(f"{path}: {twice!r} stands there twice", fix="keep one")
    cells = {column: [row[column] for row in rows] for column in columns if column != id_column}
    values = {column: [_list(cell) for cell in found] if column in lists else _values(found) for column, found in cells.items()}
    return {name: {column: found[index] for column, found in values.items()} for index, name in enumerate(names)}


def _list(cell: str) -> list[str]:
    """The names in a cell: between semicolons if it has some, else between spaces."""
    return [name.strip() for name in cell.split(";") if name.strip()] if ";" in cell else cell.split()


def _values(cells: Sequence[str]) -> list[Any]:
    """A column: whole numbers if all cells are, else numbers if all are, else text; ``None`` for an empty cell."""
    filled = [cell for cell in cells if cell != ""]
    read: Callable[[str], Any] = str
    if filled and all(re.fullmatch(r"0|-?[1-9]\d*", cell) for cell in filled):
        read = int
    elif filled and all(re.fullmatch(r"-?\d+(\.\d*)?([eE][-+]?\d+)?", cell) for cell in filled):
        read = float
    return [read(cell) if cell != "" else None for cell in cells]
