"""The page of a comparison: the words, tables and plot that compare has, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphnas.compare import Plan, compare, make_plan, read, read_methods, read_vary
from graphnas.compare.plan import plan_to_dict
from graphnas.compare.tables import words
from graphnas.report import write_report
from tests.compare.conftest import finish, write_search
from tests.report.conftest import TEXT, Page

SINGLE = {0: 10.0, 1: 12.0, 2: 11.0}
BETTER = {0: 8.0, 1: 9.9, 2: 9.1}


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_search(tmp_path)
    monkeypatch.chdir(tmp_path)


def begun(plan: Plan) -> None:
    Path("out/compare.json").write_text(json.dumps(plan_to_dict(plan)))


def test_it_is_what_compare_found() -> None:
    plan = make_plan("search.json", read_methods(["./toy-space.json"]), seeds=3)
    finish(plan, Path("out"), {"single-task": SINGLE, "toy-space": BETTER}, {"toy-space": 25.0}, {"single-task": 400, "toy-space": 700})
    found = compare(plan, "out")
    assert read("out") == found
    page = Page(write_report("out").read_text())
    assert [said for said in words(found) if said in page.words] == words(found)
    heading, single, toy = page.table("depth, on the test split")
    assert heading == [
        "method",
        "seeds",
        "rel (lower is better)",
        "difference",
        "p",
        "delta %",
        "wins",
        "cut gap",
        "MACs",
        "time",
        "memory",
    ]
    assert single[:3] == ["single-task", "3", "11 ± 2.5"]
    assert toy == ["toy-space", "3", "9 ± 2.4", "-2 ± 0.25", "< 0.001", "+18.2", "3/3", "0.25", "1.00", "2.50", "1.75"]
    assert page.table("difference to the single task in rel (lower is better), seed by seed")[1] == ["toy-space", "-2", "-2.1", "-1.9"]
    [plot] = page.plots()
    assert plot.findtext("{*}title") == "depth: rel minus that of the single task"
    assert plot.find("{*}defs") is None  # the page has the style
    assert (page.open, "script" in page.tags) == ([], False)


def test_what_failed_and_what_is_not_finished_is_told() -> None:
    plan = make_plan("search.json", read_methods(["aux-head"]), seeds=3)
    finish(plan, Path("out"), {"single-task": SINGLE, "aux-head": {0: 11.0}})
    begun(plan)
    Path("out/cells/aux-head/seed-1.failed.json").write_text(
        json.dumps({"message": "the loss of 'seg' is nan <here>\n  fix: a smaller lr"})
    )
    page = Page(write_report("out").read_text())
    assert page.table("depth, on the test split")[2][:2] == ["aux-head", "1/3"]
    assert page.table("cells without a result, and why")[1] == ["aux-head, seed 1", "the loss of 'seg' is nan <here>\n  fix: a smaller lr"]
    assert "failed, and not in the table: aux-head, seed 1: the loss of 'seg' is nan <here>" in page.words
    assert "1 of 6 cells are not finished: graphnas compare out goes on." in page.words
    assert "aux-head, seed 2" in page.words


def test_a_comparison_of_which_nothing_is_finished() -> None:
    plan = make_plan("search.json", read_methods(["aux-head"]), seeds=1)
    Path("out").mkdir()
    begun(plan)
    page = Page(write_report("out").read_text())
    assert "No run is finished yet." in page.words
    assert page.plots() == []


def test_curves_have_every_method_and_value() -> None:
    plan = make_plan("search.json", read_methods(["aux-head"]), seeds=2, vary=read_vary(["balance.weights.seg=0,1,10"]))
    finish(plan, Path("out"), {variant.name: {0: 1.0, 1: 2.0 + len(variant.name)} for variant in plan.variants})
    begun(plan)
    page = Page(write_report("out").read_text())
    [plot] = page.plots()
    assert plot.findtext("{*}title") == "depth: rel over balance.weights.seg"
    assert {text.text for text in plot.iter(TEXT)} >= {"0", "1", "10", "single-task", "aux-head"}
    assert len(page.table("depth, on the test split")) == 1 + 6
