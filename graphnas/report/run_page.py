"""The page of a run: what was trained, what came out, how it went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphnas.report.attribution_parts import hints
from graphnas.report.chart import Series, lines
from graphnas.report.html import Markup, figure, page, pairs, section, table, tag
from graphnas.report.link_parts import agreements, gates
from graphnas.report.reading import Run
from graphnas.report.words import against, better, count, duration, label, number, unit, yes
from graphnas.spec import dump_spec
from graphnas.spec.search import NetworkUse
from graphnas.tasks.base import TaskType

_SPLITS = {"training": "training", "validation": "validation"}


def run_page(run: Run) -> str:
    """The document."""
    title = f"{run.spec.primary_task}: {run.folder.absolute().name}"
    parts = [_summary(run), _result(run), _certificate(run), *_curves(run), _cut_gap(run), gates(run), agreements(run)]
    parts += [] if run.signals is None else [hints([run.signals], "this run")]
    parts.append(_spec(run))
    return page(title, *(part for part in parts if part is not None))


def _summary(run: Run) -> Markup:
    """What was trained, and on what."""
    spec, results = run.spec, run.results or {}
    training = spec.training
    length = f"{training.epochs} epochs" if training.epochs is not None else f"{training.steps} steps"
    batch = f"{training.batch_size} samples with the primary's label and {training.auxiliary_batch_size} of all"
    labeled = [f"{task} ({getattr(kind, 'type', '')})" for task, kind in run.tasks.items()]
    named = [f"{task}: {_network(use)}" for task, use in spec.networks.items()]
    given = [f"{task}: given from Python" for task in run.tasks if spec.network_of(task) is None]
    rules = [f"{rule.direction}, converges to {rule.converges_to}" for rule in spec.space.links]
    about = [
        ("primary", labeled[0]),
        ("auxiliaries", ", ".join(labeled[1:]) or "none"),
        ("networks", "; ".join([*named, *given])),
        ("rules of links", "; ".join(dict.fromkeys(rules)) or "none"),
        ("length", f"{length}, {training.updates} updates, a batch of {batch}"),
        ("balance", str(getattr(spec.balance, "type", ""))),
        ("seed", str(spec.seed)),
    ]
    where = spec.where()
    if where is not None:
        about.append(("spec", where.source))
    if results:
        versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        about += [("versions", versions), ("device", f"{results['device']}, {results['threads']} threads")]
    about.append(("state", "finished" if results else f"not finished: {run.rows[-1]['phase']}, epoch {run.rows[-1]['epoch']}"))
    return pairs("what was trained", about)


def _network(use: NetworkUse) -> str:
    """The file that it came from, or what it is made of."""
    where = use.use.where()
    name = "spelled out" if where is None else Path(where.source).stem
    given = ", ".join(f"{field} {value}" for field, value in use.parameters.items())
    return f"{name} ({given})" if given else name


def _result(run: Run) -> Markup | None:
    """Single task, supernet and pruned side by side."""
    if run.results is None:
        return section("Result", tag("p", "The run is not finished: there is no result yet."))
    results, task = run.results, run.tasks[run.spec.primary_task]
    rows: Sequence[Mapping[str, Any]] = results["rows"]
    metrics = [name for name in dict.fromkeys(name for row in rows for name in row["metrics"]) if "/" not in name]
    labels = [label(name, task) for name in metrics]
    columns = ["network", *labels, "inference MACs", "parameters", "training time"]
    body = [
        (
            row["name"], *(number(row["metrics"].get(name)) for name in metrics),
            count(row["macs"]), count(row["parameters"]), duration(row["seconds"]),
        )
        for row in rows
    ]  # fmt: skip
    caption = f"the primary on the {results['split']} split" if results["split"] else "no data to measure on"
    return section("Result", tag("p", _verdict(run, rows, task)), table(caption, columns, body, numbers=columns[1:]), *_auxiliaries(run))


def _verdict(run: Run, rows: Sequence[Mapping[str, Any]], task: TaskType) -> str:
    """The shipped network against the single task, in words."""
    results, known = run.results or {}, {row["name"]: row for row in rows}
    metric = results["metric"]
    value = known["pruned"]["metrics"].get(metric)
    if value is None:
        return "There was no data to measure the pruned network on."
    said = f"The network that is shipped reaches {metric} {number(value)} {unit(metric, task)}".rstrip()
    if (way := better(metric, task)) != "":
        said += f" ({way})"
    than = against(known["pruned"]["metrics"], metric, task, known["single-task"]["metrics"]) if "single-task" in known else None
    if than is None:
        return f"{said}; there is no single task to compare with in this run."
    return f"{said}, {than}. One seed can't tell a gain from chance: graphnas compare runs several."


def _auxiliaries(run: Run) -> Iterator[Markup]:
    """What the supernet reaches on the other tasks."""
    found: Mapping[str, Mapping[str, float]] = (run.results or {}).get("auxiliaries", {})
    rows = [
        (task, label(name, run.tasks[task]), number(value))
        for task, metrics in found.items()
        for name, value in metrics.items()
        if task in run.tasks and "/" not in name
    ]
    if rows:
        yield table("the auxiliaries, of the supernet; they are not shipped", ("task", "metric", "value"), rows, numbers=("value",))


def _certificate(run: Run) -> Markup | None:
    """What the pruned network costs, and that it is the single-task network."""
    if run.results is None:
        return None
    found: Mapping[str, Any] = run.results["certificate"]
    holds = (
        "The pruned network is exactly the single-task network."
        if found["holds"]
        else "The pruned network is not the single-task network; what differs is below."
    )
    difference = found["output_difference"]
    rows = [
        ("names equal", yes(found["names_equal"])),
        ("shapes equal", yes(found["shapes_equal"])),
        ("operations equal", yes(found["operations_equal"])),
        ("multiply-accumulates of one sample", f"{number(found['macs'])}; single task {number(found['macs_single_task'])}"),
        ("parameters", f"{number(found['parameters'])}; single task {number(found['parameters_single_task'])}"),
        ("largest difference of the outputs", "they don't fit" if difference is None else number(difference)),
        ("largest difference to the supernet with its links at zero", number(found["supernet_difference"])),
        ("links cut", f"{found['cut_links']}, the largest contributed {number(found['largest_contribution'])}"),
        ("forced", yes(found["forced"])),
        ("cut gap", "–" if found["cut_gap"] is None else f"{number(found['cut_gap'])} ({found['metric']})"),
        ("SHA-256 of the weights", found["weights_sha256"]),
    ]
    return section("Certificate", tag("p", holds), pairs("CPU, eval mode, float32", rows))


def _curves(run: Run) -> Iterator[Markup]:
    """Losses and metrics of every task over the epochs."""
    for task, kind in run.tasks.items():
        rows = [row for row in run.rows if row["task"] == task]
        role = "primary" if task == run.spec.primary_task else "auxiliary"
        loss = lines(f"{task}: loss", _losses(rows), across="epoch of the phase", note="mean over samples; lower is better")
        known = [name for name in kind.metric_directions if any(name in row["metrics"] for row in rows)]
        drawn = [(name, _metric_plot(task, name, kind, rows)) for name in known if "/" not in name]
        shown = [figure(svg, f"{label(name, kind)} of {task} on validation") for name, svg in drawn if svg is not None]
        parts = [] if loss is None else [figure(loss, f"loss of {task}, training and validation")]
        parts += shown[:1]
        if shown[1:]:
            parts.append(tag("details", tag("summary", f"{len(shown) - 1} more metrics"), *shown[1:]))
        if parts:
            yield section(f"{task} ({role})", *parts)


def _losses(rows: Sequence[Mapping[str, Any]]) -> list[Series]:
    found: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        found.setdefault(f"{row['phase']}, {_SPLITS.get(row['split'], row['split'])}", []).append((row["epoch"], row["loss"]))
    return [Series(name, points) for name, points in found.items()]


def _metric_plot(task: str, metric: str, kind: TaskType, rows: Sequence[Mapping[str, Any]]) -> str | None:
    found: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        if metric in row["metrics"]:
            found.setdefault(row["phase"], []).append((row["epoch"], row["metrics"][metric]))
        if metric in row["cut_metrics"]:
            found.setdefault(f"{row['phase']}, links cut", []).append((row["epoch"], row["cut_metrics"][metric]))
    axis = f"{metric} in {unit(metric, kind)}" if unit(metric, kind) else metric
    series = [Series(name, points) for name, points in found.items()]
    return lines(f"{task}: {axis}", series, across="epoch of the phase", note=f"validation; {better(metric, kind)}".rstrip("; "))


def _cut_gap(run: Run) -> Markup | None:
    """What cutting would cost, over time."""
    found: dict[str, list[tuple[float, float | None]]] = {}
    for row in run.rows:
        if row["cut_gap"] is not None:
            found.setdefault(row["phase"], []).append((row["epoch"], row["cut_gap"]))
    series = [Series(name, points) for name, points in found.items()]
    task = run.tasks[run.spec.primary_task]
    metric = (run.results or {}).get("metric") or run.spec.training.select.metric
    axis = f" in {unit(metric, task)}" if unit(metric, task) else ""
    svg = lines(
        f"cut gap{axis}", series, across="epoch of the phase", note="metric of the supernet minus that of it cut; zero is best", zero=True
    )
    said = "What it would cost to cut the auxiliary-to-primary links now, in the metric that the primary is judged by, on validation."
    return None if svg is None else section("Cut gap", tag("p", said), figure(svg, "cut gap over the epochs"))


def _spec(run: Run) -> Markup:
    """Everything that was set."""
    text = json.dumps(dump_spec(run.spec), indent=1, ensure_ascii=False)
    return section("Spec", tag("details", tag("summary", "the resolved spec, as JSON"), tag("pre", text)))
