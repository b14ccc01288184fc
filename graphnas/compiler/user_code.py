"""The line of the user's code that is running: where a refusal points at."""

from __future__ import annotations

import inspect
import linecache
import os
from dataclasses import dataclass
from types import CodeType

import torch
from torch import nn


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
    own = (os.path.dirname(__file__), *torch.__path__)
    while frame is not None and frame.f_code is not start:
        if not frame.f_code.co_filename.startswith(own):
            return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    code = inspect.unwrap(type(module).forward).__code__
    return Line(code.co_filename, code.co_firstlineno, code.co_name)
