"""What reading a file yields, step by step, be it YAML or JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

FINITE = "a finite number, or text in quotes"
"""The fix of a number that is none."""


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


class Unreadable(Exception):
    """Reading can't go on."""

    def __init__(self, message: str, line: int, column: int, fix: str | None = None) -> None:
        super().__init__(message)
        self.line, self.column, self.fix = line, column, fix


def position(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 1."""
    start = text.rfind("\n", 0, index) + 1
    return text.count("\n", 0, index) + 1, index - start + 1
