"""``graphnas search``, ``prune`` and ``evaluate`` on small runs: what they print, what lies in the folder, what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from graphnas.cli.progress import shown
from graphnas.cli.search import default_folder
from graphnas.search.progress import Progress

Run = Callable[..., tuple[int, str, str]]
UNCONVERGED = ["--set", "space.links.0.gate.initial=0.5", "--set", "space.links.0.operations=[{op: conv1x1, initial: 1}]"]

RESULT = re.compile(
    r"""the primary on the test split
network       mean_angle   inference MACs   parameters   training seconds
─+
single-task +[\d.]+           87,040          549 +\d+\.\d
supernet +[\d.]+          186,880        1,206 +\d+\.\d
pruned +[\d.]+           87,040          549 +\d+\.\d

cut gap: \S+ \(mean_angle of the supernet minus that of the same network cut\)
certificate: the pruned network is the single-task network: names, shapes, operations, MACs, parameters and outputs are equal
artifact: run/artifact
"""
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_from_beginning_to_end(folder: Path, graphnas: Run, graphnas_json: Callable[..., Any]) -> None:
    status, out, err = graphnas("search", "search.yaml", "--out", "run")
    assert status == 0, err
    assert RESULT.fullmatch(out), out
    lines = err.splitlines()  # plain lines: this is no terminal
    assert lines[0].startswith("graphnas ")
    assert [line.partition(" epoch")[0] for line in lines if " epoch " in line] == ["single-task", "search"]
    assert {"spec.json", "metrics.jsonl", "results.json", "artifact/model.safetensors", "artifact/certificate.json"} <= files(
        Path("run")
    ).keys()

    before = files(Path("run"))
    assert graphnas("search", "search.yaml", "--out", "run") == (
        2,
        "",
        "run: a run is there already\n  fix: --resume goes on with it, --overwrite replaces it, or choose another --out\n",
    )
    assert files(Path("run")) == before

    again = graphnas("search", "search.yaml", "--out", "run", "--resume")
    assert (again[0], again[1]) == (0, out)

    said = graphnas_json("search", "search.yaml", "--out", "run", "--overwrite")
    assert [row["name"] for row in said["rows"]] == ["single-task", "supernet", "pruned"]
    assert (said["artifact"], said["certificate"]["holds"]) == ("run/artifact", True)

    status, table, _ = graphnas("prune", "run")
    assert (status, bool(RESULT.fullmatch(table))) == (0, True), table

    status, table, _ = graphnas("evaluate", "run")
    assert (status, table.splitlines()[0]) == (0, "normals on the test split (4 samples)")
    found = graphnas_json("evaluate", "run/artifact")
    pruned = next(row for row in said["rows"] if row["name"] == "pruned")
    assert found["metrics"] == pytest.approx(pruned["metrics"])
    assert (found["task"], found["split"], found["samples"]) == ("normals", "test", 4)
    assert graphnas_json("evaluate", "run", "--split", "training")["samples"] == 12
    assert graphnas_json("evaluate", "run", "--task-pair", "pair.yaml")["metrics"] == found["metrics"]

    Image.new("RGB", (16, 16), "gray").save("room.png")
    status, table, _ = graphnas("predict", "run", "room.png")
    assert status == 0
    assert table == "normals, in predictions\nimage      prediction\n" + 45 * "─" + "\nroom.png   room.normals.npy, room.normals.png\n"
    [found] = graphnas_json("predict", "run/artifact", "room.png", "--out", "said")
    assert (found["shape"], found["files"]) == ([3, 16, 16], ["said/room.normals.npy", "said/room.normals.png"])
    assert all(Path(file).exists() for file in found["files"])


def test_links_that_have_not_converged_are_refused_unless_forced(folder: Path, graphnas: Run) -> None:
    status, out, err = graphnas("search", "search.yaml", *UNCONVERGED, "--out", "run")
    assert (status, out) == (2, "")
    assert "links[0].converges_to: 2 of 2 links have not converged to zero: " in err
    assert not Path("run", "artifact").exists()
    assert graphnas("prune", "run")[0] == 2
    status, out, err = graphnas("prune", "run", "--force")
    assert status == 0, err
    assert "\nforced: 2 links were cut that had not all converged to zero; the largest contributed 0." in out
    assert json.loads(Path("run/artifact/certificate.json").read_text())["forced"] is True


def test_a_run_that_fails_exits_with_1(folder: Path, graphnas: Run) -> None:
    status, out, err = graphnas("search", "search.yaml", "--out", "run", "--set", "training.optimizers.weights.lr=1e30")
    assert (status, out) == (1, "")
    assert "\nsingle-task, step 2: the loss of 'normals' is nan on rooms/" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "pair.yaml"], "pair.yaml:1:7: kind: a search is expected, this is a task_pair\n  fix: name a file of kind: search\n"),
        (["search"], "graphnas search: SPEC is missing\n  fix: graphnas search --help\n"),
        (
            ["search", "search.yaml", "--out", "run", "--resume", "--overwrite"],
            "run: resume and overwrite can't both be meant\n  fix: --resume goes on, --overwrite starts again\n",
        ),
        (["search", "search.yaml", "--out", "run", "--resume"], "run: there is no run to go on with\n  fix: leave --resume out\n"),
        (
            ["search", "search.yaml", "--out", "pair.yaml"],
            "pair.yaml: a file is there, a run needs a folder\n  fix: choose another --out\n",
        ),
        (["prune", "nowhere"], "nowhere: no run is there: spec.json is missing\n  fix: name the folder of a run\n"),
        (["prune", "--frce", "run"], "graphnas prune: unknown option '--frce'\n  fix: did you mean '--force'?\n"),
        (["evaluate", "nowhere"], "nowhere: there is no such folder\n  fix: name the folder of a run or of an artifact\n"),
        (
            ["evaluate", "."],
            ".: this artifact lies outside its run's folder, so its data are not known\n"
            "  fix: name the task pair: --task-pair SPEC (from Python: task_pair=...)\n",
        ),
        (["evaluate", "run", "--split", "tst"], "graphnas evaluate: unknown split 'tst'\n  fix: did you mean 'test'?\n"),
    ],
)
def test_refusals(arguments: list[str], message: str, folder: Path, graphnas: Run) -> None:
    assert graphnas(*arguments) == (2, "", message)
    assert not Path("run").exists()


def test_the_default_folder_is_called_after_the_spec(folder: Path) -> None:
    assert default_folder("rooms.yaml") == Path("runs/rooms")
    assert default_folder("examples/quickstart/search.yaml") == Path("runs/quickstart")
    assert default_folder("search.yaml") == Path("runs", folder.name)


def test_progress_without_a_terminal_is_the_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as report:
        report(Progress("search", 1, 2))
        report(Progress("search", 2, 2, "search [2/2]: loss 0.1"))
    assert capsys.readouterr() == ("", "search [2/2]: loss 0.1\n")


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with shown() as report:
        report(Progress("single-task", 1, 2))
        report(Progress("search", 2, 4, "search [2/4]: loss 0.1"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "search [2/4]: loss 0.1" in err
    assert "single-task" in err
    assert "2/4" in err
