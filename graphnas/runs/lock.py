"""One process at a time works in a run folder: a lock file says which one, and ends with it.

The operating system holds the lock, so that it is gone with its process however that ends. What the file says is for people, and for file
systems that several machines share without sharing locks: there, a file that another machine has left is believed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from graphnas.errors import RunError, Where

NAME = ".lock"

if os.name == "posix":
    import fcntl

    def _lock(handle: int) -> bool:
        """Lock an open file; whether it was free."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

else:
    import msvcrt

    def _lock(handle: int) -> bool:
        """Lock an open file, far behind its content, which others may then read; whether it was free."""
        windows: Any = msvcrt
        os.lseek(handle, 1 << 30, os.SEEK_SET)
        try:
            windows.locking(handle, windows.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold a run folder that exists; nobody else gets it meanwhile.

    Raises:
        RunError: Another process holds it; names that process. Or the folder can't be written to.
    """
    file = folder / NAME
    handle = _held(file)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # while it is held: whoever has opened it meanwhile finds out in ``_held``
        os.close(handle)


def _held(file: Path) -> int:
    """The open, locked file with this process's name in it."""
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f"can't be written: {error.strerror}", where=Where(str(file)), fix="allow writing there, or choose another --out"
            ) from error
        try:
            free, holder = _lock(handle), _read(handle)
            if not free or holder.get("host", socket.gethostname()) != socket.gethostname():
                raise _refusal(file, holder)
            if _same(handle, file):
                os.ftruncate(handle, 0)
                os.write(handle, json.dumps(_me()).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the one that held it has just removed it: try the next one


def _same(handle: int, file: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now().isoformat(sep=" ", timespec="seconds")}


def _read(handle: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(handle, 4096, 0) if os.name == "posix" else os.read(handle, 4096))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _refusal(file: Path, holder: dict[str, Any]) -> RunError:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
    return RunError(
        f"another process works in this run: {who}",
        where=Where(str(file.parent)),
        fix=f"wait for it, or choose another --out; if there is no such process any more, remove {file}",
    )
