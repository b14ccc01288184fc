"""A tree with one folder a key: ``img/0012.png`` and ``seg/0012.png`` are the sample ``0012`` with the keys img and seg."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from graphnas.data.base import Records
from graphnas.data.files import SUFFIXES, decode
from graphnas.errors import DataError, nearest, suggest


class FolderRecords(Records):
    """The samples of a tree.

    Args:
        root: The folder that holds the keys' folders.
        folders: Their names; one that is not there is a key that no sample has.
    """

    def __init__(self, root: str, folders: Sequence[str]) -> None:
        self._root = Path(root)
        self._known = tuple(folders)
        files = {name: _by_stem(self._root / name) for name in folders if (self._root / name).is_dir()}
        self.ids = tuple(sorted({stem for found in files.values() for stem in found}))
        self._files = tuple({name: found[stem] for name, found in files.items() if stem in found} for stem in self.ids)

    def keys(self, index: int) -> Collection[str]:
        return self._files[index]

    def read(self, index: int, key: str) -> Any:
        path = self._files[index][key]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: can't be read: {error.strerror}") from None
        return decode(data, path.suffix[1:], file=str(path))

    def field(self, index: int, name: str) -> Any:
        raise DataError(f"samples of {self._root} have no fields to group by", fix="leave group out, or name a path for validation")

    def file(self, index: int, key: str) -> str:
        return str(self._files[index][key])

    def lacks(self, key: str) -> tuple[str, str]:
        folder = self._root / key
        if key not in self._known:
            return f"there is no key {key!r} in this layout", suggest(key, self._known)
        if not folder.is_dir():
            return f"no such folder: {folder}", f"put the files of {key!r} there, one a sample"
        return f"no file to read in {folder}", f"files of the kinds {', '.join(sorted(SUFFIXES))}"


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


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix[1:].lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(f"{folder}: {found[path.stem].name} and {path.name} are the same sample", fix="keep one")
        found[path.stem] = path
    return found
