"""Epochs, evaluation, selection, logging; and going on from a checkpoint bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.errors import ArtifactError, RunError
from graphnas.search.budget import budget
from graphnas.search.checkpoint import logged_bytes
from graphnas.search.log import MetricsLog
from graphnas.search.loop import Loop, Phase, Surroundings, due
from graphnas.search.progress import Progress
from graphnas.search.validation import Validation
from graphnas.spec.search import Every, Schedule


@dataclass
class Trial:
    """One phase over toy data in a folder, run from what the folder holds."""

    folder: Path
    toy: Callable[..., Any]
    data: Any
    updates: str = "alternate"
    epochs: int = 4
    optimizer: str = "AdamW"
    after: float | None = 0.5
    checkpoint_every: Every = Every(epochs=1)  # noqa: RUF009  # frozen
    evaluate_every: Every = Every(epochs=1)  # noqa: RUF009
    balance: str = "sum"

    def run(self) -> tuple[dict[str, Tensor], Loop]:
        """The weights at the end."""
        net, learner = self.toy(rate=0.01, alpha_rate=0.02, optimizer=self.optimizer, dropout=0.5, balance=self.balance)
        self.net = net
        self.lines: list[str] = []
        self.events: list[tuple[int, int]] = []
        cpu = learner.precision
        validation = Validation(net, None, learner.tasks, "p", self.data, 2, 0, cpu, "square", "min", self.after)
        alternating = self.updates == "alternate"
        phase = Phase(
            name="search",
            learner=learner,
            budget=budget(4, epochs=self.epochs, steps=None, alternating=alternating),
            batch_size=2,
            auxiliary_batch_size=0,
            weights_schedule=Schedule(type="cosine"),
            alphas_schedule=Schedule(type="poly"),
            validation=validation,
            evaluate_every=self.evaluate_every,
            gates=lambda: {"p2a": float(net.alpha.detach())},
        )
        (self.folder / "phases").mkdir(parents=True, exist_ok=True)
        with MetricsLog(self.folder, logged_bytes(self.folder / "checkpoint", self.folder / "phases") or 0) as log:
            loop = Loop(
                phase,
                Surroundings(self.data, 0, 5, self.folder / "checkpoint", self.folder / "phases", self.checkpoint_every, log, self.watch),
            )
            loop.run()
        return {name: tensor.clone() for name, tensor in net.state_dict().items()}, loop

    def watch(self, progress: Progress) -> None:
        self.events.append((progress.step, progress.steps))
        if progress.line is not None:
            self.lines.append(progress.line)

    def metrics(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("updates", ["joint", "alternate"])
@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
@pytest.mark.parametrize(
    ("fail_at", "every"), [((2, 0), Every(epochs=1)), ((2, 1), Every(epochs=1)), ((3, 1), Every(steps=1)), ((0, 1), Every(epochs=2))]
)
def test_a_run_that_was_interrupted_ends_bit_for_bit_as_one_that_was_not(
    updates: str, optimizer: str, fail_at: tuple[int, int], every: Every, tmp_path: Path, toy: Any, toy_data: Any
) -> None:
    straight = Trial(tmp_path / "straight", toy, toy_data(), updates, optimizer=optimizer, checkpoint_every=every)
    expected, _ = straight.run()
    broken = Trial(tmp_path / "broken", toy, toy_data(fail_at=fail_at), updates, optimizer=optimizer, checkpoint_every=every)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    torch.manual_seed(99)
    broken.data = toy_data()
    found, _ = broken.run()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert broken.metrics() == straight.metrics()


def test_the_same_seed_gives_the_same_run(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    first, second = (Trial(tmp_path / name, toy, toy_data()) for name in "ab")
    one, _ = first.run()
    two, _ = second.run()
    assert all(torch.equal(one[name], tensor) for name, tensor in two.items())
    assert first.metrics() == second.metrics()


def test_a_finished_phase_is_not_trained_again(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data())
    expected, _ = trial.run()
    trial.data = None
    found, _ = trial.run()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert trial.events == []


def test_a_longer_training_goes_on_from_a_finished_one(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data(), epochs=2)
    trial.run()
    trial.epochs = 3
    trial.run()
    assert [row["step"] for row in trial.metrics() if row["split"] == "validation" and row["task"] == "p"] == [2, 4, 6]


def test_what_is_logged(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data(), updates="joint", epochs=1)
    trial.run()
    rows = trial.metrics()
    assert [(row["epoch"], row["step"], row["split"], row["task"]) for row in rows] == [
        (1, 4, "training", "p"),
        (1, 4, "training", "a"),
        (1, 4, "validation", "p"),
        (1, 4, "validation", "a"),
    ]
    net = trial.net.eval()
    assert rows[2]["metrics"] == pytest.approx({"square": 14 / 3 * (float(net.w_p.detach()) - 1) ** 2})
    assert rows[2]["loss"] == pytest.approx(rows[2]["metrics"]["square"])
    assert rows[3]["loss"] == pytest.approx(float((net.w_a + net.alpha * net.w_p).square().detach()))
    assert rows[0]["gates"] == {"p2a": float(net.alpha.detach())}
    assert rows[0]["lr"] == pytest.approx(0.01 * (1 + math.cos(math.pi * 0.75)) / 2)
    assert trial.events[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert trial.lines[0].startswith(f"search epoch 1/1 step 4/4; p training loss {rows[0]['loss']:.4g}; a training loss ")
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == ["search"]


def test_the_best_after_the_ramp_is_what_is_left(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data(), optimizer="SGD", epochs=6)
    weights, loop = trial.run()
    values = [row["metrics"]["square"] for row in trial.metrics() if row["split"] == "validation" and row["task"] == "p"]
    late = {index: value for index, value in enumerate(values) if (index + 1) / 6 >= 0.5}
    best = min(late, key=lambda index: late[index])
    assert loop.best == {"value": values[best], "step": 2 * (best + 1), "epoch": best + 1}
    assert 14 / 3 * (float(weights["w_p"]) - 1) ** 2 == pytest.approx(values[best])


def test_without_selection_the_last_state_is_left(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data(), after=None)
    weights, loop = trial.run()
    values = [row["metrics"]["square"] for row in trial.metrics() if row["split"] == "validation" and row["task"] == "p"]
    assert loop.best is None
    assert 14 / 3 * (float(weights["w_p"]) - 1) ** 2 == pytest.approx(values[-1])


def test_evaluation_can_be_rarer_and_is_always_at_the_end(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data(), epochs=5, evaluate_every=Every(epochs=3))
    trial.run()
    assert [row["epoch"] for row in trial.metrics() if row["split"] == "validation" and row["task"] == "p"] == [3, 5]
    trial = Trial(tmp_path / "steps", toy, toy_data(), epochs=2, evaluate_every=Every(steps=3))
    trial.run()
    assert [(row["epoch"], row["step"]) for row in trial.metrics() if row["split"] == "validation" and row["task"] == "p"] == [
        (2, 3),
        (2, 4),
    ]


def test_a_loss_that_is_no_number_names_step_task_samples_and_checkpoint(tmp_path: Path, toy: Any, toy_data: Any, batch: Any) -> None:
    data = toy_data()
    training = data.training

    def broken(epoch: int, **options: Any) -> Any:
        for item in training(epoch, **options):
            yield batch([1.0, 2.0, 3.0], {"p": {0: 1.0}, "a": {1: math.nan, 2: 0.0}}) if epoch == 2 else item

    data.training = broken
    trial = Trial(tmp_path, toy, data, updates="joint")
    with pytest.raises(RunError) as caught:
        trial.run()
    assert str(caught.value) == (
        "search, step 9: the loss of 'a' is nan on toy/0001, toy/0002; not finite: label 'a' of toy/0001; "
        f"last good checkpoint: {tmp_path}/checkpoint.safetensors, step 8\n"
        "  fix: mend these samples, or training.on_nan: skip"
    )
    assert caught.value.exit_status == 1


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, toy: Any, toy_data: Any) -> None:
    trial = Trial(tmp_path, toy, toy_data(fail_at=(1, 0)))
    with pytest.raises(KeyboardInterrupt):
        trial.run()

    def other(**options: Any) -> Any:
        net, learner = toy(**options)
        net.extra = torch.nn.Parameter(torch.zeros(1))
        return net, learner

    trial.toy, trial.data = other, toy_data()
    with pytest.raises(ArtifactError) as caught:
        trial.run()
    assert str(caught.value) == (
        f"{tmp_path}/checkpoint.json: the checkpoint does not fit the network: Error(s) in loading state_dict for Toy: "
        'Missing key(s) in state_dict: "extra".\n  fix: give the same networks as before'
    )


@pytest.mark.parametrize(
    ("every", "times"),
    [
        (Every(epochs=2), [(4, 2, 0.0)]),
        (Every(steps=3), [(3, None, 0.0)]),
        (Every(minutes=1), [(1, None, 60.0), (4, 2, 61.0)]),
    ],
)
def test_when_it_is_time_again(every: Every, times: list[tuple[int, int | None, float]]) -> None:
    moments = [(1, None, 60.0), (2, 1, 59.0), (3, None, 0.0), (4, 2, 61.0), (4, 2, 0.0)]
    found = [moment for moment in moments if due(every, *moment)]
    assert all(moment in found for moment in times)
    assert len(found) == (2 if every.epochs == 2 or every.minutes else 1)
