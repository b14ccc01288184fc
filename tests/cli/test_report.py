"""``graphnas report``, and the page at the end of a search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_a_search_ends_with_a_page_and_report_writes_it_again(folder: Path, graphnas: Run) -> None:
    status, _, err = graphnas("search", "search.yaml", "--out", "run", "--set", "training.steps=1")
    assert status == 0, err
    page = Path("run/report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert graphnas("report", "run", "--out", "page.html") == (0, "report: page.html\n", "")
    assert Path("page.html").read_text() == page
    assert graphnas("report", "run", "--json")[1] == '{\n  "report": "run/report.html"\n}\n'


def test_a_run_that_is_pruned_again_has_its_page_again(folder: Path, graphnas: Run) -> None:
    assert graphnas("search", "search.yaml", "--out", "run", "--set", "training.steps=1", "--set", "baseline=none")[0] == 0
    page = Path("run/report.html").read_text()
    Path("run/report.html").unlink()
    status, _, err = graphnas("prune", "run", "--force")
    assert status == 0, err
    assert Path("run/report.html").read_text() == page


def test_a_folder_of_nothing_is_refused(folder: Path, graphnas: Run) -> None:
    message = (
        "gone: neither a run nor a comparison is there: spec.json and compare.json are missing\n"
        "  fix: name the folder of a run or of a comparison\n"
    )
    assert graphnas("report", "gone") == (2, "", message)
