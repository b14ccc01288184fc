"""Packages that only some operations need: imported when one of those is used, never before."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

from graphnas.schema import problem_at


def required(module: str, *, op: str, package: str, extra: str, least: str = "0") -> ModuleType:
    """A package for the checks of an operation's fields.

    Args:
        module: Its name in Python.
        op: The operation that needs it.
        package: Its name in a package index.
        extra: The extra of graphnas that brings it.
        least: The oldest version that will do.
    Raises:
        ValidationError: It is not installed, too old, or can't be imported; at the field ``op``.
    """
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == module:
            raise problem_at(("op",), f"{op} needs {package}", f"pip install graphnas[{extra}]", op) from None
        raise problem_at(("op",), f"{op} needs {package}, which can't be imported: {error}", f"pip install graphnas[{extra}]", op) from None
    except ImportError as error:
        raise problem_at(
            ("op",), f"{op} needs {package}, which can't be imported: {error}", f"pip install -U graphnas[{extra}]", op
        ) from None
    installed = str(getattr(found, "__version__", least))
    if _numbers(installed) < _numbers(least):
        message = f"{op} needs {package} {least} or newer, {installed} is installed"
        raise problem_at(("op",), message, f"pip install -U graphnas[{extra}]", op)
    return found


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
