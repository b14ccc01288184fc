"""The primary alone: once its auxiliaries weigh nothing for the rest of training, and nothing of theirs leads into it, the rest is its own.

From there on no auxiliary samples are drawn, no auxiliary branch runs, forward, back or in evaluation, and alphas stay as they are: a step
costs what a step of the single task costs. A batch norm of the primary then sees samples with its labels alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphnas.compiler import Supernet
from graphnas.compiler.meta import origin_of
from graphnas.search.step import Learner


@dataclass(frozen=True)
class Alone:
    """Says when, and trains what is left.

    Args:
        net: The supernet.
        learner: What trains all of it.
    """

    net: Supernet
    learner: Learner

    def due(self, progress: float) -> bool:
        """Whether from this share of training on only the primary's loss counts, and no other branch runs for its prediction."""
        others = [task for task in self.learner.tasks if task != self.net.primary]
        return self.learner.balance.weightless(others, progress).issuperset(others) and not self._reads_others()

    def left(self) -> Learner:
        """What trains the primary alone: the same optimizer of the weights, the same balance."""
        network, tasks = self.net.view([self.net.primary]).train(), {self.net.primary: self.learner.tasks[self.net.primary]}
        return replace(self.learner, network=network, tasks=tasks, alphas=None, penalty=None, after_alpha_step=None, parts=None)

    def line(self) -> str:
        """For the log."""
        return f"auxiliaries weigh nothing from here on and no link leads into {self.net.primary!r}: it goes on alone"

    def _reads_others(self) -> bool:
        origins = [origin for node in self.net.view([self.net.primary]).graph.nodes if (origin := origin_of(node)) is not None]
        return any(origin.task is not None and origin.task != self.net.primary for origin in origins)
