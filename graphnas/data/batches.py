"""Samples -> batches, in this process or in workers, with the same result.

A plan says what a batch holds; whoever carries it out needs nothing else. So batches do not depend on who makes them, and an epoch can be
entered anywhere.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from graphnas.data.samples import Item, Sample, Samples
from graphnas.data.skipping import Skipped, Skips
from graphnas.data.tensors import plain
from graphnas.errors import DataError, Problem, RunError


@dataclass(frozen=True)
class Batch:
    """N samples.

    Args:
        inputs: Input -> (N, 3, H, W), normalized.
        targets: Task -> the targets of the rows that have its label; a task that no row has a label for is left out.
        rows: Task -> which rows those are, int64, in order.
        ids: The N samples' names, ``rooms/0012``.
        skipped: Samples that belong here too and can't be used.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    rows: dict[str, Tensor]
    ids: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    def pin_memory(self) -> Batch:
        """The same in memory from which a CUDA device takes it while it computes; torch's loader asks for it by this name."""
        inputs, targets, rows = ({name: tensor.pin_memory() for name, tensor in d.items()} for d in (self.inputs, self.targets, self.rows))
        return Batch(inputs, targets, rows, self.ids, self.skipped)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch holds.

    Args:
        items: The samples, in order.
        occurrences: For each, how often the epoch had it before; none for evaluation.
        epoch: Which epoch; ``None`` for evaluation.
    """

    items: tuple[Item, ...]
    occurrences: tuple[int, ...] = ()
    epoch: int | None = None


@dataclass(frozen=True)
class Normalization:
    """(x - mean) / std of each channel, of images where 1 is white."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), bytes or 32-bit numbers where 1 is white -> 32-bit numbers."""
        white = 255.0 if images.dtype == torch.uint8 else 1.0
        scale = torch.tensor([1 / (white * std) for std in self.std]).view(3, 1, 1)
        shift = torch.tensor([-mean / std for mean, std in zip(self.mean, self.std, strict=True)]).view(3, 1, 1)
        return torch.addcmul(shift, images.float(), scale)


class Maker(Dataset[Any]):
    """Carries plans out. To torch it is a data set whose samples are batches and whose indices are plans."""

    def __init__(self, samples: Samples, normalizations: Mapping[str, Normalization]) -> None:
        self._samples = samples
        self._normalizations = dict(normalizations)

    def __getitem__(self, plan: Plan) -> Batch | tuple[Problem, ...]:
        """The batch, or what is wrong: an error would not come whole through torch's queue."""
        try:
            return self.make(plan)
        except DataError as error:
            return error.problems

    def make(self, plan: Plan) -> Batch:
        """The batch.

        Raises:
            DataError: A sample can't be read, or samples are of different sizes.
        """
        samples = self._samples
        found, skipped = self._found(plan)
        if not found:
            return Batch({}, {}, {}, (), skipped)
        inputs: dict[str, Tensor] = {}
        for index, (name, normalization) in enumerate(self._normalizations.items()):
            images = [plain(sample.values[index]) for sample in found]
            if len({image.dtype for image in images}) > 1:
                images = [image.float() / 255 if image.dtype == torch.uint8 else image for image in images]
            inputs[name] = normalization.apply(self._stacked(name, found, images))
        targets: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        for name, task in samples.tasks.items():
            labeled = [row for row, sample in enumerate(found) if name in sample.names]
            if labeled:
                values = [plain(found[row].values[found[row].names.index(name)]) for row in labeled]
                values = [value.long() for value in values] if task.target_kind == "ids" else values
                targets[name] = self._stacked(name, [found[row] for row in labeled], values)
                rows[name] = torch.tensor(labeled)
        return Batch(inputs, targets, rows, tuple(sample.item.id for sample in found), skipped)

    def _found(self, plan: Plan) -> tuple[list[Sample], tuple[Skipped, ...]]:
        """The samples of a plan, but for those that can't be used and may be left out.

        Raises:
            DataError: One can't be used.
        """
        found: list[Sample] = []
        skipped: list[Skipped] = []
        for item, times in zip(plan.items, plan.occurrences or (0,) * len(plan.items), strict=True):
            try:
                if plan.epoch is None:
                    found.append(self._samples.for_evaluation(item))
                else:
                    found.append(self._samples.for_training(item, plan.epoch, times))
            except DataError as error:
                if item.source not in self._samples.lenient:
                    raise
                skipped.append(Skipped(item.id, item.source, item.part, error.problems[0].message))
        return found, tuple(skipped)

    def _stacked(self, name: str, samples: Sequence[Sample], values: Sequence[Tensor]) -> Tensor:
        for sample, value in zip(samples, values, strict=True):
            if value.shape != values[0].shape:
                sizes = [f"{s.item.id} [{v.shape[-2]}, {v.shape[-1]}]" for s, v in ((samples[0], values[0]), (sample, value))]
                message = f"samples of one batch are of different sizes in {name!r}: {' and '.join(sizes)}"
                fix = "start transforms with resize: [HEIGHT, WIDTH]; a random crop alone leaves evaluation as it is"
                raise DataError(self._samples.problem(message, "transforms", fix=fix))
        return torch.stack(list(values))


class _Plans(Sampler[Plan]):
    """The plans of the epoch that is served at the moment."""

    def __init__(self, plans: Sequence[Plan] = ()) -> None:
        self.now = plans

    def __iter__(self) -> Iterator[Plan]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


Same = TypeVar("Same")


def _as_it_is(value: Same) -> Same:
    return value


class Server:
    """Serves batches by plans. Workers, where wanted, stay from one epoch to the next and keep their decoded samples.

    Args:
        maker: Makes the batches.
        skips: Counts what is left out.
        pin_memory: Whether batches lie in pinned memory.
    """

    def __init__(self, maker: Maker, skips: Skips, *, pin_memory: bool = False) -> None:
        self._maker = maker
        self._skips = skips
        self._pin_memory = pin_memory
        self._plans = _Plans()
        self._staying: dict[int, DataLoader[Any]] = {}
        self._turn = 0

    def once(self, plans: Sequence[Plan], workers: int) -> Iterator[Batch]:
        """The batches of these plans, in order.

        Args:
            plans: What the batches hold.
            workers: Processes that make them; 0 makes them here, when asked for.
        Raises:
            DataError: A sample can't be read.
        """
        return self.noted(self.each(plans, workers))

    def each(self, plans: Sequence[Plan], workers: int) -> Iterator[Batch]:
        """As ``once``, but a batch for every plan, also where none of its samples can be used; nothing is counted."""
        if workers == 0 or not plans:
            return self._made_here(plans)
        return _checked(self._loader(_Plans(plans), workers, stay=False))

    def again(self, plans: Sequence[Plan], workers: int) -> Iterator[Batch]:
        """As ``once``, but of batches to learn from, and workers stay for the next call; so one pass at a time.

        Raises:
            DataError: As there, or no sample of a batch can be used.
        """
        return self._whole(self.noted(self._made_here(plans), empty=True) if workers == 0 else self._one_at_a_time(plans, workers))

    def _made_here(self, plans: Sequence[Plan]) -> Iterator[Batch]:
        for plan in plans:
            batch = self._maker.make(plan)
            yield batch.pin_memory() if self._pin_memory else batch

    def _one_at_a_time(self, plans: Sequence[Plan], workers: int) -> Iterator[Batch]:
        self._turn += 1
        turn = self._turn
        self._plans.now = plans
        if workers not in self._staying:
            self._staying[workers] = self._loader(self._plans, workers, stay=True)
        try:
            for batch in self.noted(_checked(self._staying[workers]), empty=True):
                assert turn == self._turn, "another epoch was started before this one had ended"
                yield batch
        except (DataError, RunError):
            del self._staying[workers]
            raise

    def noted(self, batches: Iterable[Batch], *, empty: bool = False) -> Iterator[Batch]:
        """The batches that hold something, or all; what is missing in them is counted."""
        for batch in batches:
            self._skips.add(batch.skipped)
            if batch.ids or empty:
                yield batch

    @staticmethod
    def _whole(batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if not batch.ids:
                message = f"no sample of a batch can be used; the first: {batch.skipped[0].reason}"
                raise DataError(message, fix="mend or remove them, or a larger batch_size")
            yield batch

    def _loader(self, plans: _Plans, workers: int, *, stay: bool) -> DataLoader[Any]:
        return DataLoader(
            self._maker,
            batch_size=None,
            sampler=plans,
            num_workers=workers,
            collate_fn=_as_it_is,
            persistent_workers=stay,
            pin_memory=self._pin_memory,
            worker_init_fn=_deaf,
            generator=torch.Generator(),  # else torch draws the workers' seeds from the global generator
        )


def _deaf(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; what it means is up to the one that trains, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(results: Any) -> None:
    """End the workers of an iterator, dead ones among them, so that torch does not raise about those later, wherever that may be."""
    with contextlib.suppress(RuntimeError):
        results._shutdown_workers()


@contextlib.contextmanager
def workers_explained() -> Generator[None]:
    """Tell the death of a process that loads data as what it is: torch raises it wherever the signal finds the process that trains.

    Raises:
        RunError: One has died.
    """
    try:
        yield
    except RuntimeError as error:
        if _OF_A_WORKER not in str(error):
            raise
        raise _died() from error


_OF_A_WORKER = "DataLoader worker (pid"


def _died() -> RunError:
    return RunError(
        "a process that loads data has died", fix="runtime.workers: 0 shows why; if memory is short, fewer workers; then --resume"
    )


def _checked(loader: Iterable[Any]) -> Iterator[Batch]:
    problems: tuple[Problem, ...] = ()
    results = iter(loader)
    while True:
        try:
            result = next(results, None)
        except (RuntimeError, OSError, EOFError) as error:
            if isinstance(error, RuntimeError) and _OF_A_WORKER not in str(error):
                raise  # of the data set's own code
            _end(results)
            raise _died() from error
        if not isinstance(result, Batch):
            problems = result or ()
            break
        yield result
    del loader, results  # else the error keeps it, and workers that the garbage collector ends are waited for in vain, for seconds
    if problems:
        raise DataError(problems)
