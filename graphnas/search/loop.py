"""The order of things in one phase of training: epochs of updates, evaluations, selection, checkpoints, and going on from one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from graphnas.data import Data
from graphnas.errors import RunError
from graphnas.search import checkpoint, faults, random_state
from graphnas.search.alone import Alone
from graphnas.search.budget import Budget
from graphnas.search.cutting import LiveCutting
from graphnas.search.draw import Draw, draws
from graphnas.search.log import MetricsLog, Row, epoch_line
from graphnas.search.optimizers import set_learning_rates
from graphnas.search.progress import Progress, ProgressCallback
from graphnas.search.recorder import Recorder, Watched
from graphnas.search.state import State, captured, restored
from graphnas.search.step import Learner, NotFinite, alternate_step, joint_step, weight_step
from graphnas.search.stopping import Requests, Stopped
from graphnas.search.validation import Report, Validation
from graphnas.spec.search import Every, Schedule


@dataclass(frozen=True)
class Phase:
    """One training from beginning to end: a baseline, a search, a fine-tuning.

    Args:
        name: ``single-task``, ``search``, ``finetune``, ...
        learner: What is trained; ``learner.network``'s state is the phase's.
        budget: How long.
        batch_size: Samples with the primary's label in a batch.
        auxiliary_batch_size: Samples drawn from all.
        weights_schedule: Of the weights' learning rate.
        alphas_schedule: Of the alphas'.
        validation: Evaluates and selects; ``None`` where there is no validation split.
        evaluate_every: When.
        gates: Direction -> mean gate, for the log.
        on_nan: What follows on a loss or gradient that is not finite: ``stop``, ``skip`` the update, or ``rewind`` to the last checkpoint
            and leave the update out.
        cutting: Cuts links at the end of epochs; ``None`` to keep all.
        watched: What is written down beside the metrics.
        alone: Trains the primary alone once nothing else counts; ``None`` to train all to the end.
    """

    name: str
    learner: Learner
    budget: Budget
    batch_size: int
    auxiliary_batch_size: int
    weights_schedule: Schedule
    alphas_schedule: Schedule
    validation: Validation | None
    evaluate_every: Every
    gates: Callable[[], Mapping[str, float]]
    on_nan: Literal["stop", "skip", "rewind"] = "stop"
    watched: Watched | None = None
    cutting: LiveCutting | None = None
    alone: Alone | None = None


@dataclass(frozen=True)
class Surroundings:
    """What all phases of a run share.

    Args:
        data: Batches.
        workers: Processes that load them.
        seed: Of the run.
        stem: Where the checkpoint of an unfinished phase lies.
        finished: Folder of the finished phases' checkpoints.
        checkpoint_every: When to save.
        log: Where metrics go.
        report: Who watches.
        requests: Whether anything asked to stop.
    """

    data: Data
    workers: int
    seed: int
    stem: Path
    finished: Path
    checkpoint_every: Every
    log: MetricsLog
    report: ProgressCallback
    requests: Requests = field(default_factory=Requests)


class _Rewound(Exception):
    """Training goes on from the last checkpoint."""


class Loop:
    """Runs one phase.

    Args:
        phase: What to do.
        surroundings: Where.
    """

    def __init__(self, phase: Phase, surroundings: Surroundings) -> None:
        self._phase = phase
        self._around = surroundings
        self._state = State()
        self._learner = phase.learner
        self._best: dict[str, Tensor] = {}
        self._saved: tuple[Path, int] | None = None  # the last good checkpoint and its step
        self._logged = 0  # how much of the log belongs to it
        self._saved_at = self._evaluated_at = self._measured_at = time.monotonic()
        self._recorder = Recorder(surroundings.log.folder, phase.name, phase.watched)

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds of training alone, and with evaluation and checkpoints."""
        return self._state.train_seconds, self._state.total_seconds

    @property
    def best(self) -> Mapping[str, Any] | None:
        """``value``, ``step`` and ``epoch`` of what was selected on validation; ``None`` if the last state was taken."""
        return self._state.best

    def run(self) -> bool:
        """Train to the end, from the checkpoint if there is one; the network is left in the selected state.

        Returns:
            Whether there was anything left to train.
        Raises:
            RunError: A loss is not finite, memory is short, or a checkpoint can't be written.
            Stopped: On request; all is saved.
        """
        random_state.seed_all(random_state.derive(self._around.seed, self._phase.name))
        self._resume()
        self._recorder.go_back(self._state.step)
        trained = self._state.step < self._phase.budget.steps
        if trained:
            started = time.monotonic() - self._state.total_seconds
            if self._phase.on_nan == "rewind" and self._saved is None:
                self._save(self._around.stem)
            while self._state.step < self._phase.budget.steps:
                with contextlib.suppress(_Rewound):
                    self._epoch(started)
            self._state.total_seconds = time.monotonic() - started
            for stem in (self._around.stem, self._around.finished / self._phase.name):
                self._save(stem)
        if self._best:
            self._phase.learner.network.load_state_dict(self._best)
            self._cut(self._state.best_cut)
        return trained

    def _epoch(self, started: float) -> None:
        """Updates until the epoch or the phase ends."""
        phase, state = self._phase, self._state
        self._learner.network.train()
        clock = time.monotonic()
        for batches in self._batches():
            rate = self._update(batches)
            state.step += 1
            state.position += 1
            state.train_seconds += time.monotonic() - clock
            last = state.step == phase.budget.steps
            ended = last or state.position >= phase.budget.steps_per_epoch
            if ended:
                state.epoch += 1
                state.position = 0
                phase.learner.balance.after_epoch()
                self._cut_what_is_due()
                self._go_alone_if_due()
            self._around.report(Progress(phase.name, state.step, phase.budget.steps))
            self._measure(batches, epoch_ended=ended)
            self._write(rate, epoch_ended=ended, last=last)
            state.total_seconds = time.monotonic() - started
            if not last and due(
                self._around.checkpoint_every, state.step, state.epoch if ended else None, time.monotonic() - self._saved_at
            ):
                self._save(self._around.stem)
            self._stop_on_request()
            if ended:
                break
            clock = time.monotonic()
        else:
            raise AssertionError(f"an epoch has fewer than the {phase.budget.steps_per_epoch} updates that the data promised")

    def _cut_what_is_due(self) -> None:
        phase, state = self._phase, self._state
        line = None if phase.cutting is None else phase.cutting.after_epoch(state, state.step / phase.budget.steps)
        if line is not None:
            place = f"{phase.name}, step {state.step}"
            self._around.report(Progress(phase.name, state.step, phase.budget.steps, f"{place}: {line}"))

    def _go_alone_if_due(self) -> None:
        """From an epoch's end on; what is saved later says so."""
        phase, state = self._phase, self._state
        progress = state.step / phase.budget.steps
        if state.alone or progress == 1 or phase.alone is None or not phase.alone.due(progress):
            return
        state.alone = True
        self._set_learner()
        line = f"{phase.name}, step {state.step}: {phase.alone.line()}"
        self._around.report(Progress(phase.name, state.step, phase.budget.steps, line))

    def _set_learner(self) -> None:
        """All that the phase trains, or the primary alone."""
        phase = self._phase
        self._learner = phase.alone.left() if self._state.alone and phase.alone is not None else phase.learner

    def _cut(self, ids: list[str]) -> None:
        if self._phase.cutting is not None:
            self._phase.cutting.set(ids)

    def _batches(self) -> Iterator[Draw]:
        """The rest of this epoch."""
        phase, around = self._phase, self._around
        epoch, size = phase.budget.first_epoch + self._state.epoch, phase.batch_size
        extra = 0 if self._state.alone else phase.auxiliary_batch_size
        workers, start = around.workers, self._state.position
        return draws(around.data, phase.budget, epoch, start=start, batch_size=size, auxiliary_batch_size=extra, workers=workers)

    def _update(self, batches: Draw) -> float:
        """One update of the weights, and of the alphas if there are any; the weights' learning rate."""
        phase, state = self._phase, self._state
        learner, steps = phase.learner, phase.budget.steps
        rate = set_learning_rates(learner.weights, phase.weights_schedule, state.step, steps)
        if learner.alphas is not None:
            set_learning_rates(learner.alphas, phase.alphas_schedule, state.step, steps)
        if state.step in state.left_out:
            return rate
        buffers = [(buffer, buffer.clone()) for buffer in learner.network.buffers()] if phase.on_nan == "skip" else []
        try:
            with faults.memory_explained(self._place()), faults.one_value_explained(self._place(), learner.network):
                losses = _step(self._learner, batches, state.step / steps)
        except NotFinite as error:
            self._not_finite(error, batches)
            for buffer, before in buffers:
                buffer.copy_(before)
            return rate
        for task, loss in losses.items():
            state.loss_sums[task] = state.loss_sums.get(task, 0.0) + loss
            state.loss_counts[task] = state.loss_counts.get(task, 0) + 1
        return rate

    def _not_finite(self, error: NotFinite, batches: Draw) -> None:
        """Leave this update out, or go back and leave it out.

        Raises:
            RunError: To stop is what is wanted, or too many were left out already.
            _Rewound: All is as at the last checkpoint.
        """
        phase, state = self._phase, self._state
        found, fix = faults.explained(error, phase.learner.network, batches.all)
        place, left_out = self._place(), [*state.left_out, state.step]
        many = not faults.may_leave_out(len(left_out), phase.budget.steps)
        if phase.on_nan == "stop" or many:
            also = f"; {len(left_out) - 1} updates were left out before" if many and phase.on_nan != "stop" else ""
            skip = "" if phase.on_nan == "skip" else ", or training.on_nan: skip"
            raise RunError(f"{place}: {found}{also}; {self._last_good()}", fix=fix + skip) from error
        if phase.on_nan == "rewind":
            self._resume()
            self._around.log.truncate(self._logged)
            self._recorder.go_back(self._state.step)
        self._state.left_out = left_out
        back = f"; back to step {self._state.step}" if phase.on_nan == "rewind" else ""
        self._around.report(Progress(phase.name, self._state.step, phase.budget.steps, f"{place}: {found}{back}; this update is left out"))
        if phase.on_nan == "rewind":
            raise _Rewound

    def _place(self) -> str:
        return f"{self._phase.name}, step {self._state.step + 1}"

    def _last_good(self) -> str:
        where = "none was written yet" if self._saved is None else f"{self._saved[0]}.safetensors, step {self._saved[1]}"
        return f"last good checkpoint: {where}"

    def _stop_on_request(self) -> None:
        """Save and stop, if that was asked for and there is something left to train."""
        signal, phase, step = self._around.requests.signal, self._phase, self._state.step
        if signal is not None and step < phase.budget.steps:
            if self._saved is None or self._saved != (self._around.stem, step):
                self._save(self._around.stem)
            raise Stopped(signal, phase.name, step, phase.budget.steps)

    def _measure(self, batches: Draw, *, epoch_ended: bool) -> None:
        """Compare the gradients of the tasks, if that is asked for and it is time to: no part of training, nor of its time."""
        state, every = self._state, None if self._phase.watched is None else self._phase.watched.gradients_every
        epoch = state.epoch if epoch_ended else state.epoch + 1
        waited = time.monotonic() - self._measured_at
        if every is not None and not state.alone and due(every, state.step, epoch if epoch_ended else None, waited):
            with faults.memory_explained(f"{self._place()}, comparing gradients"):
                self._recorder.gradients(batches.weights[0], epoch, state.step)
            self._measured_at = time.monotonic()

    def _write(self, rate: float, *, epoch_ended: bool, last: bool) -> None:
        """Evaluate if it is time to, select, and log."""
        phase, state = self._phase, self._state
        waited = time.monotonic() - self._evaluated_at
        report = None
        if phase.validation is not None and (last or due(phase.evaluate_every, state.step, state.epoch if epoch_ended else None, waited)):
            with faults.memory_explained(f"{phase.name}, evaluation after step {state.step}"):
                report = phase.validation.evaluate(alone=state.alone)
            self._learner.network.train()
            self._evaluated_at = time.monotonic()
            self._select(report, phase.validation)
        if epoch_ended or report is not None:
            rows = self._rows(report, rate, epoch_ended=epoch_ended)
            self._around.log.write(rows)
            self._recorder.gates(rows[0].epoch, state.step)
            self._around.report(
                Progress(phase.name, state.step, phase.budget.steps, epoch_line(rows, phase.budget.epochs, phase.budget.steps))
            )
            if epoch_ended:
                state.loss_sums, state.loss_counts = {}, {}

    def _select(self, report: Report, validation: Validation) -> None:
        """Keep the state if it is the best so far, and late enough."""
        state = self._state
        than = None if state.best is None else float(state.best["value"])
        if validation.selects(report, state.step / self._phase.budget.steps, than):
            state.best = {"value": report.value, "step": state.step, "epoch": state.epoch}
            state.best_cut = list(state.cut)
            self._best = {name: tensor.detach().clone() for name, tensor in self._phase.learner.network.state_dict().items()}

    def _rows(self, report: Report | None, rate: float, *, epoch_ended: bool) -> list[Row]:
        state = self._state
        epoch = state.epoch if epoch_ended else state.epoch + 1
        about = (self._phase.gates(), rate, round(state.train_seconds, 3), len(state.cut))
        rows: list[Row] = []
        if epoch_ended:
            for task, total in state.loss_sums.items():
                loss = total / state.loss_counts[task]
                rows.append(Row(self._phase.name, epoch, state.step, "training", task, loss, {}, {}, None, *about))
        if report is not None:
            for task, scores in report.scores.items():
                cut: Mapping[str, float] = report.cut.metrics if report.cut is not None and task == report.primary else {}
                gap = report.gap if task == report.primary else None
                rows.append(Row(self._phase.name, epoch, state.step, "validation", task, scores.loss, scores.metrics, cut, gap, *about))
        return rows

    def _save(self, stem: Path) -> None:
        """Write everything that is needed to go on, bit for bit.

        Raises:
            RunError: A weight is not finite (what is saved must be good to go on from), or the files can't be written.
        """
        phase = self._phase
        if (name := faults.not_finite(phase.learner.network)) is not None:
            raise RunError(f"{phase.name}, step {self._state.step}: {name} is not finite; {self._last_good()}", fix=faults.LOWER)
        tensors, values = captured(phase.learner, self._state, self._best)
        self._logged = self._around.log.size()
        checkpoint.save(stem, tensors, {"phase": phase.name, "after": phase.budget.after, **values, "log_bytes": self._logged})
        self._saved, self._saved_at = (stem, self._state.step), time.monotonic()

    def _resume(self) -> None:
        """Go on from this phase's checkpoint that is farthest on, if there is one."""
        found = [
            (stem, saved) for stem in (self._around.stem, self._around.finished / self._phase.name) if (saved := checkpoint.load(stem))
        ]
        identity = (self._phase.name, self._phase.budget.after)
        mine = [(stem, saved) for stem, saved in found if (saved.values["phase"], saved.values["after"]) == identity]
        if not mine:
            return
        stem, saved = max(mine, key=lambda pair: pair[1].values["state"]["step"])
        self._state, self._best = restored(saved, self._phase.learner, stem)
        self._cut(self._state.cut)
        self._set_learner()
        self._saved, self._logged = (stem, self._state.step), saved.values["log_bytes"]
        if saved.note is not None:
            self._around.report(Progress(self._phase.name, self._state.step, self._phase.budget.steps, saved.note))


def _step(learner: Learner, batches: Draw, progress: float) -> dict[str, float]:
    if learner.before_step is not None:
        learner.before_step(progress)
    if batches.alphas and learner.alphas is not None:
        return alternate_step(learner, batches.alphas, batches.weights, progress)
    if batches.step_alphas or learner.alphas is None:
        return joint_step(learner, batches.weights, progress)
    return weight_step(learner, batches.weights, progress)


def due(every: Every, step: int, epoch_ended: int | None, seconds: float) -> bool:
    """Whether it is time again.

    Args:
        every: Epochs, steps or minutes.
        step: Updates done.
        epoch_ended: The number of complete epochs if one has just ended.
        seconds: Since the last time.
    """
    if every.epochs is not None:
        return epoch_ended is not None and epoch_ended % every.epochs == 0
    if every.steps is not None:
        return step % every.steps == 0
    return every.minutes is not None and seconds >= 60 * every.minutes
