"""Packages that only some layouts need."""

from __future__ import annotations

import importlib
from types import ModuleType

from graphnas.errors import DataError

INSTALL = "pip install 'graphnas[data]'"


def imported(name: str, what: str) -> ModuleType:
    """A module of an optional package.

    Args:
        name: The module.
        what: What needs it, for the message.
    Raises:
        DataError: The package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise DataError(f"{what}: the package {package} is not installed", fix=INSTALL) from None
