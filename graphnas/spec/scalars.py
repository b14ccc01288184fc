"""Plain scalars of YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3.2): ``1e-3`` is a number, ``no`` and ``2001-01-01`` are text."""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_STARTS = frozenset("+-.0123456789")
_LONGEST = 4000  # digits; Python itself refuses more than 4300


class NotANumber(ValueError):
    """A number that is none: infinite, undefined, or out of range."""


def scalar(text: str) -> Scalar:
    """What a plain scalar stands for.

    Raises:
        NotANumber: It is infinite, undefined, or too large.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > _LONGEST:
            raise NotANumber(f"a number of {len(text)} digits")
        return int(text[2:], {"o": 8, "x": 16}[text[1]]) if text[1:2] in ("o", "x") else int(text)
    if _FLOAT.fullmatch(text):
        return _finite(text)
    if _NOT_FINITE.fullmatch(text):
        raise NotANumber(f"{text} is not a finite number")
    return text


def json_number(text: str) -> int | float:
    """What a number of JSON stands for.

    Raises:
        NotANumber: It is too large.
    """
    if text.lstrip("-").isdigit():
        if len(text) > _LONGEST:
            raise NotANumber(f"a number of {len(text)} digits")
        return int(text)
    return _finite(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotANumber(f"{text} is too large a number")
    return value


def reads_as_text(text: str) -> bool:
    """Whether a text written without quotes is read as the same text."""
    try:
        return scalar(text) is text
    except NotANumber:
        return False
