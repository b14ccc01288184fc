"""What one run tells of its auxiliaries without another: cosines of gradients, gates, and what the links are worth. Hints, no proofs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from graphnas.errors import GraphNASError, Where
from graphnas.runs.ablation import LinkEffect, NoValidation, ablate_links
from graphnas.runs.folder import RunFolder, spec_of_run
from graphnas.search.checkpoint import write_atomically
from graphnas.search.gradient_probe import Agreement
from graphnas.search.log import json_ready
from graphnas.search.recorder import read_gates, read_gradients, read_links

PHASE = "search"


@dataclass(frozen=True)
class Signal:
    """Of one auxiliary in one run.

    Args:
        task: The auxiliary.
        cosine: Mean over time of the cosine between its gradient and the primary's, over all weights of the primary that both reach;
            ``None`` where it was not logged, or where nothing is shared.
        early: The same over the first third of training.
        late: The same over the last third.
        conflicts: Share of the measurements in which it is negative.
        ratio: Mean over time of the length of its gradient over that of the primary's.
        gate: Mean of the last gates of the links through which it reads the primary; ``None`` without any.
        worth: Sum over those links of what each is worth to it; ``None`` where that was not measured.
    """

    task: str
    cosine: float | None
    early: float | None
    late: float | None
    conflicts: float | None
    ratio: float | None
    gate: float | None
    worth: float | None


@dataclass(frozen=True)
class Signals:
    """Of a run.

    Args:
        tasks: Its auxiliaries.
        effects: What each primary-to-auxiliary link is worth, the largest first.
        remarks: What could not be told, and why.
    """

    tasks: tuple[Signal, ...]
    effects: tuple[LinkEffect, ...]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return json_ready(json.loads(json.dumps({**asdict(self), "effects": [asdict(e) | {"worth": e.worth} for e in self.effects]})))


def read_signals(run: str | Path) -> Signals:
    """What a finished run tells.

    Raises:
        GraphNASError: There is no run, its search is not over, or it has no auxiliaries.
    """
    path = Path(run)
    spec = spec_of_run(RunFolder(path))
    if not spec.auxiliaries:
        raise GraphNASError(
            "this run has no auxiliary: there is nothing to attribute", where=Where(str(path)), fix="name a run that has one"
        )
    remarks: list[str] = []
    try:
        effects = ablate_links(path)
    except NoValidation as error:
        effects = []
        remarks.append(error.problems[0].message)
    measured = read_gradients(path).get(PHASE, [])
    if not measured:
        remarks.append("no cosines of gradients were logged: runtime.log_gradients: {epochs: 1}")
    links = [link for link in read_links(path).values() if link.get("direction") == "p2a"]
    if not links:
        remarks.append("no link has a gate through which an auxiliary reads the primary")
    gates = read_gates(path).get(PHASE, [])
    last = gates[-1][1] if gates else {}
    whole = [row for _, rows in measured for row in rows if row.tap is None]
    tasks = tuple(_signal(task, [row for row in whole if row.task == task], last, links, effects) for task in spec.auxiliaries)
    return Signals(tasks, tuple(sorted(effects, key=lambda effect: -abs(effect.worth))), tuple(remarks))


def kept_signals(run: Path, file: Path) -> Signals:
    """Those of a finished run, read from a file where they were found before, and else written to it."""
    if (known := load_signals(file)) is not None:
        return known
    found = read_signals(run)
    write_signals(found, file)
    return found


def load_signals(file: Path) -> Signals | None:
    """What was written; ``None`` where nothing was, or the file is of something else."""
    try:
        data: Mapping[str, Any] = json.loads(file.read_bytes())
        tasks = tuple(Signal(**found) for found in data["tasks"])
        effects = tuple(LinkEffect(**{name: value for name, value in found.items() if name != "worth"}) for found in data["effects"])
        return Signals(tasks, effects, tuple(data["remarks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_signals(found: Signals, file: Path) -> None:
    """Write them for ``load_signals``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(found.to_dict(), indent=1).encode() + b"\n")


def _signal(
    task: str,
    measured: Sequence[Agreement],
    gates: Mapping[str, Sequence[float]],
    links: Sequence[Mapping[str, Any]],
    effects: Sequence[LinkEffect],
) -> Signal:
    cosines = [row.cosine for row in measured if row.cosine is not None]
    ratios = [row.ratio for row in measured if row.ratio is not None]
    third = max(1, len(cosines) // 3)
    own = [sum(gates[link["id"]]) for link in links if link["id"] in gates and _reader(link["id"]) == task]
    worths = [effect.worth for effect in effects if effect.task == task]
    return Signal(
        task, _mean(cosines), _mean(cosines[:third]), _mean(cosines[-third:]),
        _mean([float(cosine < 0) for cosine in cosines]), _mean(ratios), _mean(own), sum(worths) if worths else None,
    )  # fmt: skip


def _reader(link: str) -> str:
    """``p:a->seg:b`` -> ``seg``."""
    return link.rpartition("->")[2].partition(":")[0]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def pooled(found: Sequence[Signals]) -> dict[str, dict[str, float | None]]:
    """Task -> field -> mean over runs that have it."""
    tasks = dict.fromkeys(signal.task for signals in found for signal in signals.tasks)
    fields = ("cosine", "early", "late", "conflicts", "ratio", "gate", "worth")
    made: dict[str, dict[str, float | None]] = {}
    for task in tasks:
        own = [signal for signals in found for signal in signals.tasks if signal.task == task]
        made[task] = {name: _mean([value for signal in own if (value := getattr(signal, name)) is not None]) for name in fields}
    return made
