"""JSON (RFC 8259) as a stream of events; strict: no NaN, no comments, no comma before an end."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

from graphnas.spec.events import FINITE, Event, Unreadable
from graphnas.spec.scalars import NotANumber, json_number

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z]+")
_WORDS = {"true": True, "false": False, "null": None}
_CLOSING = {"{": "}", "[": "]"}
_DECODER = json.JSONDecoder()

Token = tuple[str, int, Any, str | None]
"""Kind, index in the text, value, problem; kind is ``{ [ } ]``, ``scalar``, or ``broken``."""


class JsonError(ValueError):
    """Not JSON; ``index`` is where in the text."""

    def __init__(self, message: str, index: int, fix: str | None = None) -> None:
        super().__init__(message)
        self.index, self.fix = index, fix


def json_events(text: str) -> Iterator[Event]:
    """The events of a text; keys are scalars before their values.

    Raises:
        Unreadable: It is no JSON.
    """
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(index: int) -> tuple[int, int]:
        line = bisect.bisect_right(starts, index)
        return line, index - starts[line - 1] + 1

    try:
        for kind, index, value, problem in _tokens(text):
            yield Event(kind, *place(index), value, None, problem, FINITE if problem else None)
    except JsonError as error:
        raise Unreadable(f"not JSON: {error}", *place(error.index), error.fix) from None


def _tokens(text: str) -> Iterator[Token]:
    """Tokens with their indices.

    Raises:
        JsonError: Where reading can't go on.
    """
    index = _skip(text, 0)
    if index == len(text):
        return
    open_: list[str] = []
    while True:
        # a value, the first key, or an end right after the start
        character = text[index : index + 1]
        if character in ("{", "["):
            yield character, index, None, None
            open_.append(character)
            index = _skip(text, index + 1)
            if text[index : index + 1] != _CLOSING[character]:
                if character == "{":
                    index = yield from _key(text, index)
                continue
        else:
            index = yield from _scalar(text, index)
        # ends, then a comma
        index = _skip(text, index)
        while open_ and text[index : index + 1] == _CLOSING[open_[-1]]:
            yield _CLOSING[open_.pop()], index, None, None
            index = _skip(text, index + 1)
        if not open_:
            if index < len(text):
                raise JsonError("something follows the end of the document", index, "check the brackets")
            return
        if text[index : index + 1] != ",":
            raise JsonError(f"expected ',' or '{_CLOSING[open_[-1]]}'", index)
        index = _skip(text, index + 1)
        if text[index : index + 1] in ("}", "]"):
            raise JsonError(f"a comma before '{text[index]}'", index, "remove the comma")
        if open_[-1] == "{":
            index = yield from _key(text, index)


def _skip(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    assert match is not None
    return match.end()


def _key(text: str, index: int) -> Generator[Token, None, int]:
    if text[index : index + 1] != '"':
        raise JsonError("expected a key in double quotes", index, '"KEY": VALUE')
    value, end = _string(text, index)
    yield "scalar", index, value, None
    end = _skip(text, end)
    if text[end : end + 1] != ":":
        raise JsonError("expected ':' after a key", end)
    return _skip(text, end + 1)


def _scalar(text: str, index: int) -> Generator[Token, None, int]:
    if text[index : index + 1] == '"':
        value, end = _string(text, index)
        yield "scalar", index, value, None
        return end
    if (number := _NUMBER.match(text, index)) is not None:
        try:
            yield "scalar", index, json_number(number[0]), None
        except NotANumber as error:
            yield "broken", index, number[0], str(error)
        return number.end()
    word = _WORD.match(text, index)
    if word is None or word[0] not in _WORDS:
        found = f"{text[index : index + 20].split(maxsplit=1)[0]!r}" if text[index : index + 1].strip() else "the end of the file"
        raise JsonError(f"expected a value, got {found}", index, "text needs double quotes" if word else None)
    yield "scalar", index, _WORDS[word[0]], None
    return word.end()


def _string(text: str, index: int) -> tuple[str, int]:
    try:
        value, end = _DECODER.raw_decode(text, index)
    except json.JSONDecodeError as error:
        message = error.msg[0].lower() + error.msg[1:]
        raise JsonError(message.removesuffix(" at").removesuffix(" starting"), error.pos) from None
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise JsonError("half of a surrogate pair", index, "write the character itself")
    return value, end
