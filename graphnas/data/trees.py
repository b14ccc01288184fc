"""Trees of files: every sample has a file for each of its keys, and perhaps some fields.

``img/0012.png`` and ``seg/0012.png`` are the sample ``0012`` with the keys img and seg: one folder a key, files matched by stem. Layouts
whose files are matched in another way list their entries themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphnas.data.base import Records
from graphnas.data.files import SUFFIXES, decode
from graphnas.errors import DataError, nearest, suggest

Convert = Callable[[Any, str], Any]
"""What a file holds, and what it is called in messages -> the value of the key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample of a tree.

    Args:
        name: Its name.
        files: Key -> file.
        fields: Facts about it, which may be labels too; ``None`` is not there.
    """

    name: str
    files: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])


class TreeRecords(Records):
    """The samples of a tree.

    Args:
        root: What the tree is called in messages.
        entries: The samples, in order.
        lacking: Key that the layout knows -> what to say where no sample has it, and the fix.
        convert: Key -> what is done to what its file holds.
        fields: What the fields are called in messages: ``meta.csv``; ``None`` where the layout has none.
    """

    def __init__(
        self,
        root: str,
        entries: Sequence[Entry],
        lacking: Mapping[str, tuple[str, str]],
        *,
        convert: Mapping[str, Convert] | None = None,
        fields: str | None = None,
    ) -> None:
        self._root = root
        self._entries = tuple(entries)
        self._lacking = dict(lacking)
        self._convert = dict(convert or {})
        self._fields = fields
        self.ids = tuple(entry.name for entry in self._entries)

    def keys(self, index: int) -> Collection[str]:
        entry = self._entries[index]
        return entry.files.keys() | {name for name, value in entry.fields.items() if value is not None}

    def read(self, index: int, key: str) -> Any:
        entry = self._entries[index]
        if key not in entry.files:
            return entry.fields[key]
        path = entry.files[key]
        value = decode(read_bytes(path), path.rpartition(".")[2], file=path)
        return self._convert[key](value, path) if key in self._convert else value

    def field(self, index: int, name: str) -> Any:
        fields = self._entries[index].fields
        if self._fields is None:
            raise DataError(f"samples of {self._root} have no fields to group by", fix="leave group out, or name a path for validation")
        if fields.get(name) is None:
            fix = suggest(name, [known for known in fields if known != name])
            raise DataError(f"{self._fields}: {self.ids[index]!r} has no field {name!r}", fix=fix)
        return fields[name]

    def file(self, index: int, key: str) -> str:
        return self._entries[index].files.get(key) or f"{self._fields}: {self.ids[index]}: {key}"

    def lacks(self, key: str) -> tuple[str, str]:
        if key in self._lacking:
            return self._lacking[key]
        known = {*self._lacking, *(name for entry in self._entries[:1] for name in entry.fields)}
        return f"there is no key {key!r} in {self._root}", suggest(key, known)

    def stamp(self, index: int, key: str) -> str | None:
        path = self._entries[index].files.get(key)
        return file_stamp(path) if path is not None else repr(self._entries[index].fields[key])


def read_bytes(path: str) -> bytes:
    """All of a file.

    Raises:
        DataError: It can't be read.
    """
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None


def file_stamp(path: str) -> str:
    """Path, size and time of the last change.

    Raises:
        DataError: It is gone.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    return f"{path}|{found.st_size}|{found.st_mtime_ns}"


def find_folder(path: str) -> Sequence[str]:
    """The folder itself.

    Raises:
        DataError: It is not there.
    """
    folder = Path(path)
    if folder.is_dir():
        return [path]
    parent = folder.parent
    near = nearest(folder.name, [entry.name for entry in parent.iterdir() if entry.is_dir()]) if parent.is_dir() else None
    raise DataError(f"no such folder: {path}", fix=f"did you mean {near!r}?" if near else "check the path")


def find_file(path: str) -> str:
    """The file itself.

    Raises:
        DataError: It is not there.
    """
    if os.path.isfile(path):
        return path
    folder = Path(path).parent
    if not folder.is_dir():
        raise DataError(f"no such file: {path}", fix=f"there is no folder {folder}")
    near = nearest(Path(path).name, [entry.name for entry in folder.iterdir()])
    raise DataError(f"no such file: {path}", fix=f"did you mean {near!r}?" if near else "check the path")


def by_key(
    root: str, keys: Sequence[str] | None = None, *, convert: Mapping[str, Convert] | None = None, order: Callable[[str], Any] = str
) -> TreeRecords:
    """The samples of a tree with one folder a key, files matched by stem.

    Args:
        root: The folder that holds the keys' folders.
        keys: Their names; those that are there, if left out. One that is not there is a key that no sample has.
        convert: As for ``TreeRecords``.
        order: Stem -> what to sort by.
    Raises:
        DataError: Two files of a folder have one stem.
    """
    keys = folders_of(root) if keys is None else keys
    files = {key: by_stem(os.path.join(root, key)) for key in keys if os.path.isdir(os.path.join(root, key))}
    stems = sorted({stem for found in files.values() for stem in found}, key=order)
    entries = [Entry(stem, {key: found[stem] for key, found in files.items() if stem in found}) for stem in stems]
    return TreeRecords(root, entries, lacking_folders(root, keys), convert=convert)


def lacking_folders(root: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Key -> what to say where its folder is not there or empty."""
    kinds = ", ".join(sorted(SUFFIXES))
    said: dict[str, tuple[str, str]] = {}
    for key in keys:
        folder = os.path.join(root, key)
        said[key] = (
            (f"no file to read in {folder}", f"files of the kinds {kinds}")
            if os.path.isdir(folder)
            else (f"no such folder: {folder}", f"put the files of {key!r} there, one a sample")
        )
    return said


def folders_of(root: str) -> list[str]:
    """The names of the folders in a folder, sorted, hidden ones left out."""
    with os.scandir(root) as found:
        return sorted(entry.name for entry in found if entry.is_dir() and not entry.name.startswith("."))


def by_stem(folder: str) -> dict[str, str]:
    """Stem -> file, of those that can be read; hidden files are left out.

    Raises:
        DataError: Two files have one stem.
    """
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        stem, dot, suffix = name.rpartition(".")
        if name.startswith(".") or not dot or suffix.lower() not in SUFFIXES:
            continue
        if stem in found:
            raise DataError(f"{folder}: {os.path.basename(found[stem])} and {name} are the same sample", fix="keep one")
        found[stem] = os.path.join(folder, name)
    return found
