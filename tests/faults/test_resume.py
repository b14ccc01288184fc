"""A run that dies within an epoch and goes on is, bit for bit, the run that never died: with everything that has a state of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import graphnas as gn
from graphnas.registry import balances
from graphnas.search.progress import Progress
from tests.faults.conftest import SpecMaker, injected
from tests.runs.conftest import SPACE

WALL_CLOCK = frozenset({"seconds", "train_seconds", "total_seconds", "log_bytes"})  # log_bytes: how long the seconds are in digits
LINKS = [
    SPACE["links"][0],
    {
        "direction": "primary -> auxiliary",
        "operations": [{"op": "conv1x1", "initial": 1}, "identity", "none"],
        "gate": {"function": "gumbel", "temperature": 2},
        "converges_to": "free",
    },
]


class PowerOff(Exception):
    """The run ends here."""


def off_at(phase: str, step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if (progress.phase, progress.step, progress.line) == (phase, step, None):
            raise PowerOff

    return watch


def untimed(value: Any) -> Any:
    """Plain data without what a clock says."""
    if isinstance(value, dict):
        return {name: untimed(part) for name, part in value.items() if name not in WALL_CLOCK}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def everything(run: Path) -> dict[str, Any]:
    """The content of a finished run: its logs, what is saved of every phase, its artifact."""
    found: dict[str, Any] = {}
    for log in sorted(run.glob("*.jsonl")):  # the header of gates.jsonl comes again in a process that goes on
        found[log.name] = [untimed(row) for line in log.read_text().splitlines() if "links" not in (row := json.loads(line))]
    for file in sorted((run / "phases").glob("*.json")):
        if not file.stem.endswith(".previous"):
            found[file.name] = untimed(json.loads(file.read_text())["values"])
            tensors = safetensors.torch.load_file(file.with_suffix(".safetensors"))
            found |= {f"{file.stem}/{name}": tensor for name, tensor in tensors.items()}
    return found | {file.name: file.read_bytes() for file in (run / "artifact").iterdir()}


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = everything(one), everything(other)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value) if isinstance(value, torch.Tensor) else ours[name] == value, name


@pytest.fixture
def dies(tmp_path: Path, make_spec: SpecMaker, data: Any) -> Callable[..., None]:
    """Runs a search straight, and once more with a death at each of these places; the two must be the same."""

    def check(changes: dict[str, Any], *places: tuple[str, int]) -> None:
        epochs = 4 if changes.get("training.updates") == "alternate" else 2  # 8 updates
        spec = make_spec({"runtime.checkpoint_every": {"steps": 3}, "training.epochs": epochs, **changes})
        gn.search(spec, data=data, out=tmp_path / "straight")
        for number, (phase, step) in enumerate(places):
            with pytest.raises(PowerOff):
                gn.search(spec, data=data, out=tmp_path / "run", resume=number > 0, progress=off_at(phase, step))
        gn.search(spec, data=data, out=tmp_path / "run", resume=True)
        assert_same(tmp_path / "run", tmp_path / "straight")

    return check


EVERY_PHASE = {
    "baseline": "single-task",
    "start_from": "single-task",
    "training.finetune": {"epochs": 2, "optimizer": {"type": "adamw", "lr": 1e-3}},
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("a scaler, alternate", {"runtime.precision": "float16", "training.updates": "alternate"}),
        ("bfloat16, joint", {"runtime.precision": "bfloat16"}),
        ("momentum, checkpoints by the minute", {
            "training.optimizers.weights": {"type": "sgd", "lr": 0.01, "momentum": 0.9, "schedule": "poly"},
            "runtime.checkpoint_every": {"minutes": 1e-9},
        }),
        ("checkpoints by the epoch", {"runtime.checkpoint_every": {"epochs": 1}, "training.updates": "alternate"}),
        ("gates that are drawn", {"space.links": LINKS, "training.updates": "alternate"}),
        ("a balance, gradients that are logged", {"balance": "dwa", "training.clip_gradient": 1, "runtime.log_gradients": {"steps": 2}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_within_an_epoch(name: str, changes: dict[str, Any], dies: Callable[..., None]) -> None:
    with injected("the power goes off within an epoch"):
        dies(changes, ("search", 5), ("search", 6))


def test_in_every_phase(dies: Callable[..., None]) -> None:
    """The single tasks, the search, and the finetuning of both."""
    phases = ["single-task", "single-task-finetune", "single-task-seg", "search", "finetune"]
    with injected("the power goes off within every phase"):
        dies(EVERY_PHASE, *((phase, 5) for phase in phases))


@pytest.mark.slow
def test_with_processes_that_load(dies: Callable[..., None]) -> None:
    with injected("the power goes off while processes load"):
        dies({"runtime.workers": 2, "training.updates": "alternate"}, ("search", 5))


@pytest.mark.nightly
@pytest.mark.parametrize("updates", ["alternate", "joint"])
@pytest.mark.parametrize("name", balances.names())
def test_every_balance(name: str, updates: str, dies: Callable[..., None]) -> None:
    with injected("the power goes off: every balance"):
        dies({"balance": name, "training.updates": updates}, ("search", 5))
