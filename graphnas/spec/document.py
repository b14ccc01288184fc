"""``Document``: a spec of its own kind, which knows the place of each of its fields in the user's files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from graphnas.errors import Problem, Where
from graphnas.schema import FOLDER, Spec
from graphnas.spec.source import Positioned


class Document(Spec):
    """The base of the four kinds of file."""

    KIND: ClassVar[str]
    version: Literal[1] = Field(default=1, description="Version of the format.")
    _raw: Any = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _positioned(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        """Keep the data that it is made from, and let its relative paths start from its own folder."""
        if not isinstance(value, Positioned):
            return handler(value)
        with _folder_of(value):
            made = handler(value)
        made._raw = value
        return made

    def where(self, *path: str | int) -> Where | None:
        """The place of a field in the user's file, or of its nearest ancestor there; ``None`` for what was built in Python.

        Args:
            path: The field: ``spec.where("links", 0, "direction")``.
        """
        return locate(self._raw, path)[0]

    def problem(self, message: str, *path: str | int, fix: str | None = None) -> Problem:
        """A problem at a field."""
        return Problem(message, self.where(*path), dotted(path), fix)


@contextlib.contextmanager
def _folder_of(value: Positioned) -> Iterator[None]:
    if value.folder is None:
        yield
        return
    token = FOLDER.set(value.folder)
    try:
        yield
    finally:
        FOLDER.reset(token)


def locate(raw: Any, path: Sequence[Any], *, key: bool = False) -> tuple[Where | None, tuple[str | int, ...]]:
    """Where a path leads in positioned data, and the path without the parts that are no keys there (pydantic's union tags).

    Args:
        raw: The root.
        path: Keys and indices.
        key: Point at the last key itself, not at its value.
    """
    where = raw.where if isinstance(raw, Positioned) else None
    real: list[str | int] = []
    for position, part in enumerate(path):
        last = position == len(path) - 1
        if isinstance(raw, (dict, list)) and (part in raw if isinstance(raw, dict) else isinstance(part, int) and part < len(raw)):
            if isinstance(raw, Positioned):
                places = raw.keys_at if key and last else raw.values_at
                where = places.get(part, where)
            raw = raw[part]
            real.append(part)
            continue
        if (last and isinstance(raw, dict)) or not isinstance(raw, (dict, list, str, int, float, bool, type(None))):
            real.append(part)  # a field that is not there
    return where, tuple(real)


def dotted(path: Sequence[str | int]) -> str:
    """``links[0].direction``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
