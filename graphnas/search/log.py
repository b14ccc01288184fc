"""What a run writes down while it trains: ``metrics.jsonl``, one object per epoch, task and split, and the same as TensorBoard events."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from graphnas.errors import RunError, Where


@dataclass(frozen=True)
class Row:
    """One line of ``metrics.jsonl``; values that are no finite number are written as null.

    Args:
        phase: single-task, search, ...
        epoch: From 1.
        step: Weight updates so far in this phase.
        split: training (losses, means over the updates since the last row) or validation.
        task: Whose values these are.
        loss: Mean loss.
        metrics: Name -> value; empty for the training split.
        cut_metrics: Those of the primary once every link into it is cut.
        cut_gap: The metric that is judged by, of the supernet minus that of the cut network.
        gates: Direction -> mean of its gates.
        lr: Learning rate of the weights.
        seconds: Training time of this phase so far, without evaluation.
        links_cut: How many links were cut while training so far.
    """

    phase: str
    epoch: int
    step: int
    split: str
    task: str
    loss: float | None
    metrics: Mapping[str, float]
    cut_metrics: Mapping[str, float]
    cut_gap: float | None
    gates: Mapping[str, float]
    lr: float
    seconds: float
    links_cut: int = 0


class MetricsLog:
    """Appends rows to a run folder.

    Args:
        folder: The run folder.
        keep: Bytes of ``metrics.jsonl`` to keep when going on from a checkpoint; what came after them will come again.
    """

    def __init__(self, folder: Path, keep: int | None = None) -> None:
        self._file = folder / "metrics.jsonl"
        if keep is not None and self._file.exists() and self._file.stat().st_size > keep:
            os.truncate(self._file, keep)
        self._stream = self._file.open("ab")
        self.folder = folder
        self._folder = folder / "events"
        self._events: dict[str, Any] = {}  # one writer a phase, so that TensorBoard draws the phases over each other

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; they are on their way to the disk when this returns, and there after ``size``."""
        lines = [json.dumps(json_ready(asdict(row)), allow_nan=False).encode() + b"\n" for row in rows]
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except OSError as error:
            raise _unwritten(error, self._file) from error
        try:
            for row in rows:
                if row.phase not in self._events:
                    self._events[row.phase] = _event_writer(self._folder / row.phase, row.step)
                if self._events[row.phase] is not None:
                    for tag, value in _scalars(row):
                        self._events[row.phase].add_scalar(tag, value, row.step)
        except OSError as error:
            raise _unwritten(error, self._folder) from error

    def truncate(self, keep: int) -> None:
        """Forget what was written after so many bytes of ``metrics.jsonl``: training goes back to where that was all."""
        self._stream.truncate(keep)
        self._stream.seek(keep)
        for writer in self._events.values():
            if writer is not None:
                writer.close()
        self._events = {}  # new ones void what these wrote of the steps that come again

    def size(self) -> int:
        """Bytes of ``metrics.jsonl``, all of them on the disk: what a checkpoint remembers."""
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # of a row that could not be written, which has been said
            self._stream.close()
        for writer in self._events.values():
            if writer is not None:
                with suppress(OSError):  # what events say, metrics.jsonl says too
                    writer.close()


def _unwritten(error: OSError, file: Path) -> RunError:
    return RunError(f"can't be written: {error.strerror or error}", where=Where(str(file)), fix="make room there, then --resume")


def _event_writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer, which voids what a run that was interrupted wrote from this step on; ``None`` where it is not installed."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)


def _scalars(row: Row) -> list[tuple[str, float]]:
    """(tag, value)."""
    here = f"{row.split}/{row.task}"
    values: dict[str, float | None] = {f"{here}/loss": row.loss, f"{here}/cut_gap": row.cut_gap, "lr": row.lr}
    values |= {"links_cut": float(row.links_cut)} if row.links_cut else {}
    values |= {f"{here}/{name}": value for name, value in row.metrics.items()}
    values |= {f"{here}/cut/{name}": value for name, value in row.cut_metrics.items()}
    values |= {f"gates/{direction}": value for direction, value in row.gates.items()}
    return [(tag, value) for tag, value in values.items() if value is not None]


def json_ready(value: Any) -> Any:
    """The same, with null in place of numbers that JSON does not have: NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: json_ready(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [json_ready(inner) for inner in cast("list[Any]", value)]
    return value


def epoch_line(rows: Sequence[Row], epochs: int, steps: int) -> str:
    """The rows of one time in one line of text, of so many epochs and steps in all."""
    first = rows[0]
    parts = [f"{first.phase} epoch {first.epoch}/{epochs} step {first.step}/{steps}"]
    for row in rows:
        values = [f"loss {row.loss:.4g}"] if row.loss is not None else []
        for name, value in row.metrics.items():
            if "/" in name:  # a detail, such as the value of one class
                continue
            cut = f" (cut {row.cut_metrics[name]:.4g})" if name in row.cut_metrics else ""
            values.append(f"{name} {value:.4g}{cut}")
        parts.append(f"{row.task} {row.split} {', '.join(values)}")
    if first.gates:
        parts.append("gates " + ", ".join(f"{direction} {value:.3g}" for direction, value in first.gates.items()))
    return "; ".join(parts) + f"; {first.seconds:.0f} s"
