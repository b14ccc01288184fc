"""Which auxiliaries are there: the arms of an attribution, each a search with some of them, as a plan of a comparison.

::

    single-task    none              all            every one
    without-X      all but X         only-X         X alone

Two arms that are the same search are one: with two auxiliaries, ``without-a`` is ``only-b``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from graphnas.compare.methods import SINGLE
from graphnas.compare.plan import Plan, Variant, checked_confidence, refuse_base, resolved, single_task
from graphnas.errors import GraphNASError, Where
from graphnas.spec import SearchSpec
from graphnas.spec.search import Every
from graphnas.spec.search_space import ROLES, FusionSpec

ALL = "all"


def arm_of(kept: Collection[str], auxiliaries: Sequence[str]) -> str:
    """The name of the arm with these auxiliaries: none, one, all but one, or all."""
    left = [task for task in auxiliaries if task not in kept]
    if not left:
        return ALL
    if not kept:
        return SINGLE
    return f"without-{left[0]}" if len(left) == 1 else f"only-{next(iter(kept))}"


def with_auxiliaries(spec: SearchSpec, kept: Collection[str]) -> SearchSpec:
    """The same search with these auxiliaries alone: what concerns the others is taken out. Without any it is the single task."""
    if not kept:
        return single_task(spec)
    pair, primary, training = spec.task_pair, spec.primary_task, spec.training
    tasks = {task: kind for task, kind in pair.tasks.items() if task == primary or task in kept}
    left = tuple(f"branches.{task}." for task in pair.tasks if task not in tasks)
    left += tuple(f"joints.{task}." for task in pair.tasks if task not in tasks)
    weights = training.optimizers.weights
    groups = {glob: own for glob, own in weights.groups.items() if not glob.startswith(left)}
    optimizers = training.optimizers.model_copy(update={"weights": weights.model_copy(update={"groups": groups})})
    known = (*ROLES, *tasks)
    space = spec.space
    fusion = space.fusion if isinstance(space.fusion, FusionSpec) else {name: own for name, own in space.fusion.items() if name in known}
    rules = tuple(rule for rule in space.links if rule.source in known and rule.destination in known)
    return spec.model_copy(
        update={
            "task_pair": pair.model_copy(update={"primary": primary, "tasks": tasks}),
            "primary": None,
            "networks": {task: use for task, use in spec.networks.items() if task in tasks or task == "*"},
            "space": space.model_copy(update={"links": rules, "fusion": fusion}),
            "balance": _of_tasks(spec, tasks),
            "training": training.model_copy(update={"optimizers": optimizers}),
        }
    )


def _of_tasks(spec: SearchSpec, tasks: Collection[str]) -> object:
    weights = {task: weight for task, weight in getattr(spec.balance, "weights", {}).items() if task in tasks}
    return spec.balance.model_copy(update={"weights": weights})


def plan_arms(spec: str | Path, *, seeds: int = 5, overrides: Sequence[str] = (), confidence: float | None = None) -> Plan:
    """The runs of an attribution: with every auxiliary, without each, with each alone, and without any.

    Args:
        spec: A search spec's file, or the name of a shipped one.
        seeds: Of each.
        overrides: ``FIELD=VALUE`` each.
        confidence: Of the intervals; to ask for it with one seed is refused.
    Raises:
        GraphNASError: All that is wrong with the spec.
    """
    if seeds < 1:
        raise GraphNASError(f"at least one seed is needed, got {seeds}", where=Where("--seeds"), fix="--seeds 5")
    confidence = checked_confidence(confidence, seeds)
    base = resolved(spec, overrides)
    refuse_base(base, ["an attribution"])
    auxiliaries = base.auxiliaries
    kept_by_arm: dict[str, tuple[str, ...]] = {SINGLE: (), ALL: auxiliaries}
    for task in auxiliaries:
        kept_by_arm.setdefault(arm_of(rest := [t for t in auxiliaries if t != task], auxiliaries), tuple(rest))
    for task in auxiliaries:
        kept_by_arm.setdefault(arm_of([task], auxiliaries), (task,))
    variants = [Variant(name, {}, name, _arm(base, kept)) for name, kept in kept_by_arm.items()]
    methods, first = tuple(kept_by_arm), base.seed
    return Plan(methods, tuple(variants), tuple(range(first, first + seeds)), "epochs", {}, confidence, auxiliaries)


def _arm(base: SearchSpec, kept: Collection[str]) -> SearchSpec:
    """With cosines of gradients, once an epoch unless the spec says how often: they don't change what is trained."""
    runtime = base.runtime if base.runtime.log_gradients or not kept else base.runtime.model_copy(update={"log_gradients": Every(epochs=1)})
    return with_auxiliaries(base, kept).model_copy(update={"baseline": "none", "runtime": runtime})
