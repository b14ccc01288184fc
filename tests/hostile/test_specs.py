"""Specs that are wrong in ways that nobody thought of: an error with file, line and column, never a traceback."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import graphnas as gn
from graphnas.compiler import build
from graphnas.graph.types import Image
from tests.hostile.mutations import mutated, mutated_bytes

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted(
    path for folder in ("networks", "searchspaces", "taskpairs", "examples/quickstart") for path in (ROOT / folder).glob("*.yaml")
)


def loaded(path: Path) -> Any:
    """The spec, or ``None`` where it is refused as it should be."""
    try:
        return gn.load_spec(path)
    except gn.GraphNASError as error:
        for problem in error.problems:
            assert problem.message
            assert problem.where is not None, problem
            if problem.where.line is None:  # the file as a whole
                assert problem.where.source == str(path)
                assert not problem.path, problem
            assert "Traceback" not in str(problem)
        return None


def whole_search() -> dict[str, Any]:
    """The quickstart as one file, on a small network."""
    read = {
        name: yaml.safe_load((ROOT / f"examples/quickstart/{name}.yaml").read_text())
        for name in ("search", "network", "task_pair", "space")
    }
    search = read["search"]
    search |= {"networks": {"*": {"use": read["network"]}}, "task_pair": read["task_pair"], "space": read["space"]}
    return search


def compiled(search: gn.SearchSpec) -> None:
    """Built as far as it goes without data."""
    inputs = {name: Image(3, 24, 32) for name in search.task_pair.inputs}
    with contextlib.suppress(gn.GraphNASError):
        assert build(search, inputs).tasks


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_a_mutated_spec_is_read_or_refused_at_its_line(path: Path, tmp_path: Path) -> None:
    data, chance = yaml.safe_load(path.read_text()), random.Random(path.stem)
    file = tmp_path / path.name
    for _ in range(15):
        file.write_text(yaml.safe_dump(mutated(data, chance), sort_keys=False, allow_unicode=True))
        loaded(file)


def test_a_mutated_search_compiles_or_is_refused(tmp_path: Path) -> None:
    data, chance, file = whole_search(), random.Random(0), tmp_path / "search.yaml"
    for _ in range(int(os.environ.get("GRAPHNAS_CASES", "60"))):
        file.write_text(yaml.safe_dump(mutated(data, chance), sort_keys=False, allow_unicode=True))
        spec = loaded(file)
        if isinstance(spec, gn.SearchSpec):
            compiled(spec)


@pytest.mark.parametrize("path", SPECS, ids=[path.stem for path in SPECS])
def test_changed_bytes_are_read_or_refused(path: Path, tmp_path: Path) -> None:
    content, chance, file = path.read_bytes(), random.Random(path.stem), tmp_path / path.name
    for _ in range(15):
        file.write_bytes(mutated_bytes(content, chance))
        loaded(file)


@pytest.mark.nightly
def test_ten_thousand_mutated_specs(tmp_path: Path) -> None:
    chance = random.Random(1)
    sources: list[Any] = [whole_search(), *(yaml.safe_load(path.read_text()) for path in SPECS)]
    for _ in range(10_000):
        file = tmp_path / "mutated.yaml"
        file.write_text(yaml.safe_dump(mutated(chance.choice(sources), chance), sort_keys=False, allow_unicode=True))
        spec = loaded(file)
        if isinstance(spec, gn.SearchSpec):
            compiled(spec)


@pytest.mark.nightly
def test_ten_minutes_of_changed_bytes(tmp_path: Path) -> None:
    chance, until, file = random.Random(time.time_ns()), time.monotonic() + 600, tmp_path / "mutated.yaml"
    contents = [path.read_bytes() for path in SPECS]
    while time.monotonic() < until:
        content = mutated_bytes(chance.choice(contents), chance)
        file.write_bytes(content)
        try:
            loaded(file)
        except Exception:
            (tmp_path / "failed.yaml").write_bytes(content)
            raise
