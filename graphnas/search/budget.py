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
        alternating: Whether every weight update comes with an alpha step on a batch of its own.
        first_epoch: Number of the first epoch, from 0: a later phase goes on counting, so that it sees other draws.
        after: Weight updates of the phase that it goes on from; if there come to be more, this one starts anew.
    """

    steps: int
    steps_per_epoch: int
    alternating: bool = False
    first_epoch: int = 0
    after: int = 0

    @property
    def epochs(self) -> int:
        """Passes begun; the last may be cut short."""
        return math.ceil(self.steps / self.steps_per_epoch)

    @property
    def primary_batches(self) -> int:
        """Batches with labels of the primary, those of alpha steps included."""
        return self.steps * (2 if self.alternating else 1)


def budget(batches_per_epoch: int, *, epochs: int | None, steps: int | None, alternating: bool, follows: Budget | None = None) -> Budget:
    """The budget of ``epochs`` or ``steps`` of a spec.

    Args:
        batches_per_epoch: Batches with labels of the primary in a pass over them.
        epochs: Passes, or
        steps: weight updates: one of the two.
        alternating: Half of an epoch's batches step the alphas.
        follows: The phase before, whose epochs are counted on.
    """
    steps_per_epoch = max(1, batches_per_epoch // 2) if alternating else batches_per_epoch
    total = steps if steps is not None else (epochs or 0) * steps_per_epoch
    if follows is None:
        return Budget(total, steps_per_epoch, alternating)
    return Budget(total, steps_per_epoch, alternating, follows.first_epoch + follows.epochs, follows.steps)


def same_labels(other: Budget, batches_per_epoch: int) -> Budget:
    """A budget without alpha steps over as many batches with the primary's label as another one."""
    return Budget(other.primary_batches, batches_per_epoch)
