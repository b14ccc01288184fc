"""An attribution as rows of tables, and in words: which tasks to drop, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.compare.attribution import Attributed, Attribution
from graphnas.compare.results import Compared
from graphnas.compare.signals import Signals, pooled
from graphnas.compare.tables import cell_name, interval, number, p_text, percent

TASK_COLUMNS = ("auxiliary", "all - without it", "p", "wins", "alone - single task", "p alone", "verdict")
SIGNAL_COLUMNS = ("auxiliary", "cosine", "early", "late", "negative", "gradient ratio", "gate", "links' worth")
LINK_COLUMNS = ("link", "metric", "with it", "without it", "worth", "primary's change")


def task_row(found: Attributed) -> tuple[str, ...]:
    """A row of the table of tasks."""
    left_out, alone = found.left_out, found.alone
    wins = "-" if left_out is None or left_out.wins is None or left_out.difference is None else f"{left_out.wins}/{left_out.difference.n}"
    return found.task, _difference(left_out), _p(left_out), wins, _difference(alone), _p(alone), found.verdict


def signal_rows(found: Sequence[Signals]) -> list[tuple[str, ...]]:
    """Means over runs, a row an auxiliary."""
    return [
        (
            task, *(number(values[name], sign=True) for name in ("cosine", "early", "late")),
            "-" if (share := values["conflicts"]) is None else percent(share),
            *(number(values[name]) for name in ("ratio", "gate")), number(values["worth"], sign=True),
        )
        for task, values in pooled(found).items()
    ]  # fmt: skip


def link_rows(found: Signals) -> list[tuple[str, ...]]:
    """A row a primary-to-auxiliary link, what is worth most first."""
    return [
        (
            e.link,
            f"{e.metric} of {e.task}",
            number(e.value),
            number(e.without),
            number(e.worth, sign=True),
            number(e.primary_change, sign=True),
        )
        for e in found.effects
    ]


def words(found: Attribution) -> list[str]:
    """What to drop and what to keep, a sentence each, and how sure."""
    if not found.metric:
        return ["no run is finished"]
    several = any(_tested(task.left_out) for task in found.tasks)
    lines = [_conclusion(found, several=several), *(_sentence(task, found.metric) for task in found.tasks)]
    if several:
        count = sum(_tested(task.left_out) for task in found.tasks)
        lines.append(
            f"± and [] are {percent(found.comparison.confidence)} t intervals, differences are paired by seed; p is corrected for "
            f"{count} auxiliar{'ies' if count > 1 else 'y'} (Holm), significant below {1 - found.comparison.confidence:.3g}"
        )
    else:
        lines.append("one seed: no intervals and no tests, so nothing here is significant; --seeds 5 tells")
    lines += dict.fromkeys(remark for signals in found.signals.values() for remark in signals.remarks)
    lines += [f"failed: {cell_name(cell)}: {reason.splitlines()[0]}" for cell, reason in found.comparison.failed.items()]
    return lines


def signal_words(found: Signals) -> list[str]:
    """What one run hints at, and no more."""
    lines: list[str] = []
    for signal in found.tasks:
        if signal.cosine is None or signal.conflicts is None:
            continue
        way = "against" if signal.cosine < 0 else "along with"
        lines.append(
            f"{signal.task}: pulled {way} the primary: cosine {signal.cosine:+.2f} on average, "
            f"negative in {percent(signal.conflicts)} of the measurements"
        )
    doubtful = [signal.task for signal in found.tasks if signal.cosine is not None and signal.cosine < 0]
    if doubtful:
        lines.append(f"the first to try without: {', '.join(doubtful)}")
    return [*lines, *found.remarks]


def _conclusion(found: Attribution, *, several: bool) -> str:
    """The tasks by what is to be done with them."""
    if not several:
        doubtful = [task.task for task in found.tasks if task.verdict == "leans drop"]
        return f"by this one seed, which proves nothing, one would drop: {', '.join(doubtful) or 'none'}"
    by: dict[str, list[str]] = {}
    for task in found.tasks:
        sure = task.verdict in ("drop", "keep")
        name = task.task if sure or task.verdict == "unknown" else f"{task.task} ({task.verdict})"
        by.setdefault(task.verdict if sure else "not sure", []).append(name)
    said = [f"drop: {', '.join(by.get('drop', [])) or 'none'}"]
    said += [f"{name}: {', '.join(by[name])}" for name in ("keep", "not sure") if name in by]
    return "; ".join(said)


def _sentence(task: Attributed, metric: str) -> str:
    left_out = task.left_out
    if left_out is None or left_out.difference is None:
        return f"{task.task}: no seed has both runs, with and without it"
    difference = left_out.difference
    size = f"{metric} {number(difference.mean, sign=True)} with it"
    if difference.low is None or difference.high is None or left_out.p is None:
        way = {True: "better", False: "worse", None: "the same"}[left_out.better]
        return f"{task.task}: the primary was {way} with it on one seed: {size}"
    wins = "" if left_out.wins is None else f", better in {left_out.wins} of {difference.n} seeds"
    p = p_text(left_out.p) if left_out.p < 0.001 else f"= {p_text(left_out.p)}"
    size += f" [{number(difference.low, sign=True)}, {number(difference.high, sign=True)}], p {p}{wins}"
    if not left_out.significant:
        return f"{task.task}: no significant difference with and without it: {size}"
    return f"{task.task}: the primary is significantly {'better' if left_out.better else 'worse'} with it: {size}"


def _tested(found: Compared | None) -> bool:
    return found is not None and found.p is not None


def _difference(found: Compared | None) -> str:
    return "-" if found is None else interval(found.difference, sign=True)


def _p(found: Compared | None) -> str:
    return "-" if found is None or found.p is None else p_text(found.p)
