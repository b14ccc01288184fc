"""Numbers and names as pages show them: with unit, and with the direction that is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphnas.tasks.base import TaskType

DIRECTIONS = {"a2p": "auxiliary to primary", "p2a": "primary to auxiliary", "a2a": "auxiliary to auxiliary"}
_BETTER = {"min": "lower is better", "max": "higher is better"}


def label(metric: str, task: TaskType) -> str:
    """``mean_angle (°, lower is better)``."""
    about = ", ".join(part for part in (unit(metric, task), better(metric, task)) if part)
    return f"{metric} ({about})" if about else metric


def unit(metric: str, task: TaskType) -> str:
    """Of a metric; empty for a bare number."""
    return task.metric_units.get(metric.partition("/")[0], "")


def better(metric: str, task: TaskType) -> str:
    """Which direction is; empty where none is."""
    return _BETTER.get(task.metric_directions.get(metric, ""), "")


def number(value: Any, *, sign: bool = False) -> str:
    """Four significant digits; whole numbers in groups of three; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:{'+' if sign else ''},}"
    return f"{value:{'+' if sign else ''}.4g}"


def count(value: int) -> str:
    """A large count in three digits: 12.3 k, 4.56 M, 1.20 G."""
    for limit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {name}"
    return str(value)


def duration(seconds: float) -> str:
    """``48.2 s``, ``12 min``, ``3.1 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def yes(value: bool) -> str:
    """Yes or no."""
    return "yes" if value else "no"


def against(values: Mapping[str, float | None], metric: str, task: TaskType, before: Mapping[str, float | None]) -> str | None:
    """``better than the single task by 2.1 ° (6 %)``; ``None`` where one of them has no value."""
    own, other = values.get(metric), before.get(metric)
    direction = task.metric_directions.get(metric)
    if own is None or other is None or direction is None:
        return None
    gain = (other - own) if direction == "min" else (own - other)
    if gain == 0:
        return "as good as the single task"
    share = f" ({100 * abs(gain) / abs(other):.3g} %)" if other else ""
    said = f"{abs(gain):.4g} {unit(metric, task)}".strip()
    return f"{'better' if gain > 0 else 'worse'} than the single task by {said}{share}"
