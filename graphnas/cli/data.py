"""``graphnas data check TASKPAIR``: read a whole data set before any training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphnas.cli.options import common, json_output, overrides

if TYPE_CHECKING:
    from graphnas.data.checking import Checked, Found

SHOWN = 20  # problems of one run; all are in --json


@click.group("data", short_help="Look at a data set before any training.")
@common
def command() -> None:
    """Look at a data set before any training."""


@command.command("check", short_help="Read every sample of a task pair, and say what is there and what is wrong.")
@click.argument("task_pair", metavar="TASKPAIR")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where the task pair's relative paths start from."
)
@click.option(
    "--preview", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw images and decoded labels into a PNG file."
)
@overrides
@json_output
@common
def check(task_pair: str, root: Path | None, preview: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Read every sample of a task pair.

    Prints samples, labels that miss, sizes, ranges of stored and decoded numbers and classes by source and split, then the files that
    can't be used with the reason. Exits with 2 if something would stop a run.
    """
    from graphnas.cli.terminal import show_json
    from graphnas.data.checking import check_data
    from graphnas.errors import DataError, Problem, Where
    from graphnas.spec import load_spec

    if root is not None and not root.is_dir():
        raise DataError(Problem(f"no such folder: {root}", Where("--root"), fix="check the path"))
    pair = load_spec(task_pair, kind="task_pair", overrides=overrides, folder=root)
    checked = check_data(pair, progress=_counter if sys.stderr.isatty() else None)
    if as_json:
        show_json(_as_json(checked))
    else:
        _show(checked)
    if preview is not None:
        from graphnas.data.preview import preview as drawn

        drawn(pair).save(preview)
    if checked.problems:
        more = len(checked.problems) - SHOWN
        rest = [Problem(f"and {more} more problems; --json lists all")] if more > 0 else []
        raise DataError([*checked.problems[:SHOWN], *rest])


def _counter(done: int, total: int) -> None:
    """How far it is, on one line of a terminal that is gone in the end."""
    if done == total:
        click.echo("\r\033[K", nl=False, err=True)
    elif done % max(1, total // 200) == 0:
        click.echo(f"\r{done:,} of {total:,} samples", nl=False, err=True)


def _show(checked: Checked) -> None:
    from graphnas.cli.terminal import show, table

    columns = ("source", "split", "what", "samples", "present", "missing", "unusable", "labeled", "size", "stored", "decoded")
    right = ("samples", "present", "missing", "unusable", "labeled")
    show(table("Samples", columns, [_row(found) for found in checked.found], right=right))
    for found in checked.found:
        if found.histogram:
            total = max(1, sum(found.histogram.values()))
            rows = [(name, count, f"{100 * count / total:.2f} %") for name, count in found.histogram.items()]
            show(
                table(
                    f"Classes of {found.name} in {found.source}, {found.part}", ("class", "count", "share"), rows, right=("count", "share")
                )
            )
    for line in (*checked.notes, *(f"remark: {line}" for line in checked.remarks)):
        click.echo(line)


def _row(found: Found) -> tuple[object, ...]:
    sizes = ", ".join(list(found.sizes)[:2]) + (", ..." if len(found.sizes) > 2 else "")
    labeled = None if found.labeled != found.labeled else f"{100 * found.labeled:.1f} %"
    return (
        found.source, found.part, found.name, found.samples, found.present, found.missing, found.unreadable,
        labeled, sizes or None, _range(found.stored), _range(found.decoded),
    )  # fmt: skip


def _range(values: tuple[float, float] | None) -> str | None:
    return None if values is None else f"{values[0]:.4g} to {values[1]:.4g}"


def _as_json(checked: Checked) -> dict[str, Any]:
    rows = [
        {**vars(found), "missing": found.missing, "labeled": None if found.labeled != found.labeled else found.labeled}
        for found in checked.found
    ]
    problems = [
        {"message": problem.message, "where": str(problem.where) if problem.where else None, "path": problem.path, "fix": problem.fix}
        for problem in checked.problems
    ]
    return {"found": rows, "problems": problems, "remarks": list(checked.remarks), "notes": list(checked.notes)}
