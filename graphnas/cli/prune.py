"""``graphnas prune RUN``: cut, test and save a run whose training is over."""

from __future__ import annotations

from pathlib import Path

import click

from graphnas.cli.options import common, json_output


@click.command("prune", short_help="Cut, test and save a run whose training is over.")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--force", is_flag=True, help="Cut links that have not converged, too; the certificate says so.")
@json_output
@common
def command(run: Path, force: bool, as_json: bool) -> None:
    """Cut the links of RUN that converged to zero, evaluate on the test split, and save the artifact.

    A search does this at its end. It is refused there if links have not converged: by how much is said, and --force cuts all the same.
    """
    from graphnas.cli.progress import shown
    from graphnas.cli.results import print_results
    from graphnas.report import write_report
    from graphnas.runs import prune_run

    with shown() as progress:
        result = prune_run(run, force=force, progress=progress)
    print_results(result, as_json=as_json)
    write_report(result.folder)
