"""Tar shards behind a URL: read as they come, and kept on this disk as far as there is room for them.

A shard that is wanted and not at hand is fetched whole, and others that have not been used for longest make room. What members it has is
known beforehand: each shard is read once from its beginning to its end, and the index of that is kept. Only http and https are spoken: a
path in a file can never name a command.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from graphnas.data.cache import home_folder
from graphnas.data.tar_index import FIELDS, Member, Samples, by_sample, index_of_file
from graphnas.errors import DataError

SCHEMES = ("http://", "https://")
GIB = 2**30
ATTEMPTS = 3
TIMEOUT_SECONDS = 60
Result = TypeVar("Result")


def is_remote(path: str) -> bool:
    """Whether a path is meant as a URL or a command, and not as a file.

    Raises:
        DataError: It is one, but not of the web.
    """
    if path.startswith(SCHEMES):
        return True
    if "://" in path or path.startswith("pipe:"):
        fix = "an https:// address, or fetch the shards and name the files"
        raise DataError(f"{path}: shards are read from files and from the web, and no command is ever run", fix=fix)
    return False


@dataclass(frozen=True, slots=True)
class About:
    """What a server says of a shard.

    Args:
        url: Its address.
        size: Bytes.
        version: Changes when the shard does.
    """

    url: str
    size: int
    version: str


def about(url: str) -> About:
    """Ask for a shard, without reading it.

    Raises:
        DataError: It is not there, or the server does not say how large it is.
    """

    def ask() -> About:
        with _opened(url, {"Range": "bytes=0-0"}) as response:
            parts = response.headers.get("Content-Range", "").rpartition("/")[2]
            size = parts if response.status == http.client.PARTIAL_CONTENT else response.headers.get("Content-Length", "")
            if not size.isdecimal():
                raise DataError(f"{url}: the server does not say how large it is", fix="fetch it, and name the file")
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            return About(url, int(size), f"{size} {version}")

    return _patiently(url, ask)


class Shards:
    """Some shards behind URLs.

    Args:
        urls: Their addresses.
        folder: Where to keep them; a folder of the user's, if left out.
        keep_bytes: How much of them.
    Raises:
        DataError: One is not there.
    """

    def __init__(self, urls: Sequence[str], folder: str | None, keep_bytes: float) -> None:
        self._about = {url: about(url) for url in urls}
        self._folder = Path(folder or os.path.join(home_folder(), "shards"))
        self._keep = keep_bytes
        self._last = ""
        self.bytes = sum(found.size for found in self._about.values())
        self.largest = max((found.size for found in self._about.values()), default=0)

    @property
    def fit(self) -> bool:
        """Whether all of them can be kept."""
        return self.bytes <= self._keep

    @property
    def together(self) -> int:
        """How many shards samples may be drawn from at a time; for three such draws (of alphas, weights and auxiliaries) there is room."""
        return max(1, int(self._keep / 4 // max(1, self.largest)))

    def version(self, url: str) -> str:
        """Changes when the shard does."""
        return self._about[url].version

    def index(self, url: str) -> Samples:
        """What a shard holds, the fields of its samples too.

        Raises:
            DataError: It can't be fetched, or is no tar file.
        """
        file = self._file(url).with_suffix(".index.json")
        with self._locked(url):
            try:
                stored: list[tuple[str, int, int, str | None]] = json.loads(file.read_text(encoding="utf-8"))
                found = [Member(url, name, offset, size, None if text is None else text.encode()) for name, offset, size, text in stored]
            except (OSError, ValueError, TypeError):
                found = _patiently(url, lambda: _streamed(url)) if not self.fit else self._of_kept(url)
                rows = [(m.name, m.offset, m.size, None if m.data is None else m.data.decode(errors="replace")) for m in found]
                self._write(file, json.dumps(rows).encode())
        return by_sample(url, found)

    def read(self, member: Member) -> bytes:
        """The bytes of a member.

        Raises:
            DataError: Its shard can't be fetched.
        """
        path = self._file(member.shard)
        for _ in range(ATTEMPTS):
            try:
                with path.open("rb") as stream:
                    stream.seek(member.offset)
                    data = stream.read(member.size)
                if member.shard != self._last:
                    os.utime(path)  # used last, so not the next to go
                    self._last = member.shard
            except FileNotFoundError:  # or another process has just made room for something else
                with self._locked(member.shard):
                    self._fetch(member.shard)
            else:
                return data
        raise DataError(f"{member.shard}: can't be kept in {self._folder}", fix="a larger keep_gib, or fewer workers")

    def _of_kept(self, url: str) -> list[Member]:
        path = self._fetch(url)
        samples = index_of_file(str(path), url)
        return [
            Member(m.shard, m.name, m.offset, m.size, _part(path, m) if key == FIELDS else None)
            for members in samples.values()
            for key, m in members.items()
        ]

    def _fetch(self, url: str) -> Path:
        """The shard on this disk; it is locked."""
        path, wanted = self._file(url), self._about[url]
        if path.exists():
            return path
        self._make_room(wanted.size)

        def fetch(new: Path) -> None:
            with _opened(url) as response, new.open("wb") as stream:
                shutil.copyfileobj(response, stream, 2**20)
            if (size := new.stat().st_size) != wanted.size:
                raise http.client.IncompleteRead(b"", wanted.size - size)

        _patiently(url, lambda: self._made(path, fetch))
        return path

    def _make_room(self, size: int) -> None:
        """Remove those of these shards that have not been used for longest, until there is room for so many bytes more."""
        kept: list[tuple[float, int, Path]] = []
        for url in self._about:
            path = self._file(url)
            if path.exists():
                found = path.stat()
                kept.append((found.st_mtime, found.st_size, path))
        total = sum(entry[1] for entry in kept)
        for _, freed, path in sorted(kept):
            if total + size <= self._keep:
                return
            path.unlink(missing_ok=True)
            total -= freed

    def _write(self, path: Path, data: bytes) -> None:
        def write(new: Path) -> None:
            new.write_bytes(data)

        self._made(path, write)

    def _made(self, path: Path, write: Callable[[Path], None]) -> None:
        """A file, there as a whole or not at all."""
        handle, new = tempfile.mkstemp(dir=self._folder)
        os.close(handle)
        try:
            write(Path(new))
            os.replace(new, path)
        finally:
            Path(new).unlink(missing_ok=True)

    def _file(self, url: str) -> Path:
        name = hashlib.sha256(f"{url}\n{self._about[url].version}".encode()).hexdigest()
        return self._folder / f"{name}.tar"

    def _locked(self, url: str) -> FileLock:
        """One process fetches a shard, and others wait for it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self._folder}: can't be made: {error.strerror}", fix="kept_in: FOLDER") from None
        return FileLock(self._file(url).with_suffix(".lock"))


def _streamed(url: str) -> list[Member]:
    """The members of a shard, which is read once and not kept."""
    found: list[Member] = []
    with _opened(url) as response, tarfile.open(fileobj=response, mode="r|") as tar:
        for info in tar:
            if info.isfile():
                content = tar.extractfile(info) if info.name.endswith(f".{FIELDS}") else None
                found.append(Member(url, info.name, info.offset_data, info.size, None if content is None else content.read()))
    return found


def _part(path: Path, member: Member) -> bytes:
    with path.open("rb") as stream:
        stream.seek(member.offset)
        return stream.read(member.size)


def _opened(url: str, headers: dict[str, str] | None = None) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=TIMEOUT_SECONDS)  # noqa: S310 - see SCHEMES


def _patiently(url: str, get: Callable[[], Result]) -> Result:
    """What a server gives, asked again where the line broke.

    Raises:
        DataError: It gives nothing.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            return get()
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"{error.code} {error.reason}"
            if error.code < http.client.INTERNAL_SERVER_ERROR:
                break
        except tarfile.TarError as error:
            raise DataError(f"{url}: not a tar file that can be read: {error}", fix="a plain .tar, not compressed, and whole") from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "")) or str(error) or type(error).__name__
        time.sleep(attempt / 2 if attempt + 1 < ATTEMPTS else 0)
    raise DataError(f"{url}: can't be fetched: {reason}", fix="check the address, and --resume where a run has begun") from None
