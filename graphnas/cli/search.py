"""``graphnas search SPEC``: baseline, search, cut, test, save."""

from __future__ import annotations

from pathlib import Path

import click

from graphnas.cli.options import common, json_output, overrides


@click.command("search", short_help="Train the baseline and the supernet, prune, test, and save.")
@click.argument("spec")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run  [default: runs/NAME, by the spec's name]")
@click.option("--resume", is_flag=True, help="Go on with the run in DIR from its last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace the run in DIR.")
@overrides
@json_output
@common
def command(spec: str, out: Path | None, resume: bool, overwrite: bool, overrides: tuple[str, ...], as_json: bool) -> None:
    """Train the single-task baseline and the supernet of SPEC, cut, evaluate on the test split, and save all of it in a folder.

    An interrupted run goes on where its last checkpoint was written: the same command with --resume.
    """
    from graphnas.cli.progress import shown
    from graphnas.cli.results import print_results
    from graphnas.report import search
    from graphnas.spec import SearchSpec, load_spec

    loaded = load_spec(spec, kind="search", overrides=overrides)
    assert isinstance(loaded, SearchSpec)
    with shown() as progress:
        result = search(loaded, out=out or default_folder(spec), resume=resume, overwrite=overwrite, progress=progress)
    print_results(result, as_json=as_json)


def default_folder(spec: str) -> Path:
    """``runs/NAME``: NAME is the file's, or its folder's for a file called search."""
    path = Path(spec)
    name = path.absolute().parent.name if path.stem == "search" else path.stem
    return Path("runs", name)
