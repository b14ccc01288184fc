"""A sample of records -> its inputs and labels as tensors, decoded once, changed anew in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from random import Random
from typing import Any

from torchvision import tv_tensors  # pyright: ignore[reportMissingTypeStubs]

from graphnas.data.base import Part, Records
from graphnas.data.cache import DiskCache
from graphnas.data.files import image_tensor, label_array
from graphnas.data.tensors import PerSample, image_value, plain, target_value
from graphnas.data.transforms import Transform, TransformError
from graphnas.errors import DataError, Problem
from graphnas.tasks.base import TaskType

CACHE_BYTES = 2**30
"""Decoded samples are kept in memory up to this many bytes in each process unless the spec says otherwise; the others are decoded again."""

ProblemAt = Callable[..., Problem]
"""``TaskPairSpec.problem``: ``(message, *path, fix=...)``."""


@dataclass(frozen=True, slots=True)
class Item:
    """One sample of a split.

    Args:
        source: The source's name.
        part: Which of its records; samples of a validation cut are among those of ``train``.
        index: The sample's number there.
        name: Its name there.
        tasks: The tasks whose label is used.
    """

    source: str
    part: Part
    index: int
    name: str
    tasks: frozenset[str]

    @property
    def id(self) -> str:
        """``rooms/0012``."""
        return f"{self.source}/{self.name}"


@dataclass(frozen=True)
class Sample:
    """The tensors of one sample, in the order of ``names``: inputs first, then labels.

    Args:
        item: Which one.
        names: The inputs' names, then the tasks' that have a label.
        values: Inputs (3, H, W) as bytes or as 32-bit numbers where 1 is white; targets as in ``graphnas.tasks.base``.
    """

    item: Item
    names: tuple[str, ...]
    values: list[tv_tensors.TVTensor]


@dataclass
class Samples:
    """Reads, decodes, keeps and changes samples. Can be sent to a worker process.

    Args:
        records: (source, part) -> what was opened.
        inputs: Input -> key.
        tasks: The tasks whose labels are decoded.
        transforms: In order.
        problem: Makes a problem at a field of the task pair.
        seed: Of the run.
        cache_bytes: How much of what was decoded to keep in memory, in each process.
        store: Where to keep it on disk.
        lenient: Sources whose samples may be left out.
    """

    records: dict[tuple[str, Part], Records]
    inputs: Mapping[str, str]
    tasks: Mapping[str, TaskType]
    transforms: Sequence[Transform]
    problem: ProblemAt
    seed: int
    cache_bytes: int = CACHE_BYTES
    store: DiskCache | None = None
    lenient: frozenset[str] = frozenset()
    _kept: dict[tuple[str, Part, int], Sample] = field(default_factory=dict[tuple[str, Part, int], Sample], init=False)
    _kept_bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        numbered = list(enumerate(self.transforms))
        self._first = list(takewhile(lambda pair: not pair[1].random, numbered))  # happen once, before a sample is kept
        self._rest = list(dropwhile(lambda pair: not pair[1].random, numbered))

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process that is not forked: it decodes for itself."""
        return {**self.__dict__, "_kept": {}, "_kept_bytes": 0}

    def for_evaluation(self, item: Item) -> Sample:
        """Without random changes.

        Raises:
            DataError: Unreadable, or no label of its task; names the file.
        """
        steps = [step for step in self._rest if not step[1].random]
        return self._changed(self._prepared(item), steps, Random(0)) if steps else self._prepared(item)

    def for_training(self, item: Item, epoch: int, occurrence: int) -> Sample:
        """With random changes that depend on the run's seed, the epoch, the sample, and how often the epoch had it before, alone.

        Raises:
            DataError: As for evaluation, or a transform that does not fit.
        """
        return self._changed(self._prepared(item), self._rest, Random(f"sample/{self.seed}/{epoch}/{occurrence}/{item.id}"))

    def replace(self, items: Sequence[Item], size: int) -> bool:
        """Keep something else in place of some samples: they are forgotten, and so many bytes are taken, unless that is too much."""
        places = [place for item in items if (place := (item.source, item.part, item.index)) in self._kept]
        held = sum(_bytes(self._kept[place]) for place in places)
        if self._kept_bytes - held + size > self.cache_bytes:
            return False
        for place in places:
            del self._kept[place]
        self._kept_bytes += size - held
        return True

    def release(self, size: int) -> None:
        """Give back bytes that were taken."""
        self._kept_bytes -= size

    @contextmanager
    def _at(self, *place: str) -> Generator[None]:
        """Errors inside point at a field of the task pair."""
        try:
            yield
        except DataError as error:
            raise DataError([self.problem(p.message, *place, fix=p.fix) for p in error.problems]) from None

    def _prepared(self, item: Item) -> Sample:
        place = (item.source, item.part, item.index)
        sample = self._kept.get(place)
        if sample is None:
            sample = self._made(item) if self.store is None else self._stored(item, self.store)
            size = _bytes(sample)
            if self._kept_bytes + size <= self.cache_bytes:
                self._kept[place] = sample
                self._kept_bytes += size
        return sample

    def _made(self, item: Item) -> Sample:
        sample = self._changed(self._decoded(item), self._first, Random(0))
        self._same_size(sample)
        return sample

    def _stored(self, item: Item, store: DiskCache) -> Sample:
        """From the disk, or made and kept there; what has no files that tell when it changes is made."""
        records = self.records[item.source, item.part]
        tasks = [name for name in self.tasks if name in item.tasks]
        keys = [*self.inputs.values(), *(self.tasks[name].key for name in tasks)]
        stamps = [records.stamp(item.index, key) for key in keys]
        if None in stamps:
            return self._made(item)
        name = store.name([*tasks, *(stamp for stamp in stamps if stamp is not None)])
        found = store.read(name)
        if found is None:
            sample = self._made(item)
            store.write(name, {name: plain(value) for name, value in zip(sample.names, sample.values, strict=True)})
            return sample
        values: list[tv_tensors.TVTensor] = [image_value(found[name]) for name in self.inputs]
        values += [target_value(found[name], self.tasks[name].target_kind, self.tasks[name].unlabeled) for name in tasks]
        return Sample(item, (*self.inputs, *tasks), values)

    def _decoded(self, item: Item) -> Sample:
        records = self.records[item.source, item.part]
        values: list[tv_tensors.TVTensor] = []
        for name, key in self.inputs.items():
            with self._at("inputs", name, "key"):
                image = image_tensor(records.read(item.index, key), file=records.file(item.index, key))
            values.append(image_value(image))
        tasks = [name for name in self.tasks if name in item.tasks]
        for name in tasks:
            task = self.tasks[name]
            file = records.file(item.index, task.key)
            with self._at("tasks", name, "key"):
                array = label_array(records.read(item.index, task.key), file=file)
            with self._at("tasks", name):
                target = task.decode(array, file=file)
            values.append(target_value(target, task.target_kind, task.unlabeled))
        return Sample(item, (*self.inputs, *tasks), values)

    def _changed(self, sample: Sample, steps: Sequence[tuple[int, Transform]], random: Random) -> Sample:
        values = sample.values
        for number, transform in steps:
            try:
                values = transform.apply(values, random)
            except TransformError as error:
                raise DataError(self.problem(f"{sample.item.id}: {error}", "transforms", number, fix=error.fix)) from None
        return Sample(sample.item, sample.names, values)

    def _same_size(self, sample: Sample) -> None:
        """Before random changes, which move the same pixels in inputs and labels.

        Raises:
            DataError: A label is of another size than the first input.
        """
        records = self.records[sample.item.source, sample.item.part]
        height, width = sample.values[0].shape[-2:]
        for name, value in zip(sample.names[1:], sample.values[1:], strict=True):
            if not isinstance(value, PerSample) and tuple(value.shape[-2:]) != (height, width):
                section, key = ("tasks", self.tasks[name].key) if name in self.tasks else ("inputs", self.inputs[name])
                rows, columns = value.shape[-2:]
                file = records.file(sample.item.index, key)
                message = f"{file}: [{rows}, {columns}] pixels, but {sample.names[0]!r} has [{height}, {width}]"
                fix = f"start transforms with resize: [{height}, {width}], or correct the file"
                raise DataError(self.problem(message, section, name, "key", fix=fix))


def _bytes(sample: Sample) -> int:
    return sum(value.nbytes for value in sample.values)
