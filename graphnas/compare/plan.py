"""What a comparison runs: cells, each a run of one method with one seed and one value of every field that is varied.

Initial weights depend on (seed, task), order and augmentation on (seed, epoch, sample): so all methods of a seed start from the same
primary and see the same samples of it in the same order, whatever else they train. The single task is the primary's network alone. It is a
cell of its own, shared by all methods, and by all values that don't concern it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast

from graphnas.compare.methods import SINGLE, Method
from graphnas.compare.statistics import CONFIDENCE
from graphnas.errors import GraphNASError, Problem, SpecError, Where, suggest
from graphnas.registry import balances
from graphnas.spec import Optimizer, SearchSpaceSpec, SearchSpec, dump_spec, load_spec
from graphnas.spec.source import read_text

BudgetKind = Literal["epochs", "time"]


@dataclass(frozen=True)
class Variant:
    """A method with values of the varied fields; its cells differ in their seeds alone.

    Args:
        method: Its name.
        values: Varied field -> value.
        folder: Of its cells, below ``cells``; variants that train the same thing share it.
        spec: What is run, with the first seed.
    """

    method: str
    values: Mapping[str, Any]
    folder: str
    spec: SearchSpec

    @property
    def name(self) -> str:
        """For people: ``aux-nas, seed=3``."""
        return ", ".join([self.method, *(f"{field}={shown(value)}" for field, value in self.values.items())])


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        name: For people.
        folder: The run folder, below the comparison's.
        spec: What is run.
    """

    name: str
    folder: str
    spec: SearchSpec


@dataclass(frozen=True)
class Plan:
    """A whole comparison.

    Args:
        methods: Names, the single task first.
        variants: Every method with every combination of values.
        seeds: Of each variant.
        budget: epochs: all learn from equally many labels of the primary; time: the single task also trains as long as each method does.
        vary: Varied field -> its values.
        confidence: Of the intervals.
        attributes: The auxiliaries that its methods tell apart, where it is an attribution.
        as_long_as: With ``budget: time``, the methods whose training time the single task is given; all, if empty.
    """

    methods: tuple[str, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    budget: BudgetKind
    vary: Mapping[str, tuple[Any, ...]]
    confidence: float = CONFIDENCE
    attributes: tuple[str, ...] = ()
    as_long_as: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """Every run once, seed by seed, so that a comparison that was stopped has whole pairs."""
        found = {cell.folder: cell for seed in self.seeds for variant in self.variants for cell in [cell_of(variant, seed)]}
        return list(found.values())

    def baseline_of(self, variant: Variant) -> Variant:
        """The single task with the same values."""
        return next(other for other in self.variants if other.method == SINGLE and other.values == variant.values)


def cell_of(variant: Variant, seed: int) -> Cell:
    """The run of a variant with a seed."""
    name = ", ".join([*variant.folder.split("/"), f"seed {seed}"])
    return Cell(name, f"cells/{variant.folder}/seed-{seed}", variant.spec.model_copy(update={"seed": seed}))


def make_plan(
    spec: str | Path,
    methods: Sequence[Method],
    *,
    seeds: int = 5,
    budget: BudgetKind = "epochs",
    vary: Mapping[str, Sequence[Any]] | None = None,
    overrides: Sequence[str] = (),
    confidence: float | None = None,
    as_long_as: Sequence[str] = (),
) -> Plan:
    """Resolve what every cell runs.

    Args:
        spec: A file, or the name of a shipped one.
        methods: Of ``read_methods``: the single task first.
        seeds: How many, from the spec's own on.
        budget: See ``Plan``.
        vary: Field -> values.
        overrides: Set for all, ``FIELD=VALUE`` each.
        confidence: Of the intervals, between 0 and 1; to ask for it with one seed is refused. 0.95, if left out.
        as_long_as: See ``Plan``.
    Raises:
        GraphNASError: All that is wrong with the spec, or with a method in it.
    """
    if seeds < 1:
        raise GraphNASError(f"at least one seed is needed, got {seeds}", where=Where("--seeds"), fix="--seeds 5")
    confidence = checked_confidence(confidence, seeds)
    _check_as_long_as(as_long_as, budget, [method.name for method in methods if method.name != SINGLE])
    base = resolved(spec, overrides)
    refuse_base(base, [f"method {method.name!r}" for method in methods if method.name != SINGLE])
    fields = {field: tuple(values) for field, values in (vary or {}).items()}
    variants: list[Variant] = []
    problems: dict[Problem, None] = {}
    for method in methods:
        for values in _combinations(fields):
            try:
                variants.append(_variant(spec, method, values, overrides))
            except SpecError as error:
                problems |= dict.fromkeys(_of_method(error, method.name))
    if problems:
        raise SpecError(problems)
    single = [variant for variant in variants if variant.method == SINGLE]
    matters = _matter(fields, single, spec, overrides)
    variants = [_shared(variant, matters) if variant.method == SINGLE else variant for variant in variants]
    _refuse_clashes(variants)
    first = base.seed
    return Plan(
        tuple(method.name for method in methods), tuple(variants), tuple(range(first, first + seeds)), budget, fields, confidence,
        as_long_as=tuple(as_long_as),
    )  # fmt: skip


def _check_as_long_as(names: Sequence[str], budget: BudgetKind, methods: Sequence[str]) -> None:
    """Refuse methods that are not compared, or a budget that has nothing to do with time."""
    where = Where("--as-long-as")
    if names and budget != "time":
        raise GraphNASError("is about the budget of time", where=where, fix="--budget time")
    problems = [Problem(f"{name!r} is not among the methods", where, fix=suggest(name, methods)) for name in names if name not in methods]
    if problems:
        raise GraphNASError(problems)


def checked_confidence(confidence: float | None, seeds: int) -> float:
    """What was asked for, if it can be had.

    Raises:
        GraphNASError: It can't.
    """
    where = Where("--confidence")
    if confidence is None:
        return CONFIDENCE
    if not 0 < confidence < 1:
        raise GraphNASError(f"must be more than 0 and less than 1, got {confidence:g}", where=where, fix="--confidence 0.95")
    if seeds < 2:
        raise GraphNASError("one seed has no interval: there is nothing to tell its spread by", where=where, fix="--seeds 5")
    return confidence


def read_vary(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """``FIELD=V1,V2`` -> field and values; each value is YAML.

    Raises:
        GraphNASError: One can't be read.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        where = Where(f"--vary {text}")
        if not equals or not field.strip() or not values.strip():
            raise GraphNASError(f"expected FIELD=V1,V2, got {text!r}", where=Where("--vary"), fix="--vary training.batch_size=8,16")
        source = read_text(f"[{values}]", str(where), lines=False)
        if source.problems:
            raise GraphNASError(source.problems)
        read = tuple(cast("list[Any]", source.data))
        if len({json.dumps(value) for value in read}) < len(read):
            raise GraphNASError("a value is named twice", where=where, fix="name each once")
        if found.setdefault(field.strip(), read) is not read:
            raise GraphNASError(f"{field.strip()} is varied twice", where=where, fix=f"one --vary {field.strip()} with all values")
    return found


def shown(value: Any) -> str:
    """A value of a varied field as tables and folders have it."""
    return value if isinstance(value, str) else json.dumps(value)


def single_task(spec: SearchSpec) -> SearchSpec:
    """The primary's network alone, trained as the search trains it, from as many of its labels.

    What concerns auxiliaries, links and alphas is taken out, so that two searches which train the same primary have the same single task.
    """
    pair, primary, training = spec.task_pair, spec.primary_task, spec.training
    use = spec.network_of(primary)
    own = spec.networks if use is None else {primary: use}
    weights = {task: weight for task, weight in getattr(spec.balance, "weights", {}).items() if task == primary}
    optimizers = training.optimizers.model_copy(update={"alphas": None, "weights": _of_primary(training.optimizers.weights, spec)})
    changes: dict[str, Any] = {
        "auxiliary_batch_size": 0,
        "updates": "joint",
        "alpha_step": type(training.alpha_step)(),
        "optimizers": optimizers,
    }
    return spec.model_copy(
        update={
            "task_pair": pair.model_copy(update={"primary": primary, "tasks": {primary: pair.tasks[primary]}}),
            "primary": None,
            "networks": own,
            "space": SearchSpaceSpec(links=()),
            "balance": balances.get("sum")(weights=weights),
            "training": training.model_copy(update=changes),
            "start_from": "scratch",
        }
    )


def longer(variant: Variant, ratio: float) -> Variant:
    """A single task that trains so many times as long, in whole epochs or steps; the same one where that changes nothing."""
    training = variant.spec.training
    unit = "epochs" if training.epochs is not None else "steps"
    length = max(1, round((training.epochs or training.steps or 0) * ratio))
    if length == getattr(training, unit):
        return variant
    name = f"{SINGLE}-{length}-{unit}"
    spec = variant.spec.model_copy(update={"training": training.model_copy(update={unit: length})})
    return replace(variant, method=name, folder="/".join([name, *variant.folder.split("/")[1:]]), spec=spec)


def _of_primary(optimizer: Optimizer, spec: SearchSpec) -> Optimizer:
    """Without groups of parameters that the primary does not have."""
    others = ("joints.", *(f"branches.{task}." for task in spec.auxiliaries))
    return optimizer.model_copy(update={"groups": {glob: own for glob, own in optimizer.groups.items() if not glob.startswith(others)}})


def resolved(spec: str | Path, overrides: Sequence[str]) -> SearchSpec:
    """The search spec of a file, or of a shipped name, with overrides."""
    loaded = load_spec(spec, kind="search", overrides=overrides)
    assert isinstance(loaded, SearchSpec)
    return loaded


def refuse_base(spec: SearchSpec, needing: Sequence[str]) -> None:
    """What no cell could run.

    Args:
        spec: What the cells are made of.
        needing: What needs an auxiliary task, for messages: ``method 'aux-head'``.
    Raises:
        SpecError: All of it.
    """
    pair = spec.task_pair
    problems = [
        pair.problem(
            f"source {name!r} is given from Python, which the processes of a comparison can't be",
            "sources", name, fix="a layout that reads files",
        )
        for name, source in pair.sources.items()
        if getattr(source, "layout", None) == "python"
    ]  # fmt: skip
    if not spec.auxiliaries:
        problems += [
            pair.problem(f"there is no auxiliary task, which {what} needs", "tasks", fix="name a task beside the primary")
            for what in needing
        ]
    if spec.training.steps is not None and spec.training.updates == "alternate":
        message = "methods that search take an alpha step before each of these, from as many labels again: no equal budget"
        problems.append(spec.problem(message, "training", "steps", fix="training.epochs, or updates: joint"))
    if problems:
        raise SpecError(problems)


def _refuse_clashes(variants: Sequence[Variant]) -> None:
    """Variants that share a folder train the same thing.

    Raises:
        SpecError: Two differ, but not in their folders' names.
    """
    known: dict[str, Variant] = {}
    for variant in variants:
        first = known.setdefault(variant.folder, variant)
        if first.spec != variant.spec:
            message = f"{first.name!r} and {variant.name!r} would have the same folder, {variant.folder}"
            raise SpecError(message, where=Where("--vary"), fix="compare them one after the other, each in a folder of its own")


def _combinations(vary: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(vary, values, strict=True)) for values in product(*vary.values()))


def _variant(spec: str | Path, method: Method, values: Mapping[str, Any], overrides: Sequence[str]) -> Variant:
    varied = [f"{field}={json.dumps(value)}" for field, value in values.items()]
    made = resolved(spec, [*_in_order(overrides, method), *varied])
    if method.name == SINGLE:
        made = single_task(made)
    return Variant(method.name, values, _folder(method.name, values), made.model_copy(update={"baseline": "none"}))


def _in_order(overrides: Sequence[str], method: Method) -> list[str]:
    """The later is set over the earlier: the method's own settings over those for all, which within a space are of the method's space."""
    own = method.overrides
    space = own[:1] if own and own[0].startswith("space=") else ()
    inside = [text for text in overrides if text.lstrip().startswith("space.")]
    return [*(text for text in overrides if text not in inside), *space, *inside, *own[len(space) :]]


def _folder(method: str, values: Mapping[str, Any]) -> str:
    return "/".join([method, *(re.sub(r"[^\w.=+-]", "_", f"{field}={shown(value)}") for field, value in values.items())])


def _shared(variant: Variant, matters: frozenset[str]) -> Variant:
    """In a folder that only names values which concern it."""
    return replace(variant, folder=_folder(variant.method, {field: value for field, value in variant.values.items() if field in matters}))


def _matter(vary: Mapping[str, tuple[Any, ...]], single: Sequence[Variant], spec: str | Path, overrides: Sequence[str]) -> frozenset[str]:
    """The varied fields that change anything in the single task."""
    found: set[str] = set()
    for field in vary:
        for variant in single:
            others = {other: value for other, value in variant.values.items() if other != field}
            if _variant(spec, Method(SINGLE), others, overrides).spec != variant.spec:
                found.add(field)
                break
    return frozenset(found)


def _of_method(error: SpecError, name: str) -> list[Problem]:
    """Problems that say of which method they are."""
    return [replace(problem, message=f"{problem.message} (method {name!r})") for problem in error.problems]


# -- as a file


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """What ``compare.json`` holds, but for what is measured."""
    variants = [
        {"method": variant.method, "values": dict(variant.values), "folder": variant.folder, "spec": dump_spec(variant.spec)}
        for variant in plan.variants
    ]
    vary = {field: list(values) for field, values in plan.vary.items()}
    return {
        "kind": "comparison",
        "version": 1,
        "methods": list(plan.methods),
        "seeds": list(plan.seeds),
        "budget": plan.budget,
        "confidence": plan.confidence,
        "attributes": list(plan.attributes),
        "as_long_as": list(plan.as_long_as),
        "vary": vary,
        "variants": variants,
    }
