"""Batches that come again as they are, validation's in every evaluation: kept as they were made, while they fit.

What is kept counts towards the limit of ``runtime.cache``, in place of the samples that it was made of. It is served only while nobody has
changed it: a network that works in place on its inputs gets fresh ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from graphnas.data.batches import Batch, Plan
from graphnas.data.samples import Samples


@dataclass(frozen=True)
class _Kept:
    """A batch, and what its tensors' version counters said when it was kept: every change in place raises one."""

    batch: Batch
    versions: tuple[int, ...]

    @property
    def untouched(self) -> bool:
        return _versions(self.batch) == self.versions


class Keeper:
    """Serves the batches of plans that are always the same.

    Args:
        samples: What the batches are made of; knows how much may be kept.
        made: Makes a batch for every plan, in order, in so many processes.
    """

    def __init__(self, samples: Samples, made: Callable[[Sequence[Plan], int], Iterator[Batch]]) -> None:
        self._samples = samples
        self._made = made
        self._kept: dict[Plan, _Kept] = {}

    def batches(self, plans: Sequence[Plan], workers: int) -> Iterator[Batch]:
        """The batches of these plans, in order; only those that are not kept are made.

        Raises:
            DataError: A sample can't be read.
        """
        for plan in [plan for plan in plans if plan in self._kept and not self._kept[plan].untouched]:
            self._samples.release(_bytes(self._kept.pop(plan).batch))
        missing = self._made([plan for plan in plans if plan not in self._kept], workers)
        for plan in plans:
            kept = self._kept.get(plan)
            if kept is None:
                kept = self._keep(plan, next(missing))
            yield kept.batch

    def _keep(self, plan: Plan, batch: Batch) -> _Kept:
        if self._samples.replace(plan.items, _bytes(batch)):
            batch = _own(batch)
            self._kept[plan] = _Kept(batch, _versions(batch))
            return self._kept[plan]
        return _Kept(batch, ())


def _tensors(batch: Batch) -> list[Tensor]:
    return [tensor for named in (batch.inputs, batch.targets, batch.rows) for tensor in named.values()]


def _bytes(batch: Batch) -> int:
    return sum(tensor.nbytes for tensor in _tensors(batch))


def _versions(batch: Batch) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in _tensors(batch))


def _own(batch: Batch) -> Batch:
    """The same in this process's memory: what a worker sent holds an open file for every tensor."""
    inputs, targets, rows = (
        {name: tensor.clone() if tensor.is_shared() and not tensor.is_cuda else tensor for name, tensor in named.items()}
        for named in (batch.inputs, batch.targets, batch.rows)
    )
    return Batch(inputs, targets, rows, batch.ids, batch.skipped)
