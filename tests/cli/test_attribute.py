"""``graphnas attribute``: what it prints of runs that are finished, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphnas.compare import compare, make_plan, read_methods
from graphnas.compare.arms import plan_arms
from graphnas.compare.signals import Signal, Signals, write_signals
from graphnas.report import write_report
from graphnas.runs.ablation import LinkEffect
from tests.compare.conftest import finish

Run = Callable[..., tuple[int, str, str]]
EFFECT = LinkEffect("depth:a->seg:a", "seg", "miou", "max", 50, 44, 0)
SIGNALS = Signals((Signal("seg", -0.25, -0.5, 0.0, 0.75, 2.0, 0.8, 6.0),), (EFFECT,), ())


@pytest.fixture
def finished(toy_folder: Path) -> Path:
    """All runs of an attribution with one auxiliary and three seeds."""
    values = {"single-task": {0: 8.0, 1: 9.9, 2: 9.1}, "all": {0: 10.0, 1: 12.0, 2: 11.0}}
    finish(plan_arms("search.json", seeds=3), toy_folder / "out", values)
    for seed in range(3):
        write_signals(SIGNALS, toy_folder / "out" / "signals" / f"seed-{seed}.json")
    return toy_folder


def test_the_tables_and_the_words(finished: Path, graphnas: Run) -> None:
    status, out, err = graphnas("attribute", "search.json", "--seeds", "3", "--out", "out")
    assert (status, err) == (0, "6 of 6 cells are finished already\n")
    tasks, hints, said = out.split("\n\n")
    assert tasks.splitlines()[0] == "depth on the test split: rel, lower is better"
    assert tasks.splitlines()[3].split() == ["seg", "+2", "±", "0.25", "<", "0.001", "0/3", "+2", "±", "0.25", "<", "0.001", "drop"]
    assert hints.splitlines()[0] == "hints of 3 runs, means with all auxiliaries"
    assert hints.splitlines()[3].split() == ["seg", "-0.25", "-0.5", "+0", "75", "%", "2", "0.8", "+6"]
    assert said == (
        "drop: seg\n"
        "seg: the primary is significantly worse with it: rel +2 with it [+1.752, +2.248], p < 0.001, better in 0 of 3 seeds\n"
        "± and [] are 95 % t intervals, differences are paired by seed; p is corrected for 1 auxiliary (Holm), significant below 0.05\n"
        "attribution.json, attribution.svg, results.csv: out\n"
    )
    assert graphnas("attribute", "out")[:2] == (0, out)
    assert json.loads(graphnas("attribute", "out", "--json")[1]) == json.loads(Path("out/attribution.json").read_text())
    page = write_report("out").read_text()
    assert "<li>drop: seg</li>" in page
    assert "depth: what each auxiliary changes in rel" in page
    assert "what each primary-to-auxiliary link is worth" in page


def test_refusals(finished: Path, graphnas: Run) -> None:
    graphnas("attribute", "search.json", "--seeds", "3", "--out", "out")
    assert graphnas("attribute", "out", "--seeds", "4") == (
        2, "",
        "out: --seeds is said by the attribution already\n  fix: leave it out, or name the spec: graphnas attribute SPEC --out out\n",
    )  # fmt: skip
    one = ("search.json", "--seeds", "1", "--confidence", "0.9", "--out", "other")
    message = "--confidence: one seed has no interval: there is nothing to tell its spread by\n  fix: --seeds 5\n"
    assert graphnas("attribute", *one) == (2, "", message)
    run = "out/cells/all/seed-0"
    assert graphnas("attribute", run, "--seeds", "2") == (
        2, "",
        f"{run}: --seeds is of runs that are to be made, and this one is made\n  fix: graphnas attribute {run}/spec.json --seeds ...\n",
    )  # fmt: skip
    assert graphnas("attribute", run) == (
        2, "",
        f"{run}: the training of this run is not over\n  fix: graphnas search {run}/spec.json --out {run} --resume\n",
    )  # fmt: skip
    changed = json.loads(Path("search.json").read_text())
    changed["training"]["batch_size"] = 4
    Path("search.json").write_text(json.dumps(changed))
    status, _, err = graphnas("attribute", "search.json", "--seeds", "3", "--out", "out")
    assert status == 2
    assert "training.batch_size: 2 in the run out/cells/single-task/seed-0, 4 now\n  fix: start again in another folder\n" in err


def test_a_comparison_of_methods_is_refused(toy_folder: Path, graphnas: Run) -> None:
    plan = make_plan("search.json", read_methods(["aux-head"]), seeds=1)
    finish(plan, toy_folder / "out", {"single-task": {0: 1.0}, "aux-head": {0: 1.0}})
    compare(plan, "out")
    assert graphnas("attribute", "out") == (
        2, "",
        "out: a comparison of methods is there, and no attribution\n"
        "  fix: graphnas compare out goes on with it; graphnas attribute SPEC begins an attribution\n",
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_is_read_by_itself(toy_folder: Path, graphnas: Run) -> None:
    options = ("--set", "training.epochs=2", "--set", "baseline=none", "--set", "runtime.log_gradients={epochs: 1}")
    assert graphnas("search", "search.json", "--out", "run", *options)[0] == 0
    status, out, err = graphnas("attribute", "run")
    assert (status, err) == (0, "")
    hints, links, said = out.split("\n\n")
    assert hints.splitlines()[0] == "hints of one run with all auxiliaries"
    assert links.splitlines()[0] == "primary-to-auxiliary links, closed one at a time, on validation"
    assert said.splitlines()[-1] == "hints of one run, no proof: graphnas attribute run/spec.json trains with and without each"
    assert json.loads(graphnas("attribute", "run", "--json")[1]) == json.loads(Path("run/attribution.json").read_text())
    assert "Hints of single runs" in write_report("run").read_text()
