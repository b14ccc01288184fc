"""``graphnas compare``: what it prints of cells that are finished, what it refuses, how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from graphnas.compare import make_plan, read_methods
from graphnas.spec import presets
from tests.compare.conftest import finish

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def finished(toy_folder: Path) -> Path:
    """All cells of a comparison of three seeds."""
    plan = make_plan("search.json", read_methods(["./toy-space.json", "aux-head"]), seeds=3)
    values = {
        "single-task": {0: 10.0, 1: 12.0, 2: 11.0},
        "toy-space": {0: 8.0, 1: 9.9, 2: 9.1},
        "aux-head": {0: 11.0, 1: 11.0, 2: 12.0},
    }
    finish(plan, toy_folder / "out", values, {"toy-space": 25.0})
    return toy_folder


def test_the_table_and_the_words(finished: Path, graphnas: Run) -> None:
    status, out, err = graphnas("compare", "search.json", "--methods", "./toy-space.json, aux-head", "--seeds", "3", "--out", "out")
    assert (status, err) == (0, "9 of 9 cells are finished already\n")
    main, _, rest = out.partition("\n\n")
    assert main.splitlines()[0] == "depth on the test split: rel, lower is better"
    cells = [line.split() for line in main.splitlines()]
    assert cells[3:] == [
        ["single-task", "3", "11", "±", "2.5", "-", "-", "-", "-", "-", "1.00", "1.00", "-"],
        ["toy-space", "3", "9", "±", "2.4", "-2", "±", "0.25", "0.002", "+18.2", "3/3", "0.25", "1.00", "2.50", "-"],
        ["aux-head", "3", "11.33", "±", "1.4", "+0.3333", "±", "2.9", "0.667", "-3.0", "1/3", "0.25", "1.00", "1.00", "-"],
    ]
    metrics, _, said = rest.partition("\n\n")
    assert metrics.splitlines()[0] == "all metrics (*: differs significantly from the single task)"
    assert metrics.splitlines()[4].split() == ["toy-space", "9", "±", "2.4", "*", "9", "±", "2.4", "*"]
    assert said == (
        "toy-space: significantly better than the single task: rel -2 [-2.248, -1.752], p = 0.002, 3 of 3 seeds\n"
        "aux-head: no significant difference from the single task: rel +0.3333 [-2.535, +3.202], p = 0.667, 1 of 3 seeds\n"
        "± and [] are 95 % t intervals, differences are paired by seed; p is corrected for 2 comparisons (Holm), significant below 0.05\n"
        "results.json, results.csv, comparison.svg: out\n"
    )
    assert graphnas("compare", "out")[:2] == (0, out)  # all that it needs to know is there


def test_json_is_the_file(finished: Path, graphnas_json: Callable[..., dict[str, object]]) -> None:
    said = graphnas_json("compare", "search.json", "--methods", "./toy-space.json,aux-head", "--seeds", "3", "--out", "out")
    assert said == json.loads(Path("out/results.json").read_text())


def test_a_failed_cell_ends_with_1_after_the_table(finished: Path, graphnas: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out/cells/aux-head/seed-1/results.json").unlink()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    status, out, err = graphnas("compare", "search.json", "--methods", "./toy-space.json,aux-head", "--seeds", "3", "--out", "out")
    assert status == 1
    assert ["aux-head", "2/3"] in [line.split()[:2] for line in out.splitlines()]
    died = "its process has died (exit status 1); out/cells/aux-head/seed-1.log holds what it said"
    assert err == (
        "8 of 9 cells are finished already\n"
        f"aux-head, seed 1: failed: {died} (9 of 9)\n"
        f"out/cells/aux-head/seed-1: {died}\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.json"], "--methods: no method is named\n  fix: --methods aux-nas,aux-head\n"),
        (["search.json", "--methods", "aux-nsa"], "--methods: unknown method 'aux-nsa'\n  fix: did you mean 'aux-nas'?\n"),
        (
            ["search.json", "--methods", "aux-head", "--seeds", "0"],
            "--seeds: at least one seed is needed, got 0\n  fix: --seeds 5\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--seeds", "1", "--confidence", "0.9"],
            "--confidence: one seed has no interval: there is nothing to tell its spread by\n  fix: --seeds 5\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--confidence", "95"],
            "--confidence: must be more than 0 and less than 1, got 95\n  fix: --confidence 0.95\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--jobs", "0"],
            "--jobs: at least one process is needed, got 0\n  fix: leave --jobs out, or --jobs 1\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--budget", "tme"],
            "graphnas compare: unknown budget 'tme'\n  fix: did you mean 'time'?\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--as-long-as", "aux-head"],
            "--as-long-as: is about the budget of time\n  fix: --budget time\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--budget", "time", "--as-long-as", "aux-haed, single-task"],
            "--as-long-as: 'aux-haed' is not among the methods\n  fix: did you mean 'aux-head'?\n"
            "--as-long-as: 'single-task' is not among the methods\n  fix: one of aux-head\n",
        ),
        (
            ["."],
            ".: no comparison is there: compare.json is missing\n  fix: name a search spec, or the folder of a comparison\n",
        ),
        (
            ["search.json", "--methods", "aux-head", "--vary", "training.batch_size"],
            "--vary: expected FIELD=V1,V2, got 'training.batch_size'\n  fix: --vary training.batch_size=8,16\n",
        ),
    ],
)
def test_refusals(arguments: list[str], message: str, toy_folder: Path, graphnas: Run) -> None:
    assert graphnas("compare", *arguments) == (2, "", message)
    assert not Path("runs").exists()


AMONG = """\
kind: search_space
links:
  - direction: auxiliary -> auxiliary
    operations: [conv1x1]
    penalty: {type: l1, strength: 10}
    converges_to: free
"""
BOTH = """\
kind: search_space
links:
  - direction: any -> any
    operations: [conv1x1]
    converges_to: free
constraints: {inference: primary}
"""
METHODS = """\
among: {space: among.yaml}
both: {space: both.yaml}
cut: {space: cross-stitch, set: {space.constraints.inference: primary}}
hasty: {space: aux-head, set: {balance.type: upgrad, training.accumulate: 2}}
"""


def test_methods_that_can_not_be_combined(toy_folder: Path, graphnas: Run) -> None:
    """Links between auxiliaries where there is one; both branches kept for the primary alone; gradients compared batch by batch."""
    for name, text in (("among.yaml", AMONG), ("both.yaml", BOTH), ("methods.yaml", METHODS)):
        Path(name).write_text(text)
    shipped = Path(str(presets("search_space")["cross-stitch"]))
    line, rule = next((n, text) for n, text in enumerate(shipped.read_text().splitlines(), 1) if "converges_to: free" in text)
    fusion = next((n, text) for n, text in enumerate(shipped.read_text().splitlines(), 1) if text.startswith("fusion: {self: "))
    stays = "any -> any converges to free, and would stay in the primary"
    zero = "  fix: converges_to: zero, or constraints: {inference: all}\n"
    expected = (
        f"both.yaml:5:19: links[0].converges_to: {stays} (method 'both')\n{zero}"
        f"{shipped}:{line}:{rule.index('free') + 1}: links[0].converges_to: {stays} (method 'cut')\n{zero}"
        f"{shipped}:{fusion[0]}:16: fusion.self: this operation acts on the primary's own value and would stay after the links are cut "
        "(method 'cut')\n  fix: fusion: {auxiliary: {self: ...}}, or constraints: {inference: primary+fusion}\n"
        "--set training.accumulate: 'upgrad' looks at all losses of an update at once, which come batch by batch (method 'hasty')\n"
        "  fix: balance: sum, or accumulate: 1\n"
    )
    assert graphnas("compare", "search.json", "--methods-file", "methods.yaml") == (2, "", expected)
    assert graphnas("compare", "search.json", "--methods", "./among.yaml") == (
        2, "",
        "among.yaml:3:16: links[0].direction: auxiliary -> auxiliary yields no link: both ends are seg, "
        "and a task is not linked with itself (method 'among')\n  fix: name another task, or leave the rule out\n",
    )  # fmt: skip
    assert not Path("runs").exists()


def test_what_is_set_within_a_space_is_set_in_the_methods_own(toy_folder: Path, graphnas: Run) -> None:
    status, _, err = graphnas("compare", "search.json", "--methods", "cross-stitch", "--set", "space.constraints.inference=primary")
    assert status == 2
    assert err.count("would stay in the primary (method 'cross-stitch')\n") == 1


@pytest.mark.parametrize("command", ["compile", "search", "compare", "attribute"])
def test_without_an_auxiliary(command: str, toy_folder: Path, graphnas: Run) -> None:
    """A penalty on links between auxiliaries, and an aggregator of several losses, of one task alone."""
    data = json.loads(Path("search.json").read_text())
    del data["task_pair"]["tasks"]["seg"]
    Path("among.yaml").write_text(AMONG)
    Path("alone.json").write_text(json.dumps(data | {"space": "among.yaml", "balance": "sum"}, indent=1))
    arguments = [command, "alone.json", *(["--methods", "./among.yaml"] if command == "compare" else [])]
    tasks = _place("alone.json", '{\n   "depth"')
    missing = f"{tasks}: tasks: there is no auxiliary task, which {{}} needs\n  fix: name a task beside the primary\n"
    no_link = (
        "among.yaml:3:16: links[0].direction: auxiliary -> auxiliary yields no link: there is no auxiliary task\n"
        "  fix: add an auxiliary, or use space: single-task\n"
    )
    said = {"compare": missing.format("method 'among'"), "attribute": missing.format("an attribution")}.get(command, no_link)
    assert graphnas(*arguments) == (2, "", said)
    Path("alone.json").write_text(json.dumps(data | {"space": "single-task", "balance": "upgrad"}, indent=1))
    place = _place("alone.json", '"upgrad"')
    assert graphnas(*arguments) == (
        2, "",
        f"{place}: balance: 'upgrad' is about two tasks or more, and 'depth' is the only one\n"
        "  fix: balance: sum, or add an auxiliary task\n",
    )  # fmt: skip
    assert not Path("runs").exists()


def _place(file: str, text: str) -> str:
    """``FILE:LINE:COLUMN`` of a text that stands once in a file."""
    before = Path(file).read_text().partition(text)[0]
    return f"{file}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_modules_that_register_things_reach_the_cells(finished: Path, graphnas: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process imports what ``--plugin`` names, whether it stands before the command or after it."""
    Path("mine_before.py").write_text("")
    Path("mine_after.py").write_text("")
    Path("out/cells/aux-head/seed-1/results.json").unlink()
    seen = finished / "python"
    seen.write_text("#!/bin/sh\nhead -n 1 > job.json\nexit 1\n")
    seen.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(seen))
    options = ["--methods", "./toy-space.json,aux-head", "--seeds", "3", "--out", "out", "--plugin", "mine_after"]
    assert graphnas("--plugin", "mine_before", "compare", "search.json", *options)[0] == 1
    job = json.loads(Path("job.json").read_text())
    assert (job["plugins"], job["out"], job["spec"]["seed"]) == (["mine_before", "mine_after"], "out/cells/aux-head/seed-1", 1)


def test_a_comparison_that_was_begun_says_all_itself(finished: Path, graphnas: Run) -> None:
    graphnas("compare", "search.json", "--methods", "./toy-space.json,aux-head", "--seeds", "3", "--out", "out")
    assert graphnas("compare", "out", "--seeds", "4") == (
        2, "",
        "out: --seeds is said by the comparison already\n  fix: leave it out, or name the spec: graphnas compare SPEC --out out\n",
    )  # fmt: skip
