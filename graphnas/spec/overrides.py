"""``--set a.b[0].c=value``: values put into the data of a spec before it is validated, so that they are checked like the file's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from graphnas.errors import Problem, Where
from graphnas.schema import GivenHere, described
from graphnas.spec.document import Document
from graphnas.spec.place import File, Located, Place, dotted
from graphnas.spec.shape import Shape, below, document, spelled_out
from graphnas.spec.source import read_text

Expand = Callable[[str, type[Document], File], "Located | Problem"]
"""(reference, kind of document, the file that it stands in) -> what it refers to."""


@dataclass(frozen=True)
class Override:
    """One value to set.

    Args:
        name: The field, as given.
        parts: Its path; a key with dots in it is several parts.
        value: What to set.
        place: ``--set NAME``.
    """

    name: str
    parts: tuple[str, ...]
    value: Any
    place: Place

    @property
    def where(self) -> Where:
        return self.place.value


def read_override(text: str) -> Override | Problem:
    """Read ``NAME=VALUE``; the value is YAML."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        return Problem(f"expected FIELD=VALUE, got {text!r}", Where("--set"), fix="--set training.epochs=3")
    parts = tuple(re.sub(r"\[(\d+)\]", r".\1", name).split("."))
    if not all(parts):
        return Problem("not the name of a field", Where(f"--set {name}"), fix="names with dots between them: training.epochs")
    source = read_text(value, f"--set {name}", lines=False)
    if source.problems:
        return source.problems[0]
    return Override(name, parts, _given_here(source.data), source.place)


def _given_here(value: Any) -> Any:
    """Paths in it start from the current folder."""
    if isinstance(value, str):
        return GivenHere(value)
    if isinstance(value, Located):
        for name, part in value.items():
            value[name] = _given_here(part)
    elif isinstance(value, list):
        value[:] = [_given_here(part) for part in cast(list[Any], value)]
    return value  # pyright: ignore[reportUnknownVariableType]


def apply(overrides: Iterable[Override], data: Located, model: type[Document], expand: Expand) -> list[Problem]:
    """Put values into a document's data, in order.

    Args:
        overrides: What to set.
        data: The content of a file.
        model: What it is.
        expand: Loads a reference that an override goes through.
    Returns:
        Those that can't be set.
    """
    problems: list[Problem] = []
    for override in overrides:
        found = _Walk(override, data, model, expand).run()
        if found is not None:
            problems.append(found)
    return problems


class _Walk:
    """Goes down to the field that an override sets, making what is missing on the way."""

    def __init__(self, override: Override, data: Located, model: type[Document], expand: Expand) -> None:
        assert data.file is not None
        self.override, self.expand = override, expand
        self.data: Any = data
        self.place = data.place
        self.file: File = data.file
        self.shapes: Sequence[Shape] = [model]
        self.path: list[str | int] = []

    def run(self) -> Problem | None:
        parts = list(self.override.parts)
        while True:
            key = self.key(parts)
            if isinstance(key, Problem):
                return key
            self.path.append(key)
            if not parts:
                self.set(key, self.override.value, self.override.place)
                return None
            problem = self.enter(key)
            if problem is not None:
                return problem

    def key(self, parts: list[str]) -> str | int | Problem:
        """Take the next key off the path: the longest one that is there, for keys may have dots."""
        if not isinstance(self.data, Located):
            items, text = cast(list[Any], self.data), parts.pop(0)
            if text.isdecimal() and int(text) < len(items):
                return int(text)
            what = f"{dotted(self.path)} has no item {text}, it has {len(items)}"
            return Problem(what, self.override.where, fix=f"an index from 0 to {len(items) - 1}" if items else None)
        for count in range(len(parts), 1, -1):
            if (name := ".".join(parts[:count])) in self.data:
                del parts[:count]
                return name
        return parts.pop(0)

    def set(self, key: str | int, value: Any, place: Place) -> None:
        self.data[key] = value
        self.place.children[key] = place

    def enter(self, key: str | int) -> Problem | None:
        """Go to what is under a key, which a mapping or list: short forms are spelled out, references loaded, nothing becomes {}."""
        found = below(self.shapes, self.data, key)
        holder = cast(dict[str | int, Any], self.data)  # or a list, which has the index
        value = holder[key] if isinstance(key, int) else holder.get(key)
        place = self.place.children.get(key)
        if value is None or place is None:
            place = Place(self.override.place.source)
            value = Located(place)
            self.set(key, value, place)
        elif isinstance(value, str) and (model := document(found)) is not None:
            loaded = self.expand(value, model, self.file)
            if isinstance(loaded, Problem):
                return Problem(
                    loaded.message, loaded.where or place.value, dotted(self.path) if loaded.where is None else loaded.path, loaded.fix
                )
            assert loaded.file is not None
            holder[key] = value = loaded
            self.file, place = loaded.file, loaded.place
        elif not isinstance(value, Located) and not (isinstance(value, list) and _is_list(found)):
            spelled = spelled_out(found, value)
            if spelled is None:
                fields = f"{dotted(self.path)} is {described(value)}, it has no fields"
                return Problem(fields, self.override.where, fix=f"--set {dotted(self.path)}=...")
            inner = Place(place.source, place.line, place.column)
            inner.key_line, inner.key_column = place.key_line, place.key_column
            mapping = Located(inner)
            for name, part in spelled.items():
                mapping[name], inner.children[name] = Located(place) if part == {} else part, place
            self.set(key, mapping, inner)
            value, place = mapping, inner
        elif isinstance(value, Located) and value.file is not None:
            self.file, place = value.file, value.place  # loaded for an override before
        self.data, self.place, self.shapes = value, place, found
        return None


def _is_list(found: Sequence[Shape]) -> bool:
    """Whether a list is a list here, and not the plain value of something."""
    return not found or any(not isinstance(shape, type) for shape in found)
