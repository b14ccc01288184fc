"""Which batches of an epoch are for what: one update of the weights takes ``accumulate`` of them, one of the alphas as many.

::

    joint                 w  w  w  w                 every n-th of them steps the alphas too
    alternate             aw aw aw                   halves of the epoch, side by side
    alternate, every 3    aw w w  aw w w             one after the other
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from graphnas.data import Batch, Data
from graphnas.search.budget import Budget


@dataclass(frozen=True)
class Draw:
    """The batches of one update.

    Args:
        weights: For the weights; with joint steps for the alphas too.
        alphas: For the alphas alone; none with joint steps, or where this update has no alpha step.
        step_alphas: Whether the alphas are stepped.
    """

    weights: tuple[Batch, ...]
    alphas: tuple[Batch, ...] = ()
    step_alphas: bool = True

    @property
    def all(self) -> tuple[Batch, ...]:
        return (*self.alphas, *self.weights)


def draws(
    data: Data, budget: Budget, epoch: int, *, start: int, batch_size: int, auxiliary_batch_size: int, workers: int
) -> Iterator[Draw]:
    """The updates of an epoch.

    Args:
        data: The training data.
        budget: How many batches an update takes, and which updates step the alphas.
        epoch: Its number.
        start: Updates to leave out at the beginning.
        batch_size: Samples that carry the primary's label.
        auxiliary_batch_size: Samples drawn from all.
        workers: Processes that make the batches.
    """
    size, every = budget.accumulate, budget.alphas_every
    if budget.alternating and every == 1:
        pairs = data.training(
            epoch, batch_size=batch_size, auxiliary_batch_size=auxiliary_batch_size, workers=workers, start=start * size, halves=True
        )
        while group := tuple(islice(pairs, size)):
            yield Draw(tuple(weights for _, weights in group), tuple(alphas for alphas, _ in group))
        return
    used = budget.batches_of(start)
    batches = data.training(
        epoch, batch_size=batch_size, auxiliary_batch_size=auxiliary_batch_size, workers=workers, start=used, halves=False
    )
    for position in count(start):
        due = position % every == 0
        alphas = tuple(islice(batches, size)) if due and budget.alternating else ()
        weights = tuple(islice(batches, size))
        if not weights:
            return
        yield Draw(weights, alphas, due)
