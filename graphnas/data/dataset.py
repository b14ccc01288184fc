"""``Data``: the batches of a task pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Literal, overload

from graphnas.data.batches import Batch, Maker, Normalization, Plan, Server
from graphnas.data.keeping import Keeper
from graphnas.data.samples import Item, Sample, Samples
from graphnas.data.skipping import Skips
from graphnas.data.splits import by_shards
from graphnas.errors import DataError
from graphnas.graph.types import Image, ValueType

Split = Literal["training", "validation", "test"]


class Data:
    """The samples of a task pair, by split, and batches of them.

    Args:
        primary: The primary task.
        samples: Reads and changes samples.
        normalizations: Input -> what is done to a batch of it.
        training: The samples to learn from, each with the labels that may be used.
        validation: Those that choose.
        test: Opens those that are touched at the end; asked when they are first wanted.
        notes: Lines about how the splits came about.
        skips: Counts the samples that are left out.
        pin_memory: Whether batches lie in pinned memory.
    """

    def __init__(
        self,
        *,
        primary: str,
        samples: Samples,
        normalizations: Mapping[str, Normalization],
        training: Sequence[Item],
        validation: Sequence[Item],
        test: Callable[[], Sequence[Item]],
        notes: Sequence[str],
        skips: Skips,
        pin_memory: bool = False,
    ) -> None:
        self.primary = primary
        self._samples = samples
        self._skips = skips
        self._server = Server(Maker(samples, normalizations), skips, pin_memory=pin_memory)
        self._validation = Keeper(samples, self._server.each)
        self._splits: dict[str, Sequence[Item]] = {"training": training, "validation": validation}
        self._open_test = test
        self._notes = tuple(notes)
        self._labeled = [item for item in training if primary in item.tasks]
        self._any = [item for item in training if item.tasks]

    def input_types(self) -> dict[str, ValueType]:
        """Input -> its type at the size of evaluation, which is the first sample's.

        Raises:
            DataError: That sample can't be read.
        """
        sample = next(sample for item in self._labeled if (sample := self._usable(item)) is not None)
        return {name: Image(*sample.values[index].shape) for index, name in enumerate(self._samples.inputs)}

    def sizes(self) -> dict[str, dict[str, int]]:
        """Split -> task -> number of samples with its label.

        Raises:
            DataError: The test samples are not there. (They are counted, not read.)
        """
        return {
            split: {task: sum(task in item.tasks for item in self._items(split)) for task in self._samples.tasks}
            for split in ("training", "validation", "test")
        }

    def describe(self) -> str:
        """Lines for a log: how many samples each split has, with which labels, and how it came about."""
        lines = list(self._notes)
        for split in ("training", "validation"):
            items = self._items(split)
            labels = ", ".join(f"{sum(task in item.tasks for item in items)} with {task}" for task in self._samples.tasks)
            lines.append(f"{split}: {len(items)} samples, {labels}")
        return "\n".join(lines)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches of samples that carry the primary's label: a last one that is short is dropped unless it is the only one."""
        return max(1, len(self._labeled) // batch_size)

    @overload
    def training(
        self,
        epoch: int,
        *,
        batch_size: int,
        auxiliary_batch_size: int = 0,
        workers: int = 0,
        start: int = 0,
        halves: Literal[False] = False,
    ) -> Iterator[Batch]: ...
    @overload
    def training(
        self,
        epoch: int,
        *,
        batch_size: int,
        auxiliary_batch_size: int = 0,
        workers: int = 0,
        start: int = 0,
        halves: Literal[True],
    ) -> Iterator[tuple[Batch, Batch]]: ...
    def training(
        self,
        epoch: int,
        *,
        batch_size: int,
        auxiliary_batch_size: int = 0,
        workers: int = 0,
        start: int = 0,
        halves: bool = False,
    ) -> Iterator[Batch] | Iterator[tuple[Batch, Batch]]:
        """An epoch: a pass over the samples that carry the primary's label, in an order that (seed, epoch) decide.

        A batch holds ``batch_size`` of them, then ``auxiliary_batch_size`` samples drawn from all that carry any label: without
        repetition until all have had their turn.

        Args:
            epoch: Its number, from 0.
            batch_size: Samples that carry the primary's label.
            auxiliary_batch_size: Samples drawn from all.
            workers: Processes that make the batches; the result does not depend on it.
            start: Batches (or pairs) to leave out at the beginning, as an interrupted epoch had them.
            halves: Split the primary's samples at random in two halves and yield pairs, a batch of each: for alphas, for weights.
        Raises:
            DataError: A sample can't be read.
        """
        order = self._shuffled(self._labeled, "order", epoch)
        streams = [order]
        if halves:
            middle = len(order) // 2
            streams = [order[:middle], order[middle : 2 * middle]] if middle else [order, order]  # a single sample can't be split
        steps = max(1, len(streams[0]) // batch_size)
        extra = self._auxiliary(epoch)
        plans: list[Plan] = []
        for step in range(steps):
            for stream in streams:
                chosen = [(item, 0) for item in stream[step * batch_size : (step + 1) * batch_size]]
                chosen += islice(extra, auxiliary_batch_size)
                plans.append(Plan(tuple(item for item, _ in chosen), tuple(times for _, times in chosen), epoch))
        batches = self._server.again(plans[start * len(streams) :], workers)
        return zip(batches, batches, strict=True) if halves else batches

    def evaluation(self, split: Split, batch_size: int, workers: int = 0) -> Iterator[Batch]:
        """Every sample of a split that carries any label, once, in order, without random changes.

        Args:
            split: training, validation or test.
            batch_size: Samples in a batch; the last one may be short.
            workers: Processes that make the batches.
        Raises:
            DataError: The split has no such sample, or a sample can't be read.
        """
        items = [item for item in self._items(split) if item.tasks]
        if not items:
            fix = "give a source test: PATH" if split == "test" else f"labels for samples of {split}"
            raise DataError(self._samples.problem(f"no {split} sample carries a label of a task that is trained", "sources", fix=fix))
        plans = [Plan(tuple(items[start : start + batch_size])) for start in range(0, len(items), batch_size)]
        if split != "validation":
            return self._server.once(plans, workers)
        return self._server.noted(self._validation.batches(plans, workers))

    @property
    def skipped(self) -> Mapping[str, str]:
        """Sample that was left out so far (``on_error: skip``) -> what is wrong with it."""
        return self._skips.reasons

    def _usable(self, item: Item) -> Sample | None:
        """The sample for evaluation; ``None`` if it is left out."""
        batch = next(self._server.once([Plan((item,))], 0), None)
        return None if batch is None else self._samples.for_evaluation(item)

    def _items(self, split: str) -> Sequence[Item]:
        if split == "test" and "test" not in self._splits:
            self._splits["test"] = self._open_test()
        return self._splits[split]

    def _auxiliary(self, epoch: int) -> Iterator[tuple[Item, int]]:
        """Samples drawn from all, without end, each with how often the epoch had it before (the primary's own pass counting once)."""
        lap = 0
        while True:
            lap += 1
            yield from ((item, lap) for item in self._shuffled(self._any, "auxiliary", epoch, lap))

    def _shuffled(self, items: Sequence[Item], *what: object) -> list[Item]:
        order = list(items)
        Random("/".join(map(str, (*what, self._samples.seed)))).shuffle(order)
        return by_shards(order, self._samples.records)
