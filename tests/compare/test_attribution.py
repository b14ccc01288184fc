"""Which auxiliary to drop, on runs with values that are known: significant or not, never by one seed."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import graphnas as gn
from graphnas.compare import compare, make_plan, read_methods
from graphnas.compare.arms import plan_arms
from graphnas.compare.attribution import Attribution, attribute, read_attribution
from graphnas.compare.attribution_words import link_rows, signal_rows, signal_words, task_row, words
from graphnas.compare.plan import Plan
from graphnas.compare.signals import Signal, Signals, load_signals, write_signals
from graphnas.compare.statistics import holm
from graphnas.runs.ablation import LinkEffect
from tests.compare.conftest import finish, write_search

ALL = {0: 8.0, 1: 9.9, 2: 9.1}
WORSE = {0: 10.0, 1: 12.0, 2: 11.0}  # without what helps: all - this = -2, -2.1, -1.9
BETTER = {0: 7.0, 1: 8.9, 2: 8.2}  # without what harms: 1, 1, 0.9
SAME = {0: 8.1, 1: 9.8, 2: 9.0}
SINGLE = {0: 9.0, 1: 10.9, 2: 10.0}
EFFECT = LinkEffect("depth:act1->good:act1", "good", "miou", "max", 50.0, 44.0, 0.0)
SIGNALS = Signals(
    (Signal("good", 0.5, 0.6, 0.4, 0.0, 0.1, 0.9, 6.0), Signal("bad", -0.25, -0.5, 0.0, 0.75, 2.0, 0.8, None)),
    (EFFECT,),
    ("a remark",),
)


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan_of(seeds: int = 3) -> Plan:
    tasks = {
        f"task_pair.tasks.{task}": {"type": "semantic_segmentation", "key": "seg.png", "classes": 3} for task in ("good", "bad", "odd")
    }
    return plan_arms(write_search(Path(), {"task_pair.tasks.seg": None, **tasks}), seeds=seeds)


def attributed(seeds: int = 3) -> Attribution:
    plan = plan_of(seeds)
    arms = {
        "single-task": SINGLE, "all": ALL, "without-good": WORSE, "without-bad": BETTER, "without-odd": SAME,
        "only-good": BETTER, "only-bad": WORSE, "only-odd": SINGLE,
    }  # fmt: skip
    finish(plan, Path("out"), {arm: {seed: values[seed] for seed in range(seeds)} for arm, values in arms.items()})
    for seed in range(seeds):
        write_signals(SIGNALS, Path(f"out/signals/seed-{seed}.json"))
    return attribute(plan, "out")


def test_significant_harm_is_dropped_and_significant_help_is_kept() -> None:
    found = attributed()
    assert [(task.task, task.verdict) for task in found.tasks] == [("good", "keep"), ("bad", "drop"), ("odd", "leans drop")]
    left_out = [task.left_out for task in found.tasks]
    assert [one.difference.mean for one in left_out if one and one.difference] == pytest.approx([-2, 0.9667, 0.0333], abs=1e-4)
    raw = [one.difference.p for one in left_out if one and one.difference and one.difference.p is not None]
    assert [one.p for one in left_out if one] == holm(raw)
    alone = found.tasks[0].alone
    assert alone is not None
    assert alone.difference is not None
    assert alone.difference.mean == pytest.approx((7 + 8.9 + 8.2 - 9 - 10.9 - 10) / 3)
    assert words(found) == [
        "drop: bad; keep: good; not sure: odd (leans drop)",
        "good: the primary is significantly better with it: rel -2 with it [-2.248, -1.752], p = 0.002, better in 3 of 3 seeds",
        "bad: the primary is significantly worse with it: rel +0.9667 with it [+0.8232, +1.11], p = 0.002, better in 0 of 3 seeds",
        "odd: no significant difference with and without it: rel +0.03333 with it [-0.2535, +0.3202], p = 0.667, better in 1 of 3 seeds",
        "± and [] are 95 % t intervals, differences are paired by seed; p is corrected for 3 auxiliaries (Holm), significant below 0.05",
        "a remark",
    ]
    assert task_row(found.tasks[1])[:4] == ("bad", "+0.9667 ± 0.14", "0.002", "0/3")


def test_one_seed_claims_nothing() -> None:
    found = attributed(1)
    assert [task.verdict for task in found.tasks] == ["leans keep", "leans drop", "leans keep"]
    said = words(found)
    assert said == [
        "by this one seed, which proves nothing, one would drop: bad",
        "good: the primary was better with it on one seed: rel -2 with it",
        "bad: the primary was worse with it on one seed: rel +1 with it",
        "odd: the primary was better with it on one seed: rel -0.1 with it",
        "one seed: no intervals and no tests, so nothing here is significant; --seeds 5 tells",
        "a remark",
    ]
    assert not any("significantly" in line for line in said)


def test_runs_that_are_not_there_are_no_evidence() -> None:
    plan = plan_of()
    finish(plan, Path("out"), {"single-task": SINGLE, "without-good": WORSE})
    Path("out/compare.json").write_text(json.dumps({**json.loads(json.dumps(_dumped(plan)))}))
    found = read_attribution("out")
    assert [(task.left_out, task.alone, task.verdict) for task in found.tasks] == [(None, None, "unknown")] * 3
    assert words(found)[1] == "good: no seed has both runs, with and without it"


def _dumped(plan: Plan) -> dict[str, object]:
    from graphnas.compare.plan import plan_to_dict

    return plan_to_dict(plan)


def test_what_is_written_is_what_was_found() -> None:
    found = attributed()
    data = json.loads(Path("out/attribution.json").read_text())
    assert data == json.loads(json.dumps(found.to_dict()))
    assert [(task["task"], task["verdict"]) for task in data["tasks"]] == [("good", "keep"), ("bad", "drop"), ("odd", "leans drop")]
    assert data["tasks"][1]["signals"]["cosine"] == -0.25
    assert data["tasks"][2]["signals"] is None
    assert data["runs"]["0"]["effects"][0]["worth"] == 6.0
    assert read_attribution("out") == found
    picture = ElementTree.parse("out/attribution.svg").getroot()
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 6
    assert {"good", "bad", "odd"} <= {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}


def test_hints_are_called_hints() -> None:
    assert signal_words(SIGNALS) == [
        "good: pulled along with the primary: cosine +0.50 on average, negative in 0 % of the measurements",
        "bad: pulled against the primary: cosine -0.25 on average, negative in 75 % of the measurements",
        "the first to try without: bad",
        "a remark",
    ]
    assert signal_rows([SIGNALS, SIGNALS])[1] == ("bad", "-0.25", "-0.5", "+0", "75 %", "2", "0.8", "-")
    assert link_rows(SIGNALS) == [("depth:act1->good:act1", "miou of good", "50", "44", "+6", "+0")]


def test_signals_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_signals(SIGNALS, tmp_path / "signals.json")
    assert load_signals(tmp_path / "signals.json") == SIGNALS
    (tmp_path / "signals.json").write_text('{"kind": "attribution", "tasks": [{"task": "a"}]}')
    assert load_signals(tmp_path / "signals.json") is None
    assert load_signals(tmp_path / "none.json") is None


def test_a_comparison_of_methods_is_no_attribution() -> None:
    plan = make_plan(write_search(Path()), read_methods(["aux-head"]), seeds=1)
    finish(plan, Path("out"), {"single-task": SINGLE, "aux-head": SINGLE})
    compare(plan, "out")
    with pytest.raises(gn.ArtifactError) as caught:
        read_attribution("out")
    assert str(caught.value) == (
        "out: a comparison of methods is there, and no attribution\n"
        "  fix: graphnas compare out goes on with it; graphnas attribute SPEC begins an attribution"
    )


@pytest.mark.nightly
def test_the_whole_way_in_processes() -> None:
    """Every run in its process; what is there is not run again, and the links of runs with all auxiliaries are measured."""
    tasks = {f"task_pair.tasks.{task}": {"type": "semantic_segmentation", "key": "seg.png", "classes": 3} for task in ("a", "b")}
    plan = plan_arms(write_search(Path(), {"task_pair.tasks.seg": None, "training.epochs": 2, **tasks}), seeds=2)
    found = attribute(plan, "out")
    assert not found.comparison.failed
    assert [row.memory_ratio is None for row in found.comparison.rows] == [not Path("/proc/self/clear_refs").exists()] * 4
    assert sorted(found.signals) == [0, 1]
    assert {effect.task for effect in found.signals[0].effects} == {"a", "b"}
    assert all(signal.cosine is not None for signals in found.signals.values() for signal in signals.tasks)
    again = attribute(plan, "out")
    assert again == found
