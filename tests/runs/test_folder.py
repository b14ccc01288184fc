"""When a run folder is made, taken, replaced or refused; a refusal leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.errors import GraphNASError

Make = Callable[..., gn.SearchSpec]


def run_folder(path: Path, spec: gn.SearchSpec) -> Path:
    """As of a run that was stopped at once, with a file of the user's own beside."""
    from graphnas.runs.folder import open_folder

    open_folder(path, spec, resume=False, overwrite=False)
    (path / "metrics.jsonl").write_text("{}\n")
    (path / "notes.txt").write_text("mine")
    return path


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("run", {}, "{out}: a run is there already\n  fix: --resume goes on with it, --overwrite replaces it, or choose another --out"),
        ("other", {}, "{out}: the folder is not empty, and holds no run\n  fix: choose another --out"),
        ("other", {"overwrite": True}, "{out}: the folder is not empty, and holds no run\n  fix: choose another --out"),
        ("other", {"resume": True}, "{out}: no run is there: spec.json is missing\n  fix: name the folder of a run"),
        ("empty", {"resume": True}, "{out}: there is no run to go on with\n  fix: leave --resume out"),
        ("nothing", {"resume": True}, "{out}: there is no run to go on with\n  fix: leave --resume out"),
        ("file", {}, "{out}: a file is there, a run needs a folder\n  fix: choose another --out"),
        ("foreign", {"overwrite": True}, "{out}/spec.json: not the spec of a run\n  fix: name the folder of a run"),
        (
            "run",
            {"overwrite": True, "resume": True},
            "{out}: resume and overwrite can't both be meant\n  fix: --resume goes on, --overwrite starts again",
        ),
    ],
)
def test_a_folder_that_is_refused_is_left_as_it_was(
    kind: str, options: dict[str, Any], message: str, tmp_path: Path, make_spec: Make, data: Any
) -> None:
    out = tmp_path / "out"
    if kind == "run":
        run_folder(out, make_spec())
    elif kind == "file":
        out.write_text("mine")
    elif kind != "nothing":
        out.mkdir()
        if kind == "other":
            (out / "notes.txt").write_text("mine")
        if kind == "foreign":
            (out / "spec.json").write_text('{"kind": "artifact"}')
    before = content(tmp_path)
    with pytest.raises(GraphNASError) as caught:
        gn.search(make_spec(), data=data, out=out, **options)
    assert str(caught.value) == message.replace("{out}", str(out))
    assert caught.value.exit_status == 2
    assert content(tmp_path) == before


def test_a_spec_that_is_wrong_leaves_the_run_that_would_be_overwritten(tmp_path: Path, make_spec: Make, data: Any) -> None:
    out = run_folder(tmp_path / "out", make_spec())
    before = content(out)
    with pytest.raises(GraphNASError):
        gn.search(make_spec({"training.optimizers.alphas": None}), data=data, out=out, overwrite=True)
    assert content(out) == before


def test_overwriting_removes_the_run_and_nothing_else(tmp_path: Path, make_spec: Make, data: Any) -> None:
    out = run_folder(tmp_path / "out", make_spec())
    gn.search(make_spec({"training.epochs": 1, "training.select": "last", "space.links": []}), data=data, out=out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "results.json").exists()
    assert "{}" not in (out / "metrics.jsonl").read_text().splitlines()
