"""Live cutting: a link that converges to zero and whose gate is exactly zero for some epochs is cut while training goes on.

Nothing that is computed changes by it, up to the sign of zeros: what such a link adds is zero, and so is the gradient that goes back
through it. What ends is the link's chance to return: a ``projected01`` gate at its border still gets a gradient and may leave it again,
which is what ``patience`` waits for; an alpha that ``clamp01`` or ``clamp11`` holds outside gets none.

Penalties, means of gates and the proximal step go over all links of a rule, as before; those that are cut count with gates of zero.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from graphnas.compiler import Supernet
from graphnas.gates.base import Penalty
from graphnas.prune import links_at_zero, links_to_cut, run_without
from graphnas.search.state import State


@dataclass(frozen=True)
class LiveCutting:
    """Cuts links of a supernet at the end of epochs.

    Args:
        net: The supernet that is trained.
        patience: Epochs in a row at whose end a gate is exactly zero before its link is cut. They count from where the penalty of the
            link's rule has come to work, if it has one.
    """

    net: Supernet
    patience: int

    def after_epoch(self, state: State, progress: float) -> str | None:
        """Cut what is due; keeps count in ``state``.

        Args:
            state: Of the phase.
            progress: Share of training that is done.
        Returns:
            A line for the log, if anything was cut.
        """
        zero, cut = links_at_zero(self.net), set(state.cut)
        waiting = [
            link.id for link in links_to_cut(self.net) if link.id in zero and link.id not in cut and self._pressed(link.rule, progress)
        ]
        state.at_zero = {link: state.at_zero.get(link, 0) + 1 for link in waiting}
        due = [link for link in waiting if state.at_zero[link] >= self.patience]
        if not due:
            return None
        state.cut = [*state.cut, *due]
        state.at_zero = {link: epochs for link, epochs in state.at_zero.items() if link not in due}
        self.set(state.cut)
        return self._line(len(due), state.cut)

    def set(self, ids: Collection[str]) -> None:
        """Run without exactly these links: those of a checkpoint, or of the state that was selected."""
        run_without(self.net, ids)

    @property
    def complete(self) -> bool:
        """Whether all links that converge to zero are cut: what is trained predicts the primary as what is shipped does."""
        rounded = any(self.net.rule_of(link).converges_to == "binary" for link in self.net.links)
        return not rounded and self.net.cut.issuperset(link.id for link in links_to_cut(self.net))

    def _pressed(self, rule: int, progress: float) -> bool:
        penalty = self.net.space.links[rule].penalty
        return not isinstance(penalty, Penalty) or penalty.strength_at(progress) > 0

    def _line(self, now: int, cut: Collection[str]) -> str:
        all_of_them = len(links_to_cut(self.net))
        left = all_of_them - len(cut)
        rest = f"{left} of {all_of_them} that converge to zero are left" if left else f"none of {all_of_them} that converge to zero is left"
        links = "a link whose gate was" if now == 1 else f"{now} links whose gates were"
        epochs = "at the end of an epoch" if self.patience == 1 else f"at the end of {self.patience} epochs in a row"
        return f"cut {links} exactly zero {epochs}; {rest}"
