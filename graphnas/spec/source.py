"""Reading files: YAML 1.2 or JSON -> plain data, and the place of each value.

Both are read as a stream of events by one builder. It refuses what a spec has no use for (tags, keys that are no text, numbers that are not
finite), all of it at once, and bounds what aliases may expand to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from graphnas.errors import Problem, Where, suggest
from graphnas.size_limits import VALUES_PER_NODE, max_nodes, to_raise
from graphnas.spec.events import Event, Unreadable, position
from graphnas.spec.json_text import json_events
from graphnas.spec.place import Located, Path_, Place, dotted
from graphnas.spec.yaml_text import yaml_events

DEEPEST = 100
"""Mappings and lists within each other; a spec has about ten."""
LARGEST_FILE = 64 << 20
"""Bytes."""
LARGEST_EXPANSION = 100_000
"""Values that all aliases of a file together may stand for."""


@dataclass
class Source:
    """What was read.

    Args:
        shown: The file as people named it, or ``--set FIELD``.
        data: Plain data; ``None`` if there is none.
        place: Where the data stand.
        problems: What is wrong; data and places are there nevertheless, where that can be.
    """

    shown: str
    data: Any
    place: Place
    problems: list[Problem] = field(default_factory=list[Problem])


def read_file(path: Path, shown: str) -> Source:
    """Read a file, JSON if its name ends so, else YAML.

    Args:
        path: The file.
        shown: Its name in messages.
    """
    where = Where(shown)
    try:
        if path.stat().st_size > LARGEST_FILE:
            return _unread(Problem(f"larger than {LARGEST_FILE >> 20} MiB, which no spec is", where, fix="name another file"))
        raw = path.read_bytes()
    except FileNotFoundError:
        return _unread(Problem("there is no such file", where, fix=_near(path, shown)))
    except IsADirectoryError:
        return _unread(Problem("a folder, not a file", where, fix=_inside(path)))
    except OSError as error:
        return _unread(Problem(f"can't be read: {error.strerror or error}", where))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        place = position(before, len(before))
        return _unread(Problem(f"not UTF-8: byte 0x{raw[error.start]:02x}", Where(shown, *place), fix="save the file as UTF-8"))
    return read_text(text, shown, json=path.suffix == ".json")


def read_text(text: str, shown: str, *, json: bool = False, lines: bool = True) -> Source:
    """Read YAML or JSON.

    Args:
        text: What to read.
        shown: Its name in messages.
        json: Whether it is JSON.
        lines: Whether places have lines; the value of ``--set`` has none.
    """
    builder = _Builder(shown, lines=lines)
    try:
        builder.run(json_events(text) if json else yaml_events(text))
    except Unreadable as stop:
        where = Where(shown, stop.line, stop.column) if lines else Where(shown)
        builder.problems.append(Problem(str(stop), where, fix=stop.fix))
        builder.data = None
    return Source(shown, builder.data, builder.place, builder.problems)


def _unread(problem: Problem) -> Source:
    assert problem.where is not None
    return Source(problem.where.source, None, Place(problem.where.source), [problem])


def _near(path: Path, shown: str) -> str:
    """The nearest name in the folder."""
    folder = Path(shown).parent
    if not path.parent.is_dir():
        return f"there is no folder {folder} either"
    names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml", ".json")]
    return suggest(path.name, names) if names else f"the folder {folder} holds no YAML or JSON file"


def _inside(path: Path) -> str | None:
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix in (".yaml", ".yml", ".json"))
    return f"name a file in it: {', '.join(names[:5])}" if names else None


# -- builder


class _Open(NamedTuple):
    """A mapping or list whose end has not come.

    Args:
        data: What is in it so far.
        place: Where it stands.
        name: Its key or index in the one around it; ``None`` for the outermost.
        anchor: The name that aliases may use.
        first: Number of values before it.
    """

    data: Any
    place: Place
    name: str | int | None
    anchor: str | None
    first: int


@dataclass
class _Builder:
    shown: str
    lines: bool = True
    data: Any = None
    problems: list[Problem] = field(default_factory=list[Problem])
    anchors: dict[str, tuple[Any, Place, int] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.place = Place(self.shown, 1, 1) if self.lines else Place(self.shown)
        self.anchors = {}
        self.stack: list[_Open] = []
        self.key: tuple[str, Event] | None = None  # read, its value is not
        self.duplicate = False
        self.count = self.expanded = 0
        self.most = max_nodes()

    def run(self, events: Iterable[Event]) -> None:
        for event in events:
            self.count += 1
            if self.count > VALUES_PER_NODE * self.most:
                message = f"more than {VALUES_PER_NODE * self.most:,} values, keys and brackets in one file"
                self.too_many(message, Place(self.shown, event.line, event.column))
            kind = event.kind
            if kind in "}]":
                opened = self.stack.pop()
                if opened.anchor is not None:
                    self.anchors[opened.anchor] = (opened.data, opened.place, self.count - opened.first)
                continue
            if self.key is None and self.stack and type(self.stack[-1].data) is Located:
                self.read_key(event)
                continue
            self.read_value(event)

    def read_key(self, event: Event) -> None:
        if event.kind in "{[":
            raise Unreadable("a key must be text, got a mapping or a list", event.line, event.column, "write KEY: VALUE")
        if event.kind == "alias":
            raise Unreadable("a key can't be an alias", event.line, event.column, "write the key out")
        if event.problem:
            self.wrong(event, event.problem, event.fix)
        name = event.value
        if not isinstance(name, str):
            word = "null" if name is None else str(name).lower() if isinstance(name, bool) else str(name)
            self.wrong(event, f"a key must be text, got {word}", f'"{word}": ...')
            name = word
        elif name == "<<":
            self.wrong(event, "merge keys (<<) are not part of YAML 1.2", "write the fields out")
        self.duplicate = name in self.stack[-1].data
        if self.duplicate:
            first = self.stack[-1].place.children[name].key
            self.wrong(event, f"the key {name!r} stands twice", f"the first is at {first}: remove one")
        self.key = (name, event)

    def read_value(self, event: Event) -> None:
        place = Place(self.shown, event.line, event.column) if self.lines else Place(self.shown)
        if event.problem:
            self.wrong(event, event.problem, event.fix)
        data: Any = event.value
        if event.kind == "{":
            data = Located(place)
        elif event.kind == "[":
            data = []
        elif event.kind == "alias":
            data = self.alias(event, place)
        elif event.anchor is not None:
            self.anchors[event.anchor] = (data, place, 1)
        name = self.put(data, place)
        if event.kind in "{[":
            if len(self.stack) >= DEEPEST:
                raise Unreadable(f"more than {DEEPEST} mappings and lists within each other", event.line, event.column, "a flatter spec")
            self.stack.append(_Open(data, place, name, event.anchor, self.count))
            if event.anchor is not None:
                self.anchors[event.anchor] = None

    def put(self, data: Any, place: Place) -> str | int | None:
        """Add a value to what is open; returns its key or index there."""
        if not self.stack:
            self.data, self.place = data, place
            return None
        parent = self.stack[-1]
        if len(parent.data) >= self.most:
            what = "list" if self.key is None else "mapping"
            self.too_many(f"more than {self.most:,} entries in one {what}", place)
        if self.key is None:
            index = len(parent.data)
            parent.data.append(data)
            parent.place.children[index] = place
            return index
        (name, event), self.key = self.key, None
        if self.lines:
            place.key_line, place.key_column = event.line, event.column
        if not self.duplicate:
            parent.data[name] = data
            parent.place.children[name] = place
        return name

    def too_many(self, message: str, place: Place) -> NoReturn:
        raise Unreadable(message, place.line, place.column, f"a smaller spec, or {to_raise(VALUES_PER_NODE * self.most)}")

    def alias(self, event: Event, place: Place) -> Any:
        """A copy of what the anchor stands for; what is inside it keeps its place there."""
        found = self.anchors.get(event.value)
        if found is None:
            inside = event.value in self.anchors
            message = f"the alias *{event.value} stands inside what it stands for" if inside else f"no anchor &{event.value} stands before"
            known = [name for name, complete in self.anchors.items() if complete is not None]
            raise Unreadable(message, event.line, event.column, suggest(event.value, known) if known else "write the value out")
        data, original, size = found
        self.expanded += size
        self.count += size  # so that what holds aliases is as large as what they stand for
        if self.expanded > LARGEST_EXPANSION:
            raise Unreadable(f"the aliases stand for more than {LARGEST_EXPANSION:,} values", event.line, event.column, "use fewer aliases")
        copied, inner = _copied(data, original)
        place.children = inner.children
        return copied

    def wrong(self, event: Event, message: str, fix: str | None) -> None:
        where = Where(self.shown, event.line, event.column) if self.lines else Where(self.shown)
        self.problems.append(Problem(message, where, dotted(self.path()), fix))

    def path(self) -> Path_:
        """Of what is being read."""
        found = [opened.name for opened in self.stack if opened.name is not None]
        if self.key is not None:
            return (*found, self.key[0])
        in_list = self.stack and not isinstance(self.stack[-1].data, Located)
        return (*found, len(self.stack[-1].data)) if in_list else tuple(found)


def _copied(data: Any, place: Place) -> tuple[Any, Place]:
    """Data of their own, and places of their own that say the same."""
    own = Place(place.source, place.line, place.column)
    own.key_line, own.key_column = place.key_line, place.key_column
    if isinstance(data, Located):
        mapping = Located(own)
        for name, value in data.items():
            mapping[name], own.children[name] = _copied(value, place.children[name])
        return mapping, own
    if isinstance(data, list):
        items: list[Any] = []
        given = cast(list[Any], data)
        for index, value in enumerate(given):
            item, own.children[index] = _copied(value, place.children[index])
            items.append(item)
        return items, own
    return data, own
