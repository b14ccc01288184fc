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

Expand = Callable[[str, type[Document], File], Located | None]
"""(reference, kind of document, the file that it stands in) -> what it refers to; ``None`` where that can't be read."""


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
        try:
            _Walk(override, data, model, expand).run()
        except _Blocked as blocked:
            problems += blocked.problems
    return problems


class _Blocked(Exception):
    """An override can't be set; without a problem where validation will say why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


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

    def run(self) -> None:
        parts = list(self.override.parts)
        while True:
            key = self.key(parts)
            self.path.append(key)
            if not parts:
                self.set(key, self.override.value, self.override.place)
                return
            self.enter(key)

    def key(self, parts: list[str]) -> str | int:
        """Take the next key off the path: the longest one that is there, for keys may have dots."""
        if not isinstance(self.data, Located):
            items, text = cast(list[Any], self.data), parts.pop(0)
            if text.isdecimal() and int(text) < len(items):
                return int(text)
            fix = f"an index from 0 to {len(items) - 1}" if items else f"--set {dotted(self.path)}=[...]"
            raise _Blocked(Problem(f"{dotted(self.path)} has no item {text}, it has {len(items)}", self.override.where, fix=fix))
        for count in range(len(parts), 1, -1):
            if (name := ".".join(parts[:count])) in self.data:
                del parts[:count]
                return name
        return parts.pop(0)

    def set(self, key: str | int, value: Any, place: Place) -> None:
        self.data[key] = value
        self.place.children[key] = place

    def enter(self, key: str | int) -> None:
        """Go to the mapping or list under a key: short forms are spelled out, references loaded, nothing becomes {}."""
        found = below(self.shapes, self.data, key)
        holder = cast(dict[str | int, Any], self.data)  # or a list, which has the index
        value = holder[key] if isinstance(key, int) else holder.get(key)
        place = self.place.children.get(key)
        if value is None or place is None:
            place = Place(self.override.place.source)
            value = Located(place)
            self.set(key, value, place)
        elif isinstance(value, str) and (model := document(found)) is not None:
            value = self.expand(value, model, self.file)
            if value is None:
                raise _Blocked
            holder[key] = value
        elif not isinstance(value, Located) and not (isinstance(value, list) and _is_list(found)):
            value = self.spelled_out(found, value, place)
            place = value.place
            self.set(key, value, place)
        if isinstance(value, Located) and value.file is not None:
            self.file, place = value.file, value.place
        self.data, self.place, self.shapes = value, place, found

    def spelled_out(self, found: Sequence[Shape], value: Any, place: Place) -> Located:
        """The mapping that a plain value stands for."""
        spelled = spelled_out(found, value)
        if spelled is None:
            name = dotted(self.path)
            raise _Blocked(Problem(f"{name} is {described(value)}, it has no fields", self.override.where, fix=f"--set {name}=..."))
        made = Located(Place(place.source, place.line, place.column))
        made.place.key_line, made.place.key_column = place.key_line, place.key_column
        for name, part in spelled.items():
            made[name], made.place.children[name] = Located(place) if part == {} else part, place
        return made


def _is_list(found: Sequence[Shape]) -> bool:
    """Whether a list is a list here, and not the plain value of something."""
    return not found or any(not isinstance(shape, type) for shape in found)
