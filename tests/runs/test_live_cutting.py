"""Links that are cut while a search goes on: the same artifact, a log that says so, and a resume that ends the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.search.progress import Progress
from tests.runs.conftest import Stop, stop_at

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]
MODEL = Path("artifact", "model.safetensors")
CUT = {"training.epochs": 5, "training.cut_links": {"patience": 1}, "baseline": "none"}
STOPS = [("search", step) for step in (7, 13, 17)]


def searched(spec: gn.SearchSpec, data: Any, out: Path, **more: Any) -> list[str]:
    lines: list[str] = []

    def watch(progress: Progress) -> None:
        lines.extend([progress.line] if progress.line is not None else [])

    gn.search(spec, data=data, out=out, progress=watch, **more)
    return lines


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("live")}


@pytest.fixture
def cut(runs: dict[str, Any], make_spec: Make, data: Any) -> tuple[Path, list[str]]:
    """A run whose links are cut as they die, and its lines."""
    if "lines" not in runs:
        runs["lines"] = searched(make_spec(CUT), data, runs["folder"] / "cut")
    return runs["folder"] / "cut", runs["lines"]


def of_search(rows: list[dict[str, Any]], task: str = "depth") -> list[dict[str, Any]]:
    return [row for row in rows if row["phase"] == "search" and row["task"] == task and row["split"] == "validation"]


def test_the_log_says_when_links_were_cut(cut: tuple[Path, list[str]], metrics: Rows) -> None:
    run, lines = cut
    rows = of_search(metrics(run))
    counts = [row["links_cut"] for row in rows]
    zero = [row["gates"]["a2p"] == 0.0 for row in rows]
    assert counts == [2 if is_zero else count for count, is_zero in zip(counts, zero, strict=True)]
    assert counts[-1] == 2
    step = rows[counts.index(2)]["step"]
    said = [line for line in lines if ": cut " in line]
    assert said[-1].startswith(f"search, step {step}: cut ")
    assert said[-1].endswith("exactly zero at the end of an epoch; none of 2 that converge to zero is left")
    assert [row["cut_gap"] for row in rows if row["links_cut"] == 2] == [0.0] * counts.count(2)


def test_the_end_is_that_of_a_run_that_cuts_nothing(
    cut: tuple[Path, list[str]], tmp_path: Path, make_spec: Make, data: Any, metrics: Rows
) -> None:
    run, _ = cut
    gn.search(make_spec({**CUT, "training.cut_links": "never"}), data=data, out=tmp_path / "never")
    assert (tmp_path / "never" / MODEL).read_bytes() == (run / MODEL).read_bytes()
    without = [{name: value for name, value in row.items() if name != "links_cut"} for row in metrics(tmp_path / "never")]
    assert [{name: value for name, value in row.items() if name != "links_cut"} for row in metrics(run)] == without
    details, other = (json.loads((path / "results.json").read_text()) for path in (run, tmp_path / "never"))
    for name in ("cut_gap", "certificate", "auxiliaries", "selected"):
        assert details[name] == other[name]
    assert [(row["metrics"], row["macs"], row["parameters"]) for row in details["rows"]] == [
        (row["metrics"], row["macs"], row["parameters"]) for row in other["rows"]
    ]


@pytest.mark.parametrize("stop", STOPS)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    stop: tuple[str, int], cut: tuple[Path, list[str]], tmp_path: Path, make_spec: Make, data: Any, metrics: Rows
) -> None:
    run, _ = cut

    with pytest.raises(Stop):
        gn.search(make_spec(CUT), data=data, out=tmp_path / "run", progress=stop_at(*stop))
    gn.search(make_spec(CUT), data=data, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / MODEL).read_bytes() == (run / MODEL).read_bytes()
    assert metrics(tmp_path / "run") == metrics(run)
    for name in ("cut_gap", "selected"):
        assert json.loads((tmp_path / "run" / "results.json").read_text())[name] == json.loads((run / "results.json").read_text())[name]


def test_patience_counts_epochs_under_the_penalty(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    """Gates that start at zero are left alone until the ramp begins, at two fifths of five epochs."""
    space = make_spec().model_dump(mode="json", exclude_unset=True)["space"]
    space["links"][0]["gate"]["initial"] = 0
    space["links"][0]["operations"] = [{"op": "conv1x1", "initial": 0}]
    space["links"][0]["penalty"]["ramp"] = [0.4, 0.6]
    for patience, expected in ((1, [0, 0, 2, 2, 2]), (2, [0, 0, 0, 2, 2])):
        out = tmp_path / str(patience)
        gn.search(make_spec({**CUT, "training.cut_links": {"patience": patience}, "space": space}), data=data, out=out)
        assert [row["links_cut"] for row in of_search(metrics(out))] == expected


def test_what_is_selected_before_links_were_cut_is_judged_with_them(tmp_path: Path, make_spec: Make, data: Any) -> None:
    """The best state may be one in which links were still there: the cut gap of the table is that state's."""
    changes = {**CUT, "training.select": {"metric": "rel", "after": 0.0}}
    first, second = tmp_path / "cut", tmp_path / "never"
    gn.search(make_spec({**changes, "training.optimizers.weights": {"type": "sgd", "lr": 1e-9}}), data=data, out=first)
    gn.search(
        make_spec({**changes, "training.cut_links": "never", "training.optimizers.weights": {"type": "sgd", "lr": 1e-9}}),
        data=data,
        out=second,
    )
    details, other = (json.loads((path / "results.json").read_text()) for path in (first, second))
    assert details["selected"]["epoch"] < 5
    assert (details["cut_gap"], details["selected"], details["certificate"]) == (other["cut_gap"], other["selected"], other["certificate"])
