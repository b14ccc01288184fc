"""What a run writes down of each link and of the tasks' gradients: ``gates.jsonl`` and ``gradients.jsonl``.

::

    gates.jsonl      {"phase", "epoch", "step", "links": [{id, direction, operations}, ...]}  before the first gates, and when links change
                     {"phase", "epoch", "step", "gates": [[g, ...], ...]}       a list a link, a number a candidate operation
    gradients.jsonl  {"phase", "epoch", "step", "agreements": [{task, tap, cosine, ratio, samples}, ...]}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graphnas.compiler import Supernet
from graphnas.data import Batch
from graphnas.graph.links import Link
from graphnas.search.gradient_probe import Agreement
from graphnas.search.trace import Trace, read_trace
from graphnas.spec.search import Every

GATES, GRADIENTS = "gates.jsonl", "gradients.jsonl"


@dataclass(frozen=True)
class Watched:
    """What is written down of a phase beside its metrics.

    Args:
        gates: Link id -> its gates, a number a candidate operation.
        links: Id -> link, of all of them.
        gradients: Of a batch; ``None`` where nobody asked.
        gradients_every: How often.
    """

    gates: Callable[[], Mapping[str, Sequence[float]]]
    links: Mapping[str, Link] = field(default_factory=dict[str, Link])
    gradients: Callable[[Batch], Sequence[Agreement]] | None = None
    gradients_every: Every | None = None


class Recorder:
    """Writes for one phase.

    Args:
        folder: Of the run.
        phase: Its name.
        watched: What; ``None`` for nothing.
    """

    def __init__(self, folder: Path, phase: str, watched: Watched | None) -> None:
        self._phase = phase
        self._watched = watched
        self._gates, self._gradients = Trace(folder / GATES), Trace(folder / GRADIENTS)
        self._links: list[str] | None = None  # those of the last line that says them

    def go_back(self, step: int) -> None:
        """Forget what comes again."""
        for trace in (self._gates, self._gradients):
            trace.go_back(self._phase, step)
        self._links = None

    def gates(self, epoch: int, step: int) -> None:
        """Write the gates of every link."""
        found = None if self._watched is None else self._watched.gates()
        if not found:
            return
        place = {"phase": self._phase, "epoch": epoch, "step": step}
        if list(found) != self._links:
            self._links = list(found)
            self._gates.write({**place, "links": [_described(link, self._watched) for link in self._links]})
        self._gates.write({**place, "gates": [[float(f"{gate:.6g}") for gate in gates] for gates in found.values()]})

    def gradients(self, batch: Batch, epoch: int, step: int) -> None:
        """Measure on a batch, and write that."""
        if self._watched is None or self._watched.gradients is None:
            return
        agreements = [asdict(found) for found in self._watched.gradients(batch)]
        self._gradients.write({"phase": self._phase, "epoch": epoch, "step": step, "agreements": agreements})


def _described(link: str, watched: Watched | None) -> dict[str, Any]:
    known = None if watched is None else watched.links.get(link)
    return {"id": link} if known is None else {"id": link, "direction": known.direction, "operations": list(known.operations)}


def link_gates(net: Supernet) -> Callable[[], dict[str, list[float]]]:
    """Link id -> its gates as they are in eval mode; no random number is drawn."""

    def gates() -> dict[str, list[float]]:
        training = [fusion for fusion in net.fusions.values() if fusion.training]
        for fusion in training:
            fusion.training = False
        try:
            return {link: [float(value) for value in gate.detach().cpu().numpy()] for link, gate in net.gates().items()}
        finally:
            for fusion in training:
                fusion.training = True

    return gates


def read_links(folder: Path) -> dict[str, dict[str, Any]]:
    """Link id -> ``direction`` (a2p, p2a, a2a) and ``operations``, of all that were ever written."""
    return {link["id"]: link for row in read_trace(folder / GATES) for link in row.get("links", ())}


def read_gates(folder: Path) -> dict[str, list[tuple[int, dict[str, list[float]]]]]:
    """Phase -> (step, link id -> gates) of each time that they were written, in order."""
    found: dict[str, list[tuple[int, dict[str, list[float]]]]] = {}
    links: dict[str, list[str]] = {}
    for row in read_trace(folder / GATES):
        if "links" in row:
            links[row["phase"]] = [link["id"] for link in row["links"]]
        elif row["phase"] in links:
            gates = dict(zip(links[row["phase"]], row["gates"], strict=False))
            found.setdefault(row["phase"], []).append((row["step"], gates))
    return found


def read_gradients(folder: Path) -> dict[str, list[tuple[int, list[Agreement]]]]:
    """Phase -> (step, what was measured), in order."""
    found: dict[str, list[tuple[int, list[Agreement]]]] = {}
    for row in read_trace(folder / GRADIENTS):
        agreements: list[Any] = row["agreements"]
        found.setdefault(row["phase"], []).append((row["step"], [Agreement(**agreement) for agreement in agreements]))
    return found
