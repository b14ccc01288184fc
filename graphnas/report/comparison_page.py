"""The page of a comparison: what is significant in words, the tables, the plot."""

from __future__ import annotations

from pathlib import Path

from graphnas.compare import Comparison, Plan
from graphnas.compare.attribution import Attribution
from graphnas.compare.plan import shown
from graphnas.compare.plot import draw
from graphnas.compare.results import Row
from graphnas.compare.tables import all_metrics, cell_name, judged_columns, judged_row, name_of, percent, words
from graphnas.report.attribution_parts import attribution_parts
from graphnas.report.html import Markup, figure, page, pairs, section, table, tag
from graphnas.report.words import label
from graphnas.runs.phases import task_types


def comparison_page(found: Comparison, plan: Plan, attribution: Attribution | None = None) -> str:
    """The document.

    Args:
        found: What the cells come to.
        plan: What was to be run.
        attribution: What it tells of the auxiliaries, where it is about them.
    """
    title = f"{found.task}: {found.folder.absolute().name}"
    more = [] if attribution is None else attribution_parts(attribution)
    parts = [_summary(found, plan), *more, *(_results(found, plan) if found.metric else [_nothing()]), *_missing(found, plan)]
    return page(title, *parts)


def _summary(found: Comparison, plan: Plan) -> Markup:
    spec = plan.variants[0].spec
    training = spec.training
    length = f"{training.epochs} epochs" if training.epochs is not None else f"{training.steps} steps"
    about = [
        ("primary", found.task),
        ("methods", ", ".join(plan.methods)),
        ("seeds", ", ".join(map(str, plan.seeds))),
        ("length", f"{length}, a batch of {training.batch_size} samples with the primary's label"),
        ("budget", plan.budget),
        *((field, ", ".join(map(shown, values))) for field, values in plan.vary.items()),
    ]
    return pairs("what was compared", about)


def _nothing() -> Markup:
    return section("Result", tag("p", "No run is finished yet."))


def _results(found: Comparison, plan: Plan) -> list[Markup]:
    task = task_types(plan.variants[0].spec.task_pair)[found.task]
    judged = label(found.metric, task)
    columns = [judged if column == found.metric else column for column in judged_columns(found)]
    where = f"on the {found.split} split" if found.split else "no data to measure on"
    main = table(f"{found.task}, {where}", columns, [judged_row(row, found) for row in found.rows], numbers=columns[1:])
    said = tag("ul", *(tag("li", line) for line in words(found)))
    key = (
        f"difference: paired by seed, with its {percent(found.confidence)} interval. delta %: positive is better, whatever the metric. "
        "cut gap: metric of the supernet minus that of it cut. MACs, time, memory: ratios to the single task, of inference, of training, "
        "and of training's peak."
    )
    plot = figure(draw(found, alone=False), _caption(found))
    parts = [section("Result", said, main, tag("p", key, class_="quiet"), plot)]
    headings, rows = all_metrics(found)
    if len(headings) > 2 + len(found.fields):
        named = [label(heading, task) for heading in headings]
        listed = table("every metric; * differs significantly from the single task", named, rows, numbers=named[1:])
        parts.append(section("All metrics", listed))
    parts.append(section("Seeds", _seeds(found, judged)))
    return parts


def _caption(found: Comparison) -> str:
    return "curves over the values" if found.fields else "paired differences to the single task"


def _seeds(found: Comparison, judged: str) -> Markup:
    """The single differences, so that nobody needs to trust a mean."""
    columns = ["method", *(f"seed {seed}" for seed in found.seeds)]
    rows = [(name_of(row), *(_of_seed(row, seed) for seed in found.seeds)) for row in found.rows if row.differences]
    return table(f"difference to the single task in {judged}, seed by seed", columns, rows, numbers=columns[1:])


def _of_seed(row: Row, seed: int) -> str:
    return f"{row.differences[seed]:+.4g}" if seed in row.differences else "–"


def _missing(found: Comparison, plan: Plan) -> list[Markup]:
    """Cells that failed, and cells that are not finished."""
    parts: list[Markup] = []
    if found.failed:
        rows = [(cell_name(cell), reason) for cell, reason in found.failed.items()]
        parts.append(section("Failed", table("cells without a result, and why", ("cell", "reason"), rows)))
    waiting = [cell.name for cell in plan.cells() if not _finished(found.folder, cell.folder) and cell.folder not in found.failed]
    if waiting:
        said = f"{len(waiting)} of {len(plan.cells())} cells are not finished: graphnas compare {found.folder} goes on."
        parts.append(section("Not finished", tag("p", said), tag("ul", *(tag("li", name) for name in waiting))))
    return parts


def _finished(out: Path, cell: str) -> bool:
    return (out / cell / "results.json").exists()
