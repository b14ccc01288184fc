"""A walk through a whole data set before any training: what is there, what is missing, which values labels have, what is broken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from torch import Tensor

from graphnas.data.base import Records
from graphnas.data.files import image_tensor, label_array
from graphnas.data.opening import open_data
from graphnas.data.skipping import LARGEST_SHARE
from graphnas.data.sources import PARTS, Given, Sources
from graphnas.data.transforms import Resize
from graphnas.errors import DataError, Problem
from graphnas.spec import TaskPairSpec
from graphnas.tasks.base import Raw, TaskType

FARTHEST, NEAREST = 1000.0, 0.05  # metres: the largest depth of a data set is between
LONGEST = 1.05  # of a component of a normal: 1, and what rounding and resampling add


@dataclass
class Found:
    """What the labels of one task (or the images of one input) are in one part of one source.

    Args:
        source: The source.
        part: train, validation or test.
        name: The task or the input.
        samples: How many samples there are.
        present: How many have it.
        unreadable: How many of these are broken.
        stored: Least and largest number that is stored.
        decoded: Least and largest of what it stands for, where labeled.
        labeled: Share of the pixels (or samples) that are labeled.
        histogram: Class -> number of pixels (or samples), for tasks of classes.
        sizes: Size -> how many samples have it.
    """

    source: str
    part: str
    name: str
    samples: int
    present: int = 0
    unreadable: int = 0
    stored: tuple[float, float] | None = None
    decoded: tuple[float, float] | None = None
    labeled: float = math.nan
    histogram: Mapping[str, int] = field(default_factory=dict[str, int])
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def missing(self) -> int:
        """How many samples do not have it."""
        return self.samples - self.present


@dataclass(frozen=True)
class Checked:
    """The result of a walk.

    Args:
        found: Inputs and tasks by source and part.
        problems: What would stop a run, or a sample of it.
        remarks: What is no error and looks like one.
        notes: How the splits come about.
    """

    found: tuple[Found, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]


def check_data(
    task_pair: TaskPairSpec,
    *,
    seed: int = 0,
    datasets: Mapping[str, Given] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Read every sample of a task pair.

    Args:
        task_pair: Sources, inputs and tasks.
        seed: Of the validation cut that is described.
        datasets: Source -> a data set that takes the place of its files.
        progress: Called with how many samples are done, and of how many.
    """
    tasks = {name: cast("TaskType", task) for name, task in task_pair.tasks.items()}
    sources = Sources(task_pair, tasks, datasets or {})
    for part in PARTS:
        sources.open(part)
        sources.check_keys(part)
    total = sum(len(records.ids) for records in sources.records.values())
    problems, found, left_out, done = list(sources.problems), list[Found](), list[str](), 0
    for (source, part), records in sources.records.items():
        walk = _Walk(task_pair, tasks, source, part, records)
        for index in range(len(records.ids)):
            walk.see(index)
            done += 1
            if progress is not None:
                progress(done, total)
        found += walk.found()
        if sources.layout(source).on_error == "skip" and 0 < len(walk.broken) <= LARGEST_SHARE * len(records.ids):
            left_out += [f"{source}, {part}: left out: {problem.message}" for problem in walk.problems]
        else:
            problems += walk.problems
    remarks = [line for one in found if one.name in tasks for line in _remarks(one, tasks[one.name])]
    return Checked(tuple(found), tuple(dict.fromkeys(problems)), (*left_out, *remarks), _notes(task_pair, seed, datasets))


def _notes(task_pair: TaskPairSpec, seed: int, datasets: Mapping[str, Given] | None) -> tuple[str, ...]:
    try:
        return tuple(open_data(task_pair, seed=seed, datasets=datasets).describe().splitlines())
    except DataError:
        return ()  # the problems say why


class _Walk:
    """One part of one source."""

    def __init__(self, task_pair: TaskPairSpec, tasks: Mapping[str, TaskType], source: str, part: str, records: Records) -> None:
        self._task_pair = task_pair
        self._tasks = tasks
        self._records = records
        self.problems: list[Problem] = []
        self.broken: set[int] = set()
        self._resized = bool(task_pair.transforms) and isinstance(task_pair.transforms[0], Resize)
        names = [*task_pair.inputs, *tasks]
        self._sums = {name: _Sum(Found(source, part, name, len(records.ids))) for name in names}

    def see(self, index: int) -> None:
        """One sample."""
        before = len(self.problems)
        self._see(index)
        if len(self.problems) > before:
            self.broken.add(index)

    def _see(self, index: int) -> None:
        size = None
        for name, spec in self._task_pair.inputs.items():
            image = self._made(index, name, spec.key, ("inputs", name, "key"), lambda value, file: image_tensor(value, file=file))
            if image is not None:
                size = size or (name, tuple(image.shape[-2:]))
                self._sums[name].image(image)
        for name, task in self._tasks.items():
            made = self._made(index, name, task.key, ("tasks", name), lambda value, file, task=task: _decoded(task, value, file))
            if made is None:
                continue
            raw, target = made
            self._sums[name].label(task, raw, target)
            if size is not None and not self._resized and not task.per_sample and tuple(target.shape[-2:]) != size[1]:
                said = f"[{target.shape[-2]}, {target.shape[-1]}] pixels, but {size[0]!r} has [{size[1][0]}, {size[1][1]}]"
                message = f"{self._records.file(index, task.key)}: {said}"
                fix = f"start transforms with resize: [{size[1][0]}, {size[1][1]}], or correct the file"
                self.problems.append(self._task_pair.problem(message, "tasks", name, "key", fix=fix))

    def found(self) -> list[Found]:
        """What was seen."""
        return [one.result() for one in self._sums.values()]

    def _made(self, index: int, name: str, key: str, place: tuple[str, ...], make: Callable[[Any, str], Any]) -> Any:
        """The value of a key; ``None`` if the sample has not it, or if it is broken, which is noted."""
        found = self._sums[name].found
        try:
            if key not in self._records.keys(index):
                return None
            found.present += 1
            return make(self._records.read(index, key), self._records.file(index, key))
        except DataError as error:
            found.unreadable += 1
            self.problems += [self._task_pair.problem(p.message, *place, fix=p.fix) for p in error.problems]
            return None


def _decoded(task: TaskType, value: Any, file: str) -> tuple[Raw, Tensor]:
    raw = label_array(value, file=file)
    return raw, task.decode(raw, file=file)


class _Sum:
    """Adds up what the samples have."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self._counts: Counter[int] = Counter()
        self._names: tuple[str, ...] = ()
        self._sizes: Counter[str] = Counter()
        self._labeled = self._all = 0

    def image(self, image: Tensor) -> None:
        """An input."""
        self.found.stored = _widened(self.found.stored, image.numpy())
        self._sizes[f"{image.shape[-2]}x{image.shape[-1]}"] += 1

    def label(self, task: TaskType, raw: Raw, target: Tensor) -> None:
        """A label, as it is stored and as what it stands for."""
        if raw.dtype.kind != "U":
            self.found.stored = _widened(self.found.stored, raw)
        if not task.per_sample:
            self._sizes[f"{target.shape[-2]}x{target.shape[-1]}"] += 1
        labeled = labeled_mask(task, target)
        self._labeled += int(labeled.sum())
        self._all += labeled.numel()
        self.found.decoded = _widened(self.found.decoded, target[labeled.expand_as(target)].numpy())
        self._count(task, target, labeled)

    def _count(self, task: TaskType, target: Tensor, labeled: Tensor) -> None:
        self._names = tuple(getattr(task, "names", ())) or tuple(map(str, range(task.out_channels)))
        if not target.is_floating_point():
            classes = target[labeled].numpy()
        elif task.per_sample and getattr(task, "multi_label", False):
            classes = np.flatnonzero((target == 1).numpy())
        else:
            return
        for number, count in zip(*np.unique(classes, return_counts=True), strict=True):
            self._counts[int(number)] += int(count)

    def result(self) -> Found:
        """The sums."""
        found = self.found
        if self._all:
            found.labeled = self._labeled / self._all
        if self._counts:
            known = range(len(self._names))
            found.histogram = {self._names[index]: self._counts[index] for index in known}
        found.sizes = dict(self._sizes)
        return found


def labeled_mask(task: TaskType, target: Tensor) -> Tensor:
    """Where a decoded label is one: by pixels, or for vectors of pixels with one channel; of the same number of axes as the target."""
    if not target.is_floating_point():
        return target != (getattr(task, "ignore_index", task.unlabeled) if task.per_sample else task.unlabeled)
    if task.target_kind == "normal":
        return target.ne(0).any(dim=0, keepdim=True)
    if task.target_kind in ("depth", "inverse_depth", "pixel_disparity"):
        return target > 0
    return target.isfinite()


def _widened(range_: tuple[float, float] | None, values: Raw) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if finite.size == 0:
        return range_
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if range_ is None else (min(low, range_[0]), max(high, range_[1]))


def _remarks(found: Found, task: TaskType) -> list[str]:
    """What looks like a mistake."""
    where = f"{found.source}, {found.part}, {found.name}"
    if found.present == found.unreadable:
        return []
    if found.labeled == 0:
        return [f"{where}: nothing is labeled in {found.present} labels; is the encoding right?"]
    lines: list[str] = []
    encoding = getattr(task, "encoding", None)
    if task.target_kind == "normal" and found.stored is not None:
        offset, scale = (encoding.offset, encoding.scale) if encoding is not None else (0.0, 1.0)
        low, high = ((value - offset) / scale for value in found.stored)
        if max(-low, high) > LONGEST:
            stored = f"{found.stored[0]:g} to {found.stored[1]:g}"
            lines.append(f"{where}: stored numbers from {stored} are components from {low:.3g} to {high:.3g}, of a unit vector; encoding?")
    if task.target_kind == "depth" and found.decoded is not None and found.stored is not None:
        low, high = found.decoded
        if high > FARTHEST or high < NEAREST:
            stored = f"{found.stored[0]:g} to {found.stored[1]:g}"
            lines.append(f"{where}: stored numbers from {stored} are depths from {low:.3g} to {high:.3g} metres; scale?")
    empty = [name for name, count in found.histogram.items() if count == 0]
    if empty:
        names = ", ".join(empty[:8]) + (f", ... ({len(empty)})" if len(empty) > 8 else "")
        lines.append(f"{where}: no sample has the class {names}" if len(empty) == 1 else f"{where}: no sample has the classes {names}")
    return lines
