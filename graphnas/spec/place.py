"""Where each value of a file stands: a tree beside the data, made in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphnas.errors import Where

Path_ = tuple[str | int, ...]


class Place:
    """Where a value stands, and the key before it.

    Args:
        source: The file as shown to people, or ``--set FIELD``.
        line: Of the value, from 1; 0 where the source has no lines.
        column: Of the value, from 1.
    """

    __slots__ = ("children", "column", "key_column", "key_line", "line", "source")

    def __init__(self, source: str, line: int = 0, column: int = 0) -> None:
        self.source = source
        self.line = self.key_line = line
        self.column = self.key_column = column
        self.children: dict[str | int, Place] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Place:
        return self  # never changed once a document is made

    @property
    def value(self) -> Where:
        return Where(self.source, self.line, self.column) if self.line else Where(self.source)

    @property
    def key(self) -> Where:
        return Where(self.source, self.key_line, self.key_column) if self.key_line else Where(self.source)

    def nearest(self, path: Sequence[str | int]) -> Place:
        """The place of a field, or of its nearest ancestor that has one."""
        place = self
        for part in path:
            child = place.children.get(part)
            if child is None:
                return place
            place = child
        return place


class Located(dict[str, Any]):
    """A mapping of a file that knows where it stands.

    Args:
        place: Of the mapping.
    """

    __slots__ = ("file", "place")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.file: File | None = None  # only at the top of one


@dataclass(frozen=True)
class File:
    """A file of specs.

    Args:
        path: Absolute.
        shown: Its name in messages.
        folder: What relative paths in it start from.
    """

    path: str
    shown: str
    folder: str


def dotted(path: Sequence[str | int]) -> str:
    """A path as messages have it: ``links[0].direction``."""
    text = ""
    for part in path:
        word = f"[{part}]" if isinstance(part, int) else part if part.isprintable() else repr(part)
        text += f".{word}" if text and not isinstance(part, int) else word
    return text
