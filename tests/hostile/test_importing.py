"""``import graphnas`` reads no file outside of the package and the interpreter, opens no socket, starts no thread or process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import graphnas as gn

WATCH = """
import _thread, json, os, sys
root = sys.argv[1]
events = []
def noted(start):
    def started(*arguments, **options):
        events.append("a thread")
        return start(*arguments, **options)
    return started
for name in ("start_new_thread", "start_new", "start_joinable_thread", "_start_joinable_thread"):  # no audit event tells of threads
    if hasattr(_thread, name):
        setattr(_thread, name, noted(getattr(_thread, name)))
assert "threading" not in sys.modules  # which holds them too
def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "ctypes.dlopen")):
        events.append(event)
    elif event in ("open", "os.listdir", "os.scandir") and not isinstance(arguments[0], int):
        path = os.path.abspath(os.fsdecode(arguments[0] or "."))
        if not path.startswith((root, sys.prefix, sys.base_prefix, "/proc/self/task")):
            events.append(f"{event} {path}")
sys.addaudithook(hook)
import graphnas
imported = "torch" in sys.modules
if os.path.exists("/proc/self/task") and len(os.listdir("/proc/self/task")) > 1:  # those that C code starts too
    events.append("threads")
"""


def seen(more: str, folder: Path) -> tuple[list[str], bool]:
    """What an interpreter that is watched does on ``import graphnas`` and what comes after; whether the import brought torch."""
    (folder / "outside.txt").touch()
    command = [sys.executable, "-c", f"{WATCH}{more}\nprint(json.dumps([events, imported]))", str(Path(gn.__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    events, imported = json.loads(done.stdout)
    return events, imported


def test_importing_does_nothing_else(tmp_path: Path) -> None:
    assert seen("", tmp_path) == ([], False)


@pytest.mark.parametrize(
    ("more", "event"),
    [
        ("open('outside.txt')", "open FOLDER/outside.txt"),
        ("import pathlib; pathlib.Path('outside.txt').read_bytes()", "open FOLDER/outside.txt"),
        ("os.listdir('.')", "os.listdir FOLDER"),
        ("import socket; socket.socket()", "socket.__new__"),
        ("import threading; threading.Thread(target=int).start()", "a thread"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
    ],
)
def test_it_would_be_seen(more: str, event: str, tmp_path: Path) -> None:
    assert event.replace("FOLDER", str(tmp_path)) in seen(more, tmp_path)[0]
