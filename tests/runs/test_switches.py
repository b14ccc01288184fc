"""What saves time and memory changes no result: whole runs with each switch on and off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import graphnas as gn
from graphnas.search.progress import Progress

Make = Callable[..., gn.SearchSpec]
MODEL = Path("artifact", "model.safetensors")
PLAIN = {"training.leave_out": "never", "training.cut_links": "never", "runtime.heads": "together", "runtime.memory": "normal"}
SHORT = {"training.epochs": 3, "training.updates": "alternate", "baseline": "none", "training.auxiliary_batch_size": 0}

EVERY = {"training.accumulate": 2, "training.alpha_step": {"every": 2}, "training.batch_size": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("switches")}


@pytest.fixture
def plain(runs: dict[str, Path], make_spec: Make, data: Any) -> Path:
    """A run with everything off."""
    if "plain" not in runs:
        runs["plain"] = runs["folder"] / "plain"
        gn.search(make_spec({**SHORT, **PLAIN}), data=data, out=runs["plain"])
    return runs["plain"]


@pytest.mark.parametrize(("switch", "value"), [("training.leave_out", "exact"), ("runtime.memory", "low")])
def test_bit_for_bit(switch: str, value: str, plain: Path, tmp_path: Path, make_spec: Make, data: Any) -> None:
    gn.search(make_spec({**SHORT, **PLAIN, switch: value}), data=data, out=tmp_path / "run")
    assert (tmp_path / "run" / MODEL).read_bytes() == (plain / MODEL).read_bytes()


def test_up_to_rounding(plain: Path, tmp_path: Path, make_spec: Make, data: Any) -> None:
    gn.search(make_spec({**SHORT, **PLAIN, "runtime.heads": "apart"}), data=data, out=tmp_path / "run")
    expected = load_file(plain / MODEL)
    for name, value in load_file(tmp_path / "run" / MODEL).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "more", [{}, {"runtime.memory": "low"}, {"training.leave_out": "always"}, EVERY], ids=["default", "low", "always", "every"]
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(more: dict[str, Any], tmp_path: Path, make_spec: Make, data: Any) -> None:
    class Stop(Exception):
        pass

    def watch(progress: Progress) -> None:
        if (progress.phase, progress.step, progress.line) == ("search", 3, None):
            raise Stop

    spec = make_spec({**SHORT, **more})
    gn.search(spec, data=data, out=tmp_path / "straight")
    with pytest.raises(Stop):
        gn.search(spec, data=data, out=tmp_path / "run", progress=watch)
    gn.search(spec, data=data, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()


def test_how_many_batches_an_update_takes_is_told(tmp_path: Path, make_spec: Make, data: Any) -> None:
    """Eight batches an epoch: two for the alphas, then two and two for the weights; one update more would take four."""
    result = gn.search(make_spec({**SHORT, **EVERY}), data=data, out=tmp_path / "run")
    assert result.details["primary_batches"] == 3 * 6
    with pytest.raises(gn.SpecError) as caught:
        gn.search(make_spec({**SHORT, **EVERY, "training.accumulate": 5}), data=data, out=tmp_path / "none")
    assert str(caught.value) == (
        "training.accumulate: an update takes 10 batches, and an epoch has 8 with labels of 'depth'\n"
        "  fix: a lower training.batch_size, or more labels"
    )
    assert not (tmp_path / "none").exists()


def test_a_balance_that_needs_all_losses_at_once_does_not_accumulate(make_spec: Make) -> None:
    with pytest.raises(gn.SpecError) as caught:
        make_spec({"training.accumulate": 2, "balance": "pcgrad"})
    assert str(caught.value) == (
        "training.accumulate: 'pcgrad' looks at all losses of an update at once, which come batch by batch\n"
        "  fix: balance: sum, or accumulate: 1"
    )
