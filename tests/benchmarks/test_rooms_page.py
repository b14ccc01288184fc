"""The page of results says what the cells say, on cells with values that are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.doom_rooms import PARTS
from benchmarks.rooms_page import page
from graphnas.compare import make_plan, read_methods
from graphnas.compare.plan import plan_to_dict
from tests.compare.conftest import finish, write_search

SINGLE = {0: 10.0, 1: 12.0, 2: 11.0}
BETTER = {0: 8.0, 1: 9.9, 2: 9.1}  # -2.0, -2.1, -1.9: 18.2 % of 11
WORSE = {0: 12.0, 1: 14.1, 2: 12.9}  # 2.0, 2.1, 1.9
MIXED = {0: 11.0, 1: 11.0, 2: 12.0}  # 1, -1, 1: 3 %
METHODS = ("aux-nas-auto", "aux-head")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_search(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(folder: Path, part: str, values: Mapping[str, Mapping[int, float]], methods: tuple[str, ...] = METHODS) -> Path:
    """A comparison of a part as if it had run."""
    plan = make_plan("search.json", read_methods(methods, Path("methods.json") if Path("methods.json").exists() else None), seeds=3)
    finish(plan, folder / part, {"single-task": SINGLE, **values})
    (folder / part / "compare.json").write_text(json.dumps(plan_to_dict(plan)))
    (folder / part / "cells" / "single-task" / "seed-0.log").write_text("graphnas 1.2, torch 3.4, cpu, threads 1, seed 0\nmore\n")
    return folder / part


def test_tables_and_verdicts_are_those_of_the_cells(folder: Path) -> None:
    compared(folder, "depth-100", {"aux-nas-auto": BETTER, "aux-head": MIXED})
    compared(folder, "depth-all", {"aux-nas-auto": WORSE, "aux-head": MIXED})
    written = page(folder, {"depth-100": ("Depth, few", ""), "depth-all": ("Depth, all", "Every label."), "seg-100": ("Not there", "")})
    lines = written.splitlines()
    assert "Made with graphnas 1.2, torch 3.4, cpu, threads 1." in lines
    assert "| aux-nas-auto | **+18.2** | **-18.2** | +0.0 | 1.0 |" in lines
    assert "| aux-head | -3.0 | -3.0 | -3.0 | 1.0 |" in lines
    assert "- `aux-nas-auto` is significantly better than the single task in 1 of 1 cells (depth-100): depth-100." in lines
    assert "- `aux-nas-auto` is significantly worse than the single task in 1 of 1 cells (depth-all): depth-all." in lines
    assert "- Over all cells `aux-nas-auto` gains +0.0 % on average, `aux-head` -3.0 %." in lines
    best = "no method gains significantly here (the best mean is `aux-head`'s, -3.0 %)"
    assert [line for line in lines if line.startswith("- depth-")] == [f"- depth-all: `aux-nas-auto` -18.2 %; {best}."]
    assert [line for line in lines if line.startswith("## ")] == ["## All cells at once", "## Depth, few", "## Depth, all"]
    assert "Every label." in lines
    assert "| aux-nas-auto | 3 | 9 ± 2.4 | -2 ± 0.25 | 0.002 | +18.2 | 3/3 | 0.25 | 1.00 | 1.00 | - |" in lines


def test_what_another_method_gains_is_said(folder: Path) -> None:
    compared(folder, "depth-100", {"aux-nas-auto": MIXED, "aux-head": BETTER})
    found = page(folder, {"depth-100": ("Depth", "")})
    gains = "though `aux-head` gains significantly (+18.2 %): there is something to gain that it does not"
    assert f"- depth-100: `aux-nas-auto` -3.0 %, {gains}." in found.splitlines()


def test_what_is_not_finished_is_not_on_it(folder: Path) -> None:
    compared(folder, "depth-100", {"aux-head": {0: 9.0}})
    written = page(folder, {"depth-100": ("Depth", "")})
    assert "| aux-head | 1/3 |" in written
    assert "aux-nas-auto |" not in written


def test_shorter_searches_are_held_against_the_authors_on_validation(folder: Path) -> None:
    (folder / "methods.json").write_text(json.dumps({"default": {}, "default-short": {}, "authors": {}}))
    part = compared(folder, "default", {"default": SINGLE, "default-short": {0: 1.0, 1: 1.0}, "authors": SINGLE}, ())
    found = {  # seconds, what was selected
        "authors": {0: (100, 8.0), 1: (100, 7.0), 2: (100, 5.0)},
        "default": {0: (80, 7.0), 1: (90, 6.0), 2: (70, 4.0)},
        "default-short": {0: (20, 8.0), 1: (40, 9.0)},
    }
    for method, seeds in found.items():
        for seed, (seconds, value) in seeds.items():
            file = part / "cells" / method / f"seed-{seed}" / "results.json"
            results = json.loads(file.read_text())
            results["rows"][0]["seconds"] = seconds
            file.write_text(json.dumps({**results, "selected": {"value": value}}))
    lines = page(folder, {"default": ("Default", "")}).splitlines()
    told = "of the training time of authors; the rel on validation that it is selected by differs by"
    assert [line for line in lines if told in line] == [
        f"- default takes 0.8 ± 0.25 {told} -1 ± 0, and is at least as good in 3 of 3 seeds.",
        f"- default-short takes 0.3 ± 1.3 {told} +1 ± 13, and is at least as good in 1 of 2 seeds.",
    ]


def test_options_are_told_from_the_one_without(folder: Path) -> None:
    (folder / "methods.json").write_text(json.dumps({"joint": {}, "alternate": {}}))
    compared(folder, "options", {"joint": BETTER, "alternate": MIXED}, ())  # 3, 1.1, 2.9
    lines = page(folder, {"options": ("Options", "")}).splitlines()
    assert [line for line in lines if "against joint" in line] == ["- alternate against joint: rel +2.333 ± 2.7"]


@pytest.mark.parametrize("name", PARTS)
def test_every_part_can_be_planned(name: str) -> None:
    plan = PARTS[name].plan(2)
    assert plan.seeds == (0, 1)
    primary = name.partition("-")[0]
    specs = [variant.spec for variant in plan.variants]
    assert {spec.primary_task for spec in specs} == {primary if primary in specs[1].task_pair.tasks else "normals"}
    labeled = [spec.task_pair.tasks[spec.primary_task].labeled for spec in specs]
    assert [found is None for found in labeled] == [name.endswith("-all")] * len(specs)
    assert {spec.balance.type for spec in specs if spec.space.links} >= {"label_ratio"}
