"""A folder of specs to load and to break."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphnas import SpecError
from graphnas.spec import load_spec

Write = Callable[[str, str], None]
Refused = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file into the current folder, a fresh one."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(textwrap.dedent(text).lstrip("\n"))

    return write


@pytest.fixture
def refused(write: Write) -> Refused:
    """The message with which a file of this text is refused."""

    def refused(text: str, **options: Any) -> str:
        write("x.yaml", text)
        with pytest.raises(SpecError) as caught:
            load_spec("x.yaml", **options)
        return str(caught.value)

    return refused
