"""How long a phase of training is, in weight updates and in batches that carry the primary's label."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The length of one phase.

    Args:
        steps: Weight updates.
        steps_per_epoch: Weight updates in a pass over the samples that carry the primary's label.
        alternating: Whether weight updates come with alpha steps on batches of their own.
        accumulate: Batches that one update takes.
        alphas_every: The first update of an epoch and every so-many-th after it step the alphas.
        first_epoch: Number of the first epoch, from 0: a later phase goes on counting, so that it sees other draws.
        after: Weight updates of the phase that it goes on from; if there come to be more, this one starts anew.
    """

    steps: int
    steps_per_epoch: int
    alternating: bool = False
    first_epoch: int = 0
    after: int = 0
    accumulate: int = 1
    alphas_every: int = 1

    @property
    def epochs(self) -> int:
        """Passes begun; the last may be cut short."""
        return math.ceil(self.steps / self.steps_per_epoch)

    @property
    def primary_batches(self) -> int:
        """Batches with labels of the primary, those of alpha steps included."""
        epochs, rest = divmod(self.steps, self.steps_per_epoch)
        return epochs * self.batches_of(self.steps_per_epoch) + self.batches_of(rest)

    def batches_of(self, updates: int) -> int:
        """How many batches the first updates of an epoch take."""
        return self.accumulate * (updates + (math.ceil(updates / self.alphas_every) if self.alternating else 0))


def budget(
    batches_per_epoch: int,
    *,
    epochs: int | None,
    steps: int | None,
    alternating: bool,
    follows: Budget | None = None,
    accumulate: int = 1,
    alphas_every: int = 1,
) -> Budget:
    """The budget of ``epochs`` or ``steps`` of a spec.

    Args:
        batches_per_epoch: Batches with labels of the primary in a pass over them.
        epochs: Passes, or
        steps: weight updates: one of the two.
        alternating: Some of an epoch's batches step the alphas.
        follows: The phase before, whose epochs are counted on.
        accumulate: Batches that one update takes.
        alphas_every: How many updates come to one alpha step.
    """
    one = Budget(0, 1, alternating, accumulate=accumulate, alphas_every=alphas_every)
    steps_per_epoch = batches_per_epoch // accumulate
    while steps_per_epoch > 1 and one.batches_of(steps_per_epoch) > batches_per_epoch:
        steps_per_epoch -= 1
    steps_per_epoch = max(1, steps_per_epoch)
    total = steps if steps is not None else (epochs or 0) * steps_per_epoch
    first, after = (0, 0) if follows is None else (follows.first_epoch + follows.epochs, follows.steps)
    return Budget(total, steps_per_epoch, alternating, first, after, accumulate, alphas_every)


def same_labels(other: Budget, batches_per_epoch: int) -> Budget:
    """A budget without alpha steps over as many batches with the primary's label as another one."""
    size = other.accumulate
    return Budget(max(1, other.primary_batches // size), max(1, batches_per_epoch // size), accumulate=size)
