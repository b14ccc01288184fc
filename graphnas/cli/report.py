"""``graphnas report RUN|COMPARISON``: one HTML page of it."""

from __future__ import annotations

from pathlib import Path

import click

from graphnas.cli.options import common, json_output


@click.command("report", short_help="Write a page of a run or of a comparison.")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|COMPARISON")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where to  [default: report.html in the folder]")
@json_output
@common
def command(source: Path, out: Path | None, as_json: bool) -> None:
    """Write one HTML page with the tables, plots and words of a run or of a comparison, finished or not.

    It needs nothing else: no network, no scripts, no other file.
    """
    from graphnas.cli.terminal import show, show_json
    from graphnas.report import write_report

    file = write_report(source, out)
    if as_json:
        show_json({"report": str(file)})
    else:
        show(f"report: {file}")
