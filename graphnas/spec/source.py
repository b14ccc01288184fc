"""YAML 1.2 (core schema) and JSON with positions: text -> plain data whose containers know where each of their parts stands.

The parser is libyaml's where PyYAML has it; the tree is built from its events, so nothing recurses, no tag is obeyed, and limits hold. Numbers are
the core schema's (``1e-3`` is one), and so are booleans (``no`` is text); there are no dates and no merge keys.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from graphnas.errors import Problem, SpecError, Where, suggest

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 100
MAX_ALIASED = 100_000  # values that aliases may repeat, in all

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}  # fmt: skip
_STR = "tag:yaml.org,2002:str"


class Positioned:
    """What both containers know: where they start, and where each part and its key stand."""

    where: Where | None = None
    folder: Path | None = None
    """The folder that relative paths of a whole document start from; only at its root."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_at: dict[Any, Where] = {}
        self.values_at: dict[Any, Where] = {}


class PositionedDict(Positioned, dict[str, Any]):
    """A mapping of a file."""


class PositionedList(Positioned, list[Any]):
    """A sequence of a file."""


def read(path: Path) -> PositionedDict:
    """The mapping that a file holds.

    Raises:
        SpecError: Missing, unreadable, empty, no YAML or JSON, no mapping, duplicate keys: at the line.
    """
    name = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(f"larger than {MAX_BYTES // 2**20} MiB, which no spec is", where=Where(name))
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        siblings = [entry.name for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []
        fix = suggest(path.name, siblings) if siblings else "check the path"
        raise SpecError("no such file", where=Where(name), fix=fix) from None
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text (byte {error.start})", where=Where(name), fix="save it as UTF-8") from None
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", where=Where(name)) from None
    if path.suffix == ".json":
        text = _checked_json(text, name)
    data = parse(text, name)
    if data is None and not text.strip():
        raise SpecError("the file is empty", where=Where(name), fix="start with kind: search, search_space, task_pair or network")
    if not isinstance(data, PositionedDict):
        raise SpecError(f"expected a mapping, got {described(data)}", where=Where(name, 1, 1), fix="start with kind: ...")
    data.folder = path.parent.resolve()
    return data


def _checked_json(text: str, name: str) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"not JSON: {error.msg}", where=Where(name, error.lineno, error.colno)) from None
    except RecursionError:
        raise SpecError(f"nested more than {MAX_DEPTH} deep", where=Where(name)) from None
    return text.replace("\t", " ")  # white space in JSON, an error to YAML; in a JSON string a tab is written \t


def parse(text: str, name: str) -> Any:
    """The data that YAML text holds; containers are ``PositionedDict`` and ``PositionedList``.

    Raises:
        SpecError: Not YAML, or not what a spec may hold.
    """
    try:
        return _Builder(name).build(yaml.parse(text, Loader=_PARSER))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(name) if mark is None else Where(name, mark.line + 1, mark.column + 1)
        fix = "indent with spaces, not with tabs" if "\t" in text and "token" in str(error.problem) else None
        raise SpecError(f"not YAML: {error.problem or error.context}", where=where, fix=fix) from None
    except yaml.YAMLError as error:
        raise SpecError(f"not YAML: {str(error).splitlines()[0]}", where=Where(name)) from None


class _Builder:
    """Events -> data, with a stack of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.anchors: dict[str, Any] = {}
        self.aliased = 0

    def build(self, events: Iterator[Any]) -> Any:
        result: Any = None
        documents = 0
        stack: list[tuple[Positioned, list[Any]]] = []  # a container, and the key that waits for its value (if any)
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise SpecError("a second document in one file", where=self.at(event), fix="one spec a file")
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self.refuse_tag(event)
                container = PositionedDict() if kind == "MappingStartEvent" else PositionedList()
                container.where = self.at(event)
                if len(stack) == MAX_DEPTH:
                    raise SpecError(f"nested more than {MAX_DEPTH} deep", where=container.where)
                result = self.put(stack, container, container.where, result)
                self.anchor(event, container)
                stack.append((container, []))
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                stack.pop()
            elif kind == "ScalarEvent":
                self.refuse_tag(event)
                value = self.scalar(event)
                self.anchor(event, value)
                result = self.put(stack, value, self.at(event), result)
            elif kind == "AliasEvent":
                result = self.put(stack, self.alias(event), self.at(event), result)
        if self.problems:
            raise SpecError(self.problems)
        return result

    def put(self, stack: list[tuple[Positioned, list[Any]]], value: Any, where: Where, result: Any) -> Any:
        """Add a value to the innermost container; returns the root."""
        if not stack:
            return value
        container, waiting = stack[-1]
        if isinstance(container, PositionedList):
            container.values_at[len(container)] = where
            container.append(value)
        elif isinstance(container, PositionedDict):
            if not waiting:
                waiting.append(self.key(container, value, where))
            else:
                key = waiting.pop()
                container[key] = value
                container.values_at[key] = where
        return result

    def key(self, container: PositionedDict, value: Any, where: Where) -> str:
        if isinstance(value, Positioned):
            raise SpecError("a key must be text", where=where, fix="write NAME: value")
        key = value if isinstance(value, str) else str(value)
        if not isinstance(value, str):
            self.problems.append(Problem(f"a key must be text, got {described(value)}", where, fix=f'"{key}": ...'))
        elif key in container.keys_at:
            self.problems.append(Problem(f"the key {key!r} stands twice, first in line {container.keys_at[key].line}", where, fix="keep one"))
        container.keys_at[key] = where
        return key

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style or event.tag == _STR:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10) if len(text) < 400 else text
        if _FLOAT.fullmatch(text) or _SPECIAL.fullmatch(text):
            value = float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").replace(".nan", "nan").replace(".NaN", "nan").replace(".NAN", "nan"))  # fmt: skip
            if not math.isfinite(value):
                self.problems.append(Problem(f"{text} is no number that a spec can hold", self.at(event), fix="a finite number"))
                return 0.0
            return value
        return text

    def anchor(self, event: Any, value: Any) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = value

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            raise SpecError(f"nothing is anchored as &{event.anchor}", where=self.at(event), fix=suggest(event.anchor, self.anchors))
        value = self.anchors[event.anchor]
        self.aliased += _size(value, MAX_ALIASED)
        if self.aliased > MAX_ALIASED:
            raise SpecError(f"aliases repeat more than {MAX_ALIASED} values", where=self.at(event))
        return value

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag not in ("!", _STR):
            self.problems.append(Problem(f"the tag {event.tag} is not allowed: specs are plain data", self.at(event), fix="leave the tag out"))

    def at(self, event: Any) -> Where:
        return Where(self.name, event.start_mark.line + 1, event.start_mark.column + 1)


def _size(value: Any, limit: int) -> int:
    """How many values it holds, itself included; stops counting above the limit (also for one that holds itself)."""
    count, waiting = 0, [value]
    while waiting and count <= limit:
        current = waiting.pop()
        count += 1
        if isinstance(current, dict):
            waiting += current.values()
        elif isinstance(current, list):
            waiting += current
    return count


def described(value: Any) -> str:
    """A value in a message: its kind in YAML's words, and itself where it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text {value[:60]!r}" + ("..." if len(value) > 60 else "")
    if isinstance(value, (int, float)):
        return f"{value}"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"
