"""Every example runs: as its README says, only shorter. Those of the folder ``paper`` are tested by ``test_paper_examples.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphnas as gn

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_custom_backbone(tmp_path: Path) -> None:
    lines = run(str(EXAMPLES / "custom_backbone.py"), "--steps", "12", folder=tmp_path).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["single-task", "supernet", "pruned"]
    assert lines[-2:] == ["certificate holds: True", "loaded strictly into a fresh SmallNet"]


def test_quickstart(tmp_path: Path) -> None:
    search = ["-m", "graphnas", "search", str(EXAMPLES / "quickstart" / "search.yaml"), "--out", "run", "--set", "training.steps=12"]
    table = run(*search, "--set", "space.links[0].tolerance=1", folder=tmp_path)
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line[:1].islower()}
    assert rows["single-task"][2:4] == rows["pruned"][2:4] == ["75,939,840", "238,515"]
    assert gn.load(tmp_path / "run" / "artifact") is not None


def test_every_example_is_tested_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.iterdir() if path.stem not in here and path.name != "__pycache__"] == []


@pytest.mark.nightly
def test_the_quickstart_helps(tmp_path: Path) -> None:
    """The whole of it: the pruned network is better than the single task by more than a degree."""
    result = gn.search(EXAMPLES / "quickstart" / "search.yaml", out=tmp_path / "run")
    found = {row["name"]: row["metrics"]["mean_angle"] for row in result.rows}
    assert found["pruned"] < found["single-task"] - 1
    assert result.certificate.holds
