"""A primary that goes on alone once its auxiliaries weigh nothing: when, what is left, and a resume that ends the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.data import Data
from graphnas.search.progress import Progress
from tests.runs.conftest import Stop, stop_at

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]
MODEL = Path("artifact", "model.safetensors")
FADING = {"balance": {"type": "label_ratio", "until": 0.5}, "training.epochs": 6, "training.cut_links": {"patience": 1}, "baseline": "none"}


def searched(spec: gn.SearchSpec, data: Any, out: Path) -> list[str]:
    """The lines that say that the primary goes on alone."""
    lines: list[str] = []

    def watch(progress: Progress) -> None:
        lines.extend([progress.line] if progress.line is not None and "goes on alone" in progress.line else [])

    gn.search(spec, data=data, out=out, progress=watch)
    return lines


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The auxiliary batch size of every epoch of training."""
    sizes: list[int] = []
    original = Data.training

    def training(self: Data, *args: Any, **kwargs: Any) -> Any:
        sizes.append(kwargs["auxiliary_batch_size"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Data, "training", training)
    return sizes


@pytest.mark.parametrize("updates", ["joint", "alternate"])
def test_the_primary_goes_on_alone_when_nothing_else_counts(
    updates: str, tmp_path: Path, make_spec: Make, data: Any, metrics: Rows, drawn: list[int]
) -> None:
    lines = searched(make_spec({**FADING, "training.updates": updates}), data, tmp_path / "run")
    rows = [row for row in metrics(tmp_path / "run") if row["phase"] == "search"]
    steps = sorted({row["step"] for row in rows})
    cut = min(row["step"] for row in rows if row["links_cut"] == 2)
    start = min(step for step in steps if step >= cut and step >= 0.5 * steps[-1])
    assert lines == [f"search, step {start}: auxiliaries weigh nothing from here on and no link leads into 'depth': it goes on alone"]
    with_auxiliary = {row["step"] for row in rows if row["task"] == "seg" and row["split"] == "training"}
    assert with_auxiliary == {step for step in steps if step <= start}
    assert {row["step"] for row in rows if row["task"] == "depth" and row["split"] == "training"} == set(steps)
    left = len(steps) - steps.index(start) - 1
    assert [row["cut_gap"] for row in rows if row["step"] > start and row["split"] == "validation"] == [0.0] * left
    assert drawn == [2] * (len(steps) - left) + [0] * left


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"balance.until": 1}, "a weight is above zero up to the last step"),
        ({"balance": "sum"}, "weights are constant"),
        ({"training.finish_alone": False}, "it is not wanted"),
        ({"training.cut_links": "never"}, "links lead into the primary"),
    ],
)
def test_it_does_not_while_anything_counts(
    changes: dict[str, Any], why: str, tmp_path: Path, make_spec: Make, data: Any, metrics: Rows, drawn: list[int]
) -> None:
    assert searched(make_spec({**FADING, **changes}), data, tmp_path / "run") == [], why
    assert drawn == [2] * 6
    assert {row["step"] for row in metrics(tmp_path / "run") if row["task"] == "seg"} == {row["step"] for row in metrics(tmp_path / "run")}


def test_a_weight_that_is_zero_from_the_start_is_a_single_task(tmp_path: Path, make_spec: Make, data: Any, drawn: list[int]) -> None:
    nothing = {"space": "aux-g-layer", "balance": {"type": "sum", "weights": {"seg": 0}}, "baseline": "none"}
    lines = searched(make_spec(nothing), data, tmp_path / "run")
    assert lines == ["search, step 4: auxiliaries weigh nothing from here on and no link leads into 'depth': it goes on alone"]
    assert drawn == [2, 0, 0, 0]


@pytest.mark.parametrize("step", [5, 11, 14, 21, 23])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(step: int, tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    spec = make_spec({**FADING, "runtime.checkpoint_every": {"steps": 1}})
    searched(spec, data, tmp_path / "straight")

    with pytest.raises(Stop):
        gn.search(spec, data=data, out=tmp_path / "run", progress=stop_at("search", step))
    gn.search(spec, data=data, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")
