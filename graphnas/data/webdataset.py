"""Tar shards in WebDataset's convention, in files or behind URLs.

Members ``0012.img.png`` and ``0012.seg.png`` are the sample ``0012`` with the keys img.png and seg.png, or img and seg for short, as the
same data would have in folders; ``0012.json`` holds the sample's fields, such as the one that validation groups by, and labels that are no
files. An index of where each member's bytes lie is built once; reading is random access by offset, from any process.

Where shards lie behind URLs and do not all fit onto this disk, samples are drawn shard by shard (see ``graphnas.data.remote``).
"""

from __future__ import annotations

import glob
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from graphnas.data.base import FileLayout, Records
from graphnas.data.files import SUFFIXES, decode
from graphnas.data.remote import GIB, Shards, is_remote
from graphnas.data.tar_index import FIELDS, Member, index_of_file
from graphnas.data.trees import file_stamp
from graphnas.errors import DataError, nearest, suggest
from graphnas.schema import FilePath, PositiveNumber

BRACES = re.compile(r"\{([^{}]+)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
TOGETHER = 4  # local shards that samples are drawn from at a time


class WebDataset(FileLayout):
    """Tar shards; a path may be a pattern such as ``data/train-*.tar`` or ``data/train-{000..012}.tar``, or an ``https://`` address.

    A key is what follows a member's stem (``img.png``), the same without its suffix (``img``), or a field of the sample's ``.json`` member.
    """

    layout: Literal["webdataset"] = "webdataset"
    shuffle: Literal["auto", "samples", "shards"] = "auto"
    """How training samples are drawn. samples: at random from all. shards: from a few shards at a time, which are drawn at random. auto:
    samples, but shards where they are at URLs and more than keep_gib."""
    keep_gib: PositiveNumber = 10.0
    """How much of the shards at URLs is kept on this disk, in GiB, for each split; what does not fit is fetched again in every epoch."""
    kept_in: FilePath | None = Field(default=None, examples=["/scratch/shards"])
    """Where; a folder of the user's, if left out."""

    def find(self, path: str) -> Sequence[str]:
        if is_remote(path):
            return _remote(path)
        if Path(path).is_file():
            return [path]
        if BRACES.search(path):
            return list(dict.fromkeys(shard for each in expanded(path) for shard in self.find(each)))
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
        found = self.find(path)
        remote = Shards(found, self.kept_in, self.keep_gib * GIB) if is_remote(path) else None
        if remote is not None and not remote.fit and self.shuffle == "samples":
            message = f"{path}: {remote.bytes / GIB:.3g} GiB, and {self.keep_gib:g} are kept: samples can't be drawn from all at random"
            raise DataError(message, fix=f"keep_gib: {remote.bytes / GIB * 1.01:.3g}, or shuffle: shards")
        wise = self.shuffle == "shards" or (remote is not None and not remote.fit)
        return TarRecords(path, found, remote, by_shard=wise)


class TarRecords(Records):
    """The samples of some tar files.

    Args:
        path: The path or pattern that they were found by.
        shards: The files or URLs, in order.
        remote: What fetches them, if they are URLs.
        by_shard: Whether samples are to be drawn from a few shards at a time.
    """

    def __init__(self, path: str, shards: Sequence[str], remote: Shards | None = None, *, by_shard: bool = False) -> None:
        self._path = path
        self._remote = remote
        self._by_shard = by_shard
        self.together = TOGETHER if remote is None else remote.together
        indexes = {shard: index_of_file(shard, shard) if remote is None else remote.index(shard) for shard in shards}
        indexed = [(shard, name, members) for shard, index in indexes.items() for name, members in index.items()]
        times = Counter(name for _, name, _ in indexed)
        several = any(count > 1 for count in times.values())  # shards that all count from zero
        self.ids = tuple(f"{Path(shard).stem}/{name}" if several else name for shard, name, _ in indexed)
        self._members = tuple(members for _, _, members in indexed)
        self._fields: tuple[int, Mapping[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fields": None}

    def keys(self, index: int) -> Collection[str]:
        return _Keys(self, index)

    def read(self, index: int, key: str) -> Any:
        member = self.member(index, key)
        if member is None:
            return self.fields(index)[key]
        return decode(self._bytes(index, member), member.rpartition(".")[2], file=self.file(index, member))

    def field(self, index: int, name: str) -> Any:
        if FIELDS not in self._members[index]:
            raise DataError(f"{self._path}: sample {self.ids[index]!r} has no .json member, so no field {name!r}", fix="leave group out")
        fields = self.fields(index)
        if name not in fields:
            raise DataError(f"{self.file(index, FIELDS)}: no field {name!r}", fix=suggest(name, fields))
        return fields[name]

    def file(self, index: int, key: str) -> str:
        name = self.member(index, key)
        member = self._members[index][name or FIELDS]
        return f"{member.shard}: {member.name}" if name is not None else f"{member.shard}: {member.name}: {key}"

    def stamp(self, index: int, key: str) -> str | None:
        member = self._members[index][self.member(index, key) or FIELDS]
        version = file_stamp(member.shard) if self._remote is None else f"{member.shard}|{self._remote.version(member.shard)}"
        return f"{version}|{member.offset}|{key}"

    def shard(self, index: int) -> str | None:
        return next(iter(self._members[index].values())).shard if self._by_shard else None

    def member(self, index: int, key: str) -> str | None:
        """The member that a key stands for: its own name, or the only one of that name that can be read; ``None`` for a field."""
        members = self._members[index]
        if key in members:
            return key
        found = [name for name in members if name.rpartition(".")[0] == key and name.rpartition(".")[2].lower() in SUFFIXES]
        return found[0] if len(found) == 1 else None

    def members(self, index: int) -> Collection[str]:
        """The members of a sample, as they are called after its name."""
        return self._members[index]

    def fields(self, index: int) -> Mapping[str, Any]:
        """What the ``.json`` member of a sample holds, nothing if there is none; that of the last sample is kept.

        Raises:
            DataError: It is no JSON object.
        """
        if self._fields is None or self._fields[0] != index:
            self._fields = index, self._read_fields(index)
        return self._fields[1]

    def _read_fields(self, index: int) -> Mapping[str, Any]:
        if FIELDS not in self._members[index]:
            return {}
        file = self.file(index, FIELDS)
        try:
            fields = json.loads(self._bytes(index, FIELDS))
        except ValueError as error:
            raise DataError(f"{file}: not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise DataError(f"{file}: the fields of a sample are a JSON object")
        return cast("dict[str, Any]", fields)

    def lacks(self, key: str) -> tuple[str, str]:
        keys = sorted({key for members in self._members for key in members if key != FIELDS})
        stems = {known.partition(".")[0]: known for known in keys}  # .png in common makes nothing alike
        near = nearest(key.partition(".")[0], stems)
        return f"no sample of {self._path} has {key!r}", suggest("", keys) if near is None else f"did you mean {stems[near]!r}?"

    def _bytes(self, index: int, key: str) -> bytes:
        member = self._members[index][key]
        if member.data is not None:
            return member.data
        try:
            data = self._remote.read(member) if self._remote is not None else _read(member)
        except OSError as error:
            raise DataError(f"{self.file(index, key)}: can't be read: {error.strerror}") from None
        if len(data) != member.size:
            raise DataError(f"{self.file(index, key)}: the tar file ends in the middle of it", fix="restore the tar file")
        return data


class _Keys(Collection[str]):
    """The members of a sample; short names and fields are in it too, and found when they are asked for."""

    def __init__(self, records: TarRecords, index: int) -> None:
        self._records = records
        self._index = index

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if self._records.member(self._index, key) is not None:
            return True
        return "." not in key and self._records.fields(self._index).get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._records.members(self._index))

    def __len__(self) -> int:
        return len(self._records.members(self._index))


def expanded(path: str) -> list[str]:
    """``a-{0..2}.tar`` -> the three paths, ``{a,b}.tar`` -> the two; zeros in front are kept, several braces are combined."""
    found = BRACES.search(path)
    if found is None:
        return [path]
    numbers = RANGE.fullmatch(found[1])
    if numbers is None:
        parts = found[1].split(",")
    else:
        first, last = numbers[1], numbers[2]
        if int(first) > int(last):
            raise DataError(f"{path}: the range {found[1]} is empty", fix=f"{last}..{first}")
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        parts = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    return [each for part in parts for each in expanded(path[: found.start()] + part + path[found.end() :])]


def _read(member: Member) -> bytes:
    with open(member.shard, "rb") as stream:  # opened anew each time: nothing is shared between worker processes
        stream.seek(member.offset)
        return stream.read(member.size)


def _remote(path: str) -> list[str]:
    found = list(dict.fromkeys(expanded(path)))
    if any(glob.has_magic(url.partition("?")[0]) for url in found):
        raise DataError(f"{path}: what there is at an address is not known", fix="a range such as train-{000..011}.tar instead of *")
    return found
