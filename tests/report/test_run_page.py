"""The page of a run: all of it is there, with units and directions, and nothing comes from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import graphnas as gn
from graphnas.report import write_report
from tests.report.conftest import PATH, TEXT, Page


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text())


def test_a_page_needs_nothing_else(run: Path) -> None:
    page = page_of(run)
    assert page.open == []  # every element was closed, in order
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert "@import" not in page.text
    assert "url(" not in page.text
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("content", policy) in page.attributes
    assert "@media (prefers-color-scheme:dark)" in page.text
    assert page.tags.count("h1") == 1


def test_it_says_what_was_trained_and_what_came_out(run: Path) -> None:
    page = page_of(run)
    about = dict(page.table("what was trained"))
    assert about["primary"] == "depth (depth)"
    assert about["auxiliaries"] == "seg (semantic_segmentation)"
    assert (about["seed"], about["state"]) == ("0", "finished")
    assert "torch" in about["versions"]
    results = json.loads((run / "results.json").read_text())
    heading, *rows = page.table("the primary on the test split")
    assert heading[:3] == ["network", "rel (lower is better)", "abs (m, lower is better)"]
    assert [row[0] for row in rows] == ["single-task", "supernet", "pruned"]
    assert [row[1] for row in rows] == [f"{row['metrics']['rel']:.4g}" for row in results["rows"]]
    single, pruned = (results["rows"][index]["metrics"]["rel"] for index in (0, 2))
    [said] = [words for words in page.words if words.startswith("The network that is shipped")]
    word = "better" if pruned < single else "worse"
    assert said == (
        f"The network that is shipped reaches rel {pruned:.4g} (lower is better), {word} than the single task by "
        f"{abs(pruned - single):.4g} ({100 * abs(pruned - single) / single:.3g} %). "
        "One seed can't tell a gain from chance: graphnas compare runs several."
    )
    assert "The pruned network is exactly the single-task network." in page.words
    assert dict(page.table("CPU, eval mode, float32"))["operations equal"] == "yes"


def test_every_plot_is_well_formed_named_and_drawn(run: Path) -> None:
    titles = {plot.findtext("{*}title"): plot for plot in page_of(run).plots()}
    wanted = {
        "depth: loss", "depth: rel", "depth: delta1 in %", "seg: loss", "seg: miou in %", "cut gap", "mean gate of each direction",
        "search: gate of each link", "seg and the primary: cosine of the gradients",
    }  # fmt: skip
    assert wanted <= titles.keys()
    assert all(plot.get("role") == "img" for plot in titles.values())
    curves = [path.findtext("{*}title") for path in titles["depth: rel"].iter(PATH)]
    assert [name for name in curves if name] == ["single-task", "search", "search, links cut"]
    words = [text.text for text in titles["depth: delta1 in %"].iter(TEXT)]
    assert "validation; higher is better" in words
    links = [path.findtext("{*}title") for path in titles["search: gate of each link"].iter(PATH)]
    assert {"seg:act1->depth:act1", "depth:act2->seg:act2"} <= set(links)


def test_links_are_listed_with_their_gates(run: Path) -> None:
    heading, *rows = page_of(run).table("links of search, the largest last gate first")
    assert heading == ["link", "direction", "candidates", "first gate", "last gate"]
    assert {row[1] for row in rows} == {"auxiliary to primary", "primary to auxiliary"}
    assert rows[0][0].startswith("depth:act")
    assert {row[2] for row in rows} == {"conv1x1"}


def test_a_run_that_is_not_finished_has_a_page(copy: Path) -> None:
    (copy / "results.json").unlink()
    (copy / "gates.jsonl").unlink()
    with (copy / "metrics.jsonl").open("a") as stream:
        stream.write('{"phase": "search", "ep')  # it is being written
    page = page_of(copy)
    assert dict(page.table("what was trained"))["state"] == "not finished: search, epoch 3"
    assert "The run is not finished: there is no result yet." in page.words
    assert "search: gate of each link" not in [plot.findtext("{*}title") for plot in page.plots()]


def test_what_a_user_named_is_text(copy: Path) -> None:
    evil = "<script>alert(1)</script>&\"'"
    text = (copy / "spec.json").read_text().replace('"description": ""', f'"description": {json.dumps("</pre>" + evil)}', 1)
    assert evil[:8] in text
    (copy / "spec.json").write_text(text)
    for name in ("gates.jsonl", "metrics.jsonl"):
        changed = (copy / name).read_text().replace('"search"', json.dumps(evil)).replace("seg:act1->", json.dumps(evil)[1:-1])
        (copy / name).write_text(changed)
    page = page_of(copy)
    assert "script" not in page.tags
    assert page.open == []
    assert [plot.findtext("{*}title") for plot in page.plots()].count(f"{evil}: gate of each link") == 1


def test_a_metric_that_was_never_finite_is_a_dash(copy: Path) -> None:
    results = json.loads((copy / "results.json").read_text())
    results["rows"][2]["metrics"]["rel"] = None
    (copy / "results.json").write_text(json.dumps(results))
    page = page_of(copy)
    assert page.table("the primary on the test split")[3][1] == "–"
    assert "There was no data to measure the pruned network on." in page.words


def test_the_page_goes_where_it_is_wanted(run: Path, tmp_path: Path) -> None:
    assert write_report(run, tmp_path / "page.html") == tmp_path / "page.html"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def refused(*arguments: Path) -> str:
    with pytest.raises(gn.GraphNASError) as caught:
        write_report(*arguments)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_refusals(copy: Path, tmp_path: Path) -> None:
    neither = "neither a run nor a comparison is there: spec.json and compare.json are missing"
    assert refused(tmp_path) == f"{tmp_path}: {neither}\n  fix: name the folder of a run or of a comparison"
    assert (
        refused(copy, tmp_path / "no" / "page.html") == f"{tmp_path}/no/page.html: its folder does not exist\n  fix: choose another --out"
    )
    metrics = (copy / "metrics.jsonl").read_text()
    (copy / "metrics.jsonl").write_text("{}\n" + metrics)
    fix = "remove the line, or put a copy of the file back"
    assert refused(copy) == f"{copy}/metrics.jsonl:1: not a row of metrics\n  fix: {fix}"
    (copy / "metrics.jsonl").unlink()
    assert refused(copy) == (
        f"{copy}: nothing was trained there yet: metrics.jsonl is empty or missing\n"
        f"  fix: graphnas search {copy}/spec.json --out {copy} --resume"
    )
    (copy / "metrics.jsonl").write_text(metrics)
    (copy / "results.json").write_text("{")
    said = "not readable: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    assert refused(copy) == f"{copy}/results.json: {said}\n  fix: graphnas prune {copy} writes it again"
