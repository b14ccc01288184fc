"""The line of the user's code that is running: where a refusal points at."""

from __future__ import annotations

import inspect
import linecache
import os
import traceback
from dataclasses import dataclass
from types import CodeType

import torch
from torch import nn

_NOT_THE_USERS = tuple(os.path.join(path, "") for path in (os.path.dirname(__file__), *torch.__path__))


@dataclass(frozen=True)
class Line:
    """A line of source code; prints as ``file:line in function: text``."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.number).strip()
        return f"{self.file}:{self.number} in {self.function}" + (f": {text}" if text else "")


def running_line(start: CodeType, module: nn.Module) -> Line:
    """The innermost line that is neither ours nor torch's.

    Args:
        start: The function of ours that called the user's code; what called it in turn is not looked at.
        module: Whose forward runs; the line of its definition is taken where none of its own lines runs, as in a decorator of torch's.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not start:
        if not frame.f_code.co_filename.startswith(_NOT_THE_USERS):
            return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return _definition(module)


def failed_line(error: BaseException, module: nn.Module) -> Line:
    """The innermost line of the user's code that an exception came through; the forward's definition where there is none."""
    found = _definition(module)
    for frame, number in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_filename.startswith(_NOT_THE_USERS):
            found = Line(frame.f_code.co_filename, number, frame.f_code.co_name)
    return found


def _definition(module: nn.Module) -> Line:
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    return (
        Line(code.co_filename, code.co_firstlineno, code.co_name) if code is not None else Line(f"<{type(module).__name__}>", 0, "forward")
    )
