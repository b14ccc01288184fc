"""``graphnas attribute RUN|SPEC``: which auxiliary helps, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphnas.cli.options import Settings, common, confidence_option, jobs_option, json_output, overrides
from graphnas.cli.search import default_folder
from graphnas.errors import GraphNASError, Problem, RunError, Where

if TYPE_CHECKING:
    from graphnas.compare import Plan
    from graphnas.compare.attribution import Attribution
    from graphnas.compare.signals import Signals


@click.command("attribute", short_help="Tell which auxiliary helps the primary, and which harms it.")
@click.argument("source", metavar="SPEC|RUN|ATTRIBUTION")
@click.option("--seeds", type=int, metavar="N", help="Runs with and without each auxiliary, from the spec's seed on  [default: 5]")
@confidence_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder  [default: runs/NAME-attribution, by the spec's name]")
@jobs_option
@overrides
@json_output
@common
@click.pass_context
def command(
    ctx: click.Context,
    source: str,
    seeds: int | None,
    confidence: float | None,
    out: Path | None,
    jobs: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train with all auxiliaries of SPEC, without each, with each alone and without any, and say which to drop and how sure that is.

    Of a RUN that is finished, what it tells by itself: cosines of gradients, gates, and what each link is worth. Finished runs in DIR are
    never run again; graphnas attribute DIR goes on.
    """
    from graphnas.cli.progress import shown
    from graphnas.compare.arms import plan_arms
    from graphnas.compare.attribution import attribute

    folder = Path(source)
    given = {"--seeds": seeds, "--confidence": confidence, "--out": out, "--set": overrides or None}
    if folder.is_dir() and not (folder / "compare.json").exists():
        _print_run(folder, [name for name, value in {**given, "--jobs": jobs}.items() if value is not None], as_json=as_json)
        return
    if folder.is_dir():
        plan = _begun(folder, [name for name, value in given.items() if value is not None])
    else:
        plan = plan_arms(source, seeds=5 if seeds is None else seeds, overrides=overrides, confidence=confidence)
        folder = out or Path(f"{default_folder(source)}-attribution")
    with shown() as progress:
        found = attribute(plan, folder, jobs=jobs, plugins=ctx.ensure_object(Settings).plugins, progress=progress)
    _print(found, as_json=as_json)
    if failed := found.comparison.failed:
        raise RunError([Problem(reason, Where(str(found.folder / cell))) for cell, reason in failed.items()])


def _begun(folder: Path, given: list[str]) -> Plan:
    """The plan in a folder; what it says can't be said again."""
    from graphnas.compare import read_plan
    from graphnas.compare.attribution import no_attribution

    plan = read_plan(folder)
    if not plan.attributes:
        raise no_attribution(folder)
    for name in given:
        fix = f"leave it out, or name the spec: graphnas attribute SPEC --out {folder}"
        raise GraphNASError(f"{name} is said by the attribution already", where=Where(str(folder)), fix=fix)
    return plan


def _print_run(run: Path, given: list[str], *, as_json: bool) -> None:
    """What a run tells by itself; also written into its folder."""
    from graphnas.cli.terminal import show, show_json
    from graphnas.compare.attribution_words import signal_words
    from graphnas.compare.signals import read_signals, write_signals

    for name in given:
        fix = f"graphnas attribute {run / 'spec.json'} {name} ..."
        raise GraphNASError(f"{name} is of runs that are to be made, and this one is made", where=Where(str(run)), fix=fix)
    found = read_signals(run)
    write_signals(found, run / "attribution.json")
    if as_json:
        show_json(found.to_dict())
        return
    said = [*signal_words(found), f"hints of one run, no proof: graphnas attribute {run / 'spec.json'} trains with and without each"]
    show(*_signal_tables([found]), "\n".join(said))


def _print(found: Attribution, *, as_json: bool) -> None:
    from graphnas.cli.terminal import show, show_json, table
    from graphnas.compare.attribution_words import TASK_COLUMNS, task_row, words

    if as_json:
        show_json(found.to_dict())
        return
    things: list[object] = []
    if found.metric:
        better = {"min": ", lower is better", "max": ", higher is better"}.get(found.direction or "", "")
        title = f"{found.primary} on the {found.split} split: {found.metric}{better}" if found.split else found.primary
        things.append(table(title, TASK_COLUMNS, [task_row(task) for task in found.tasks], right=TASK_COLUMNS[1:-1]))
        things += _signal_tables(list(found.signals.values()))
    files = f"attribution.json, attribution.svg, results.csv: {found.folder}"
    show(*things, "\n".join([*words(found), files]))


def _signal_tables(found: Sequence[Signals]) -> list[object]:
    """Hints of single runs: a row an auxiliary, and a row a link where there is one run."""
    from graphnas.cli.terminal import table
    from graphnas.compare.attribution_words import LINK_COLUMNS, SIGNAL_COLUMNS, link_rows, signal_rows

    if not found:
        return []
    runs = "one run" if len(found) == 1 else f"{len(found)} runs, means"
    things: list[object] = [table(f"hints of {runs} with all auxiliaries", SIGNAL_COLUMNS, signal_rows(found), right=SIGNAL_COLUMNS[1:])]
    if len(found) == 1 and found[0].effects:
        title = "primary-to-auxiliary links, closed one at a time, on validation"
        things.append(table(title, LINK_COLUMNS, link_rows(found[0]), right=LINK_COLUMNS[2:]))
    return things
