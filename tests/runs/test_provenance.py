"""The first lines of a log: what the numbers depend on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import graphnas as gn
from graphnas.runs.provenance import provenance
from graphnas.spec import to_yaml
from tests.runs.conftest import SEARCH

CPU = torch.device("cpu")


def test_versions_device_threads_and_seed() -> None:
    spec = gn.parse_spec(SEARCH, kind="search")
    [line] = provenance(spec, CPU)
    version = r"\d+\.\S+"
    assert re.fullmatch(rf"graphnas {version}, torch {version}, numpy {version}, python {version}, cpu, threads \d+, seed 0", line), line


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_where_the_spec_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(to_yaml(gn.parse_spec(SEARCH, kind="search")))

    def said() -> str:
        return provenance(gn.load_spec(file), CPU)[1]

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    assert said() == f"spec: {file}"
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert said() == f"spec: {file}, git {git('rev-parse', '--short', 'HEAD')} (not in it)"
    git("add", "search.yaml")
    git("commit", "-q", "-m", "second")
    assert said() == f"spec: {file}, git {git('rev-parse', '--short', 'HEAD')}"
    file.write_text(f"# changed\n{file.read_text()}")
    assert said() == f"spec: {file}, git {git('rev-parse', '--short', 'HEAD')} (changed)"
