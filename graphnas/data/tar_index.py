"""Where the members of a tar file lie: an index by which they can be read in any order."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from graphnas.errors import DataError

FIELDS = "json"
Samples = dict[str, dict[str, "Member"]]
"""Sample -> key -> member."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar file.

    Args:
        shard: The tar file: a path, or a URL.
        name: Its name in there.
        offset: Where its bytes begin.
        size: How many there are.
        data: The bytes themselves, where they are at hand.
    """

    shard: str
    name: str
    offset: int
    size: int
    data: bytes | None = None


def index_of_file(path: str, shard: str) -> Samples:
    """The samples of a tar file on this disk.

    Args:
        path: The file.
        shard: What it is called.
    Raises:
        DataError: It can't be read, or holds no samples.
    """
    try:
        size = Path(path).stat().st_size
        with tarfile.open(path, "r:") as tar:
            found = [_whole(Member(shard, info.name, info.offset_data, info.size), size) for info in tar if info.isfile()]
    except (tarfile.TarError, OSError) as error:
        compressed = Path(shard.partition("?")[0]).suffix not in ("", ".tar")
        fix = "unpack it to a plain .tar: members are read by their place" if compressed else "restore the tar file"
        raise DataError(f"{shard}: not a tar file that can be read: {error}", fix=fix) from None
    return by_sample(shard, found)


def _whole(member: Member, size: int) -> Member:
    if member.offset + member.size > size:
        raise DataError(f"{member.shard}: {member.name}: the tar file ends in the middle of it", fix="restore the tar file")
    return member


def by_sample(shard: str, members: Iterable[Member]) -> Samples:
    """Members by the sample that they belong to: ``0012.img.png`` is the key img.png of the sample 0012.

    Raises:
        DataError: There are none.
    """
    samples: Samples = {}
    for member in members:
        folder, _, base = member.name.rpartition("/")
        stem, _, key = base.partition(".")
        if not stem or not key:
            continue  # hidden files, and files without a key, are no part of a sample
        name = f"{folder}/{stem}" if folder not in ("", ".") else stem
        samples.setdefault(name, {})[key] = member
    if not samples:
        raise DataError(f"{shard}: holds no samples", fix="members are called NAME.KEY, such as 0012.img.png")
    return samples
