"""A file of JSON lines that a phase of training appends to, and that forgets what will come again when training goes back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from graphnas.errors import RunError, Where
from graphnas.search.checkpoint import write_atomically
from graphnas.search.log import json_ready


class Trace:
    """Rows with at least ``phase`` and ``step``; the file is made with the first one.

    Args:
        file: Where.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; it is on the disk when this returns.

        Raises:
            RunError: It can't be written.
        """
        line = json.dumps(json_ready(dict(row)), allow_nan=False, separators=(",", ":")).encode() + b"\n"
        try:
            with self._file.open("ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise RunError(
                f"can't be written: {error.strerror}", where=Where(str(self._file)), fix="make room there, then --resume"
            ) from error

    def go_back(self, phase: str, step: int) -> None:
        """Forget the rows of this phase after a step, and a line that was not written to its end."""
        if not self._file.exists():
            return
        rows = read_trace(self._file)
        kept = [row for row in rows if row["phase"] != phase or row["step"] <= step]
        lines = b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in kept)
        if len(lines) != self._file.stat().st_size:
            write_atomically(self._file, lines)


def read_trace(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, in order; none where there is no file. Lines that were cut off are left out."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    rows: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"phase", "step"} <= cast("dict[str, Any]", row).keys():
            rows.append(cast("dict[str, Any]", row))
    return rows
