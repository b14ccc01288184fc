"""YAML 1.2 as a stream of events, from PyYAML's parser (libyaml's where it is there); its syntax errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

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

from graphnas.spec.events import FINITE, Event, Unreadable, position
from graphnas.spec.scalars import NotANumber, scalar

PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Only its events are used."""


def yaml_events(text: str) -> Iterator[Event]:
    """The events of a text with one document.

    Raises:
        Unreadable: It is no YAML, or holds a second document.
    """
    try:
        parser = PARSER(text)
        documents = 0
        while (event := parser.get_event()) is not None:
            mark = event.start_mark
            line, column = mark.line + 1, mark.column + 1
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise Unreadable("a second document starts here", line, column, "one document a file: remove the line ---")
                continue
            if (found := _event(event, line, column)) is not None:
                yield found
    except yaml.MarkedYAMLError as error:
        raise _syntax(text, error) from None
    except yaml.reader.ReaderError as error:
        character = text[error.position : error.position + 1]
        raise Unreadable(f"not YAML: the control character {character!r}", *position(text, error.position), "remove it") from None


_ENDS = {MappingEndEvent: "}", SequenceEndEvent: "]"}


def _event(event: Any, line: int, column: int) -> Event | None:
    kind: type[object] = event.__class__
    if kind is ScalarEvent:
        if event.tag is not None:
            return Event("broken", line, column, event.value, event.anchor, *_tag(event.tag))
        if not event.implicit[0]:
            return Event("scalar", line, column, event.value, event.anchor)
        try:
            return Event("scalar", line, column, scalar(event.value), event.anchor)
        except NotANumber as error:
            return Event("broken", line, column, event.value, event.anchor, str(error), FINITE)
    if kind is MappingStartEvent or kind is SequenceStartEvent:
        message, fix = _tag(event.tag) if event.tag is not None else (None, None)
        return Event("{" if kind is MappingStartEvent else "[", line, column, None, event.anchor, message, fix)
    if kind is AliasEvent:
        return Event("alias", line, column, event.anchor)
    return Event(_ENDS[kind], line, column) if kind in _ENDS else None


def _tag(tag: str) -> tuple[str, str]:
    short = tag.replace("tag:yaml.org,2002:", "!!")
    return f"YAML tags such as {short} are not read", f"remove {short}"


_UNCLOSED = "is never closed"
_INDENTATION = "check the indentation"
_AFTER_THE_END = ("something follows the end of the document", "check brackets and indentation")
_PLAIN_WORDS = {  # libyaml's words, and those of PyYAML's own parser where they differ
    "mapping values are not allowed": ("a key and its value can't stand here", f"{_INDENTATION}; text that holds ': ' needs quotes"),
    "block sequence entries are not allowed": ("a list can't start here", "put '- ' on a line of its own, or write [a, b]"),
    "sequence entries are not allowed": ("a list can't start here", "put '- ' on a line of its own, or write [a, b]"),
    "found unexpected end of stream": (f"a quote {_UNCLOSED}", "close the quote"),
    "could not find expected ':'": ("a key without ':'", "write KEY: VALUE"),
    "expected ',' or ']'": (f"a list {_UNCLOSED}", "add ] or a comma"),
    "expected ',' or '}'": (f"a mapping {_UNCLOSED}", "add } or a comma"),
    "expected key": ("a line that does not fit those above", f"{_INDENTATION}, and that brackets and quotes are closed"),
    "expected '-' indicator": ("a line that does not fit those above", _INDENTATION),
    "expected <block end>": ("a line that does not fit those above", _INDENTATION),
    "expected <document start>": _AFTER_THE_END,
    "expected '<document start>'": _AFTER_THE_END,
    "exceeded maximum nesting depth": ("mappings and lists too deep within each other", "a flatter spec"),
}


def _syntax(text: str, error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = re.sub(r"^did not find (?=expected)| in this context$| here$|, but (found|got).*", "", error.problem or "")
    rows = text.split("\n")
    row = rows[line - 1] if line <= len(rows) else ""
    character = row[column - 1 : column]
    indent = re.match(r" *\t", row)
    if character == "\t" or (indent is not None and "\t" in row[:column]):
        return Unreadable("not YAML: a tab in the indentation", line, row.index("\t") + 1, "indent with spaces")
    if "cannot start any token" in problem:
        return Unreadable(f"not YAML: no value can start with {character!r}", line, column, f'put the text in quotes: "{character}..."')
    message, fix = _PLAIN_WORDS.get(problem, (problem, None))
    start = error.context_mark
    if message.endswith(_UNCLOSED) and start is not None:
        line, column = start.line + 1, start.column + 1  # where it was opened says more than where the file ends
    return Unreadable(f"not YAML: {message}", line, column, fix)
