"""``graphnas compare SPEC``: methods x seeds x settings, and what differs significantly from the single task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from graphnas.cli.options import Settings, common, confidence_option, jobs_option, json_output, one_of, overrides
from graphnas.cli.search import default_folder
from graphnas.errors import GraphNASError, Problem, RunError, Where

if TYPE_CHECKING:
    from graphnas.compare import Comparison, Plan
    from graphnas.compare.plan import BudgetKind


@click.command("compare", short_help="Compare methods with the single task over seeds.")
@click.argument("spec", metavar="SPEC|COMPARISON")
@click.option(
    "--methods", metavar="NAME,...", help="Spaces (aux-nas), their files, names of a --methods-file; the single task is always there."
)
@click.option(
    "--methods-file", type=click.Path(path_type=Path), metavar="FILE", help="More methods: NAME: {space: aux-nas, set: {FIELD: VALUE}}."
)
@click.option("--seeds", type=int, metavar="N", help="Runs of each method, from the spec's seed on  [default: 5]")
@click.option(
    "--budget",
    callback=one_of("budget", ("epochs", "time")),
    metavar="epochs|time",
    help="time: the single task also as long as each method.",
)
@click.option("--as-long-as", metavar="NAME,...", help="With --budget time: as long as these methods alone.")
@click.option(
    "--vary", metavar="FIELD=V1,V2,...", multiple=True, help="Compare at each of these values, and draw the curve; may be repeated."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the comparison  [default: runs/NAME-compare, by the spec's name]",
)
@confidence_option
@jobs_option
@overrides
@json_output
@common
@click.pass_context
def command(
    ctx: click.Context,
    spec: str,
    methods: str | None,
    methods_file: Path | None,
    seeds: int | None,
    budget: str | None,
    as_long_as: str | None,
    vary: tuple[str, ...],
    out: Path | None,
    confidence: float | None,
    jobs: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run every method of SPEC with every seed, and compare each with the single task, pair by pair.

    Finished runs in DIR are never run again, others go on; graphnas compare DIR goes on with all that a comparison was begun with.
    """
    from graphnas.cli.progress import shown
    from graphnas.compare import compare

    given: dict[str, object] = {"--methods": methods, "--methods-file": methods_file, "--seeds": seeds, "--budget": budget}
    given |= {"--as-long-as": as_long_as, "--vary": vary, "--set": overrides, "--confidence": confidence}
    if Path(spec).is_dir():
        plan = _begun(Path(spec), [*given, "--out"], [*given.values(), out])
        out = Path(spec)
    else:
        seeds = 5 if seeds is None else seeds
        plan = _new(spec, methods, methods_file, seeds, budget or "epochs", as_long_as, vary, overrides, confidence)
    folder = out or Path(f"{default_folder(spec)}-compare")
    plugins = ctx.ensure_object(Settings).plugins
    with shown() as progress:
        found = compare(plan, folder, jobs=jobs, plugins=plugins, progress=progress)
    _print(found, as_json=as_json)
    if found.failed:
        raise RunError(_failures(found))


def _begun(folder: Path, names: list[str], values: list[object]) -> Plan:
    """The plan in a folder; what it says can't be said again.

    Raises:
        GraphNASError: An option would change it.
    """
    from graphnas.compare import read_plan

    plan = read_plan(folder)
    for name, value in zip(names, values, strict=True):
        if value not in (None, ()):
            message = f"{name} is said by the comparison already"
            raise GraphNASError(
                message, where=Where(str(folder)), fix=f"leave it out, or name the spec: graphnas compare SPEC --out {folder}"
            )
    return plan


def _new(
    spec: str,
    methods: str | None,
    file: Path | None,
    seeds: int,
    budget: str,
    as_long_as: str | None,
    vary: tuple[str, ...],
    overrides: tuple[str, ...],
    confidence: float | None,
) -> Plan:
    from graphnas.compare import make_plan, read_methods, read_vary

    return make_plan(
        spec, read_methods(_names(methods), file),
        seeds=seeds, budget=cast("BudgetKind", budget), vary=read_vary(vary), overrides=overrides,
        confidence=confidence, as_long_as=_names(as_long_as),
    )  # fmt: skip


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _print(found: Comparison, *, as_json: bool) -> None:
    from graphnas.cli.terminal import show, show_json, table
    from graphnas.compare.tables import all_metrics, judged_columns, judged_row, words

    if as_json:
        show_json(found.to_dict())
        return
    if not found.metric:
        return  # nothing was finished
    better = {"min": ", lower is better", "max": ", higher is better"}.get(found.directions.get(found.metric, ""), "")
    title = f"{found.task} on the {found.split} split: {found.metric}{better}" if found.split else f"{found.task}: no data to measure on"
    columns = judged_columns(found)
    things: list[object] = [table(title, columns, [judged_row(row, found) for row in found.rows], right=columns[1:])]
    headings, rows = all_metrics(found)
    if len(headings) > 2 + len(found.fields):
        things.append(table("all metrics (*: differs significantly from the single task)", headings, rows, right=headings[1:]))
    files = "results.json, results.csv, comparison.svg"
    show(*things, "\n".join([*words(found), f"{files}: {found.folder}"]))


def _failures(found: Comparison) -> list[Problem]:
    return [Problem(reason, Where(str(found.folder / cell))) for cell, reason in found.failed.items()]
