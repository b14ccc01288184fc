"""Reading files: YAML 1.2 or JSON -> plain data, and the place of each value.

Both are read as a stream of events by one builder. It refuses what a spec has no use for (tags, keys that are no text, numbers that are not
finite), all of it at once, and bounds what aliases may expand to.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from graphnas.errors import Problem, Where, suggest
from graphnas.spec.json_text import JsonError, json_tokens
from graphnas.spec.place import Located, Path_, Place, dotted
from graphnas.spec.scalars import NotANumber, scalar

DEEPEST = 100
"""Mappings and lists within each other; a spec has about ten."""
LARGEST_EXPANSION = 100_000
"""Values that all aliases of a file together may stand for."""

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # only its events are used


class Event(NamedTuple):
    """One step of reading.

    Args:
        kind: ``{``, ``[``, their ends ``}`` and ``]``, ``scalar``, ``alias``, or ``broken`` for a scalar that stands for nothing.
        line: From 1.
        column: From 1.
        value: Of a scalar; the name of an alias.
        anchor: The name that aliases may use.
        problem: What is wrong with it.
    """

    kind: str
    line: int
    column: int
    value: Any = None
    anchor: str | None = None
    problem: str | None = None
    fix: str | None = None


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
        place = _position(before, len(before))
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
        builder.run(_json(text) if json else _yaml(text))
    except _Stop as stop:
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


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 1."""
    start = text.rfind("\n", 0, index) + 1
    return text.count("\n", 0, index) + 1, index - start + 1


class _Stop(Exception):
    """Reading can't go on."""

    def __init__(self, message: str, line: int, column: int, fix: str | None = None) -> None:
        super().__init__(message)
        self.line, self.column, self.fix = line, column, fix


# -- events


def _json(text: str) -> Iterator[Event]:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(index: int) -> tuple[int, int]:
        line = bisect.bisect_right(starts, index)
        return line, index - starts[line - 1] + 1

    try:
        for kind, index, value, problem in json_tokens(text):
            yield Event(kind, *position(index), value, None, problem)
    except JsonError as error:
        raise _Stop(f"not JSON: {error}", *position(error.index), error.fix) from None


def _yaml(text: str) -> Iterator[Event]:
    try:
        parser = _PARSER(text)
        documents = 0
        while (event := parser.get_event()) is not None:
            mark = event.start_mark
            line, column = mark.line + 1, mark.column + 1
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Stop("a second document starts here", line, column, "one document a file: remove the line ---")
                continue
            if (found := _event(event, line, column)) is not None:
                yield found
    except yaml.MarkedYAMLError as error:
        raise _syntax(text, error) from None
    except yaml.reader.ReaderError as error:
        raise _Stop(f"not YAML: {error.reason}", *_position(text, error.position), "remove the character") from None


_ENDS = {MappingEndEvent: "}", SequenceEndEvent: "]"}


def _event(event: Any, line: int, column: int) -> Event | None:
    kind: type[object] = event.__class__
    if kind is ScalarEvent:
        if event.tag is not None and event.tag != "!":
            return Event("broken", line, column, event.value, event.anchor, *_tag(event.tag))
        if not event.implicit[0]:
            return Event("scalar", line, column, event.value, event.anchor)
        try:
            return Event("scalar", line, column, scalar(event.value), event.anchor)
        except NotANumber as error:
            return Event("broken", line, column, event.value, event.anchor, str(error), "a finite number, or text in quotes")
    if kind is MappingStartEvent or kind is SequenceStartEvent:
        message, fix = _tag(event.tag) if event.tag is not None and event.tag != "!" else (None, None)
        return Event("{" if kind is MappingStartEvent else "[", line, column, None, event.anchor, message, fix)
    if kind is AliasEvent:
        return Event("alias", line, column, event.anchor)
    return Event(_ENDS[kind], line, column) if kind in _ENDS else None


def _tag(tag: str) -> tuple[str, str]:
    short = tag.replace("tag:yaml.org,2002:", "!!")
    return f"YAML tags such as {short} are not read", f"remove {short}"


_PLAIN_WORDS = {
    "mapping values are not allowed in this context": (
        "a key and its value can't stand here",
        "check the indentation; text that holds ': ' needs quotes",
    ),
    "block sequence entries are not allowed in this context": ("a list can't start here", "put '- ' on a line of its own, or write [a, b]"),
    "found unexpected end of stream": ("a quote is never closed", "close the quote"),
    "could not find expected ':'": ("a key without ':'", "write KEY: VALUE"),
    "did not find expected ',' or ']'": ("a list is never closed", "add ] or a comma"),
    "did not find expected ',' or '}'": ("a mapping is never closed", "add } or a comma"),
    "did not find expected key": ("a line that does not fit those above", "check the indentation, and that brackets and quotes are closed"),
    "did not find expected '-' indicator": ("a line that does not fit the list above", "check the indentation"),
    "did not find expected <document start>": ("something follows the end of the document", "check brackets and indentation"),
    "expected <document start>": ("something follows the end of the document", "check brackets and indentation"),
}


def _syntax(text: str, error: yaml.MarkedYAMLError) -> _Stop:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = re.sub(r", but found.*|, but got.*", "", error.problem or "")
    rows = text.split("\n")
    row = rows[line - 1] if line <= len(rows) else ""
    character = row[column - 1 : column]
    indent = re.match(r" *\t", row)
    if character == "\t" or (indent is not None and "\t" in row[:column]):
        return _Stop("not YAML: a tab in the indentation", line, row.index("\t") + 1, "indent with spaces")
    if "cannot start any token" in problem:
        return _Stop(f"not YAML: no value can start with {character!r}", line, column, f'put the text in quotes: "{character}..."')
    message, fix = _PLAIN_WORDS.get(problem, (problem, None))
    start = error.context_mark
    if message.endswith("never closed") and start is not None:
        line, column = start.line + 1, start.column + 1  # where it was opened says more than where the file ends
    return _Stop(f"not YAML: {message}", line, column, fix)


# -- builder


class _Open(NamedTuple):
    """A mapping or list whose end has not come.

    Args:
        data: What is in it so far.
        place: Where it stands.
        name: Its key or index in the one around it; ``None`` for the outermost.
        anchor: The name that aliases may use.
        first: Number of events before it.
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

    def run(self, events: Iterable[Event]) -> None:
        for event in events:
            self.count += 1
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
            raise _Stop("a key must be text, got a mapping or a list", event.line, event.column, "write KEY: VALUE")
        if event.kind == "alias":
            raise _Stop("a key can't be an alias", event.line, event.column, "write the key out")
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
                raise _Stop(f"more than {DEEPEST} mappings and lists within each other", event.line, event.column, "a flatter spec")
            self.stack.append(_Open(data, place, name, event.anchor, self.count))
            if event.anchor is not None:
                self.anchors[event.anchor] = None

    def put(self, data: Any, place: Place) -> str | int | None:
        """Add a value to what is open; returns its key or index there."""
        if not self.stack:
            self.data, self.place = data, place
            return None
        parent = self.stack[-1]
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

    def alias(self, event: Event, place: Place) -> Any:
        """A copy of what the anchor stands for; what is inside it keeps its place there."""
        found = self.anchors.get(event.value)
        if found is None:
            inside = event.value in self.anchors
            message = f"the alias *{event.value} stands inside what it stands for" if inside else f"no anchor &{event.value} stands before"
            known = [name for name, complete in self.anchors.items() if complete is not None]
            raise _Stop(message, event.line, event.column, suggest(event.value, known) if known else "write the value out")
        data, original, size = found
        self.expanded += size
        if self.expanded > LARGEST_EXPANSION:
            raise _Stop(f"the aliases stand for more than {LARGEST_EXPANSION:,} values", event.line, event.column, "use fewer aliases")
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
