"""Tar shards in WebDataset's convention.

Members ``0012.img.png`` and ``0012.seg.png`` are the sample ``0012`` with the keys img.png and seg.png; ``0012.json`` holds the sample's
fields, such as the one that validation groups by. An index of where each member's bytes lie is built once; reading is random access by
offset, from any process.
"""

from __future__ import annotations

import glob
import json
import tarfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from graphnas.data.base import FileLayout, Records
from graphnas.data.files import decode
from graphnas.errors import DataError, nearest, suggest

FIELDS = "json"


class WebDataset(FileLayout):
    """Local tar shards; a path may be a pattern such as ``data/train-*.tar``."""

    layout: Literal["webdataset"] = "webdataset"

    def find(self, path: str) -> Sequence[str]:
        if Path(path).is_file():
            return [path]
        found = sorted(name for name in glob.glob(path, recursive=True) if Path(name).is_file())
        if found:
            return found
        if glob.has_magic(path):
            raise DataError(f"no file matches {path}", fix="check the pattern; * stays within a folder name")
        folder = Path(path).parent
        near = nearest(Path(path).name, [entry.name for entry in folder.iterdir()]) if folder.is_dir() else None
        fix = f"did you mean {near!r}?" if near else "check the path" if folder.is_dir() else f"there is no folder {folder}"
        raise DataError(f"no such file: {path}", fix=fix)

    def open_path(self, path: str) -> Records:
        return TarRecords(path, self.find(path))


@dataclass(frozen=True, slots=True)
class _Member:
    shard: str
    name: str
    offset: int
    size: int


class TarRecords(Records):
    """The samples of some tar files.

    Args:
        path: The path or pattern that they were found by.
        shards: The files, in order.
    """

    def __init__(self, path: str, shards: Sequence[str]) -> None:
        self._path = path
        indexed = [(shard, name, members) for shard in shards for name, members in _index(shard).items()]
        times = Counter(name for _, name, _ in indexed)
        several = any(count > 1 for count in times.values())  # shards that all count from zero
        self.ids = tuple(f"{Path(shard).stem}/{name}" if several else name for shard, name, _ in indexed)
        self._members = tuple(members for _, _, members in indexed)

    def keys(self, index: int) -> Collection[str]:
        return self._members[index]

    def read(self, index: int, key: str) -> Any:
        return decode(self._bytes(index, key), key.rpartition(".")[2], file=self.file(index, key))

    def field(self, index: int, name: str) -> Any:
        if FIELDS not in self._members[index]:
            raise DataError(f"{self._path}: sample {self.ids[index]!r} has no .json member, so no field {name!r}", fix="leave group out")
        file = self.file(index, FIELDS)
        try:
            fields = json.loads(self._bytes(index, FIELDS))
        except ValueError as error:
            raise DataError(f"{file}: not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise DataError(f"{file}: the fields of a sample are a JSON object")
        if name not in fields:
            raise DataError(f"{file}: no field {name!r}", fix=suggest(name, cast("dict[str, Any]", fields)))
        return cast("Any", fields[name])

    def file(self, index: int, key: str) -> str:
        member = self._members[index][key]
        return f"{member.shard}: {member.name}"

    def lacks(self, key: str) -> tuple[str, str]:
        keys = sorted({key for members in self._members for key in members if key != FIELDS})
        stems = {known.partition(".")[0]: known for known in keys}  # .png in common makes nothing alike
        near = nearest(key.partition(".")[0], stems)
        return f"no sample of {self._path} has {key!r}", suggest("", keys) if near is None else f"did you mean {stems[near]!r}?"

    def _bytes(self, index: int, key: str) -> bytes:
        member = self._members[index][key]
        try:
            with open(member.shard, "rb") as stream:  # opened anew each time: nothing is shared between worker processes
                stream.seek(member.offset)
                data = stream.read(member.size)
        except OSError as error:
            raise DataError(f"{self.file(index, key)}: can't be read: {error.strerror}") from None
        if len(data) != member.size:
            raise DataError(f"{self.file(index, key)}: the tar file ends in the middle of it", fix="restore the tar file")
        return data


def _index(shard: str) -> dict[str, dict[str, _Member]]:
    """Sample -> key -> where it lies."""
    samples: dict[str, dict[str, _Member]] = {}
    try:
        size = Path(shard).stat().st_size
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                folder, _, base = info.name.rpartition("/")
                stem, _, key = base.partition(".")
                if not info.isfile() or not stem or not key:
                    continue  # folders, hidden files, and files without a key are no part of a sample
                if info.offset_data + info.size > size:
                    raise DataError(f"{shard}: {info.name}: the tar file ends in the middle of it", fix="restore the tar file")
                name = f"{folder}/{stem}" if folder not in ("", ".") else stem
                samples.setdefault(name, {})[key] = _Member(shard, info.name, info.offset_data, info.size)
    except (tarfile.TarError, OSError) as error:
        compressed = Path(shard).suffix not in ("", ".tar")
        fix = "unpack it to a plain .tar: members are read by their place" if compressed else "restore the tar file"
        raise DataError(f"{shard}: not a tar file that can be read: {error}", fix=fix) from None
    if not samples:
        raise DataError(f"{shard}: holds no samples", fix="members are called NAME.KEY, such as 0012.img.png")
    return samples
