"""``graphnas evaluate RUN|ARTIFACT``: the metrics of what a run shipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from graphnas.cli.options import common, json_output, one_of

if TYPE_CHECKING:
    from graphnas.data.dataset import Split

SPLITS = ("test", "validation", "training")


@click.command("evaluate", short_help="Evaluate a run's artifact, or an artifact that lies anywhere.")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|ARTIFACT")
@click.option(
    "--split",
    callback=one_of("split", SPLITS),
    metavar="SPLIT",
    help="test, validation or training  [default: test, or validation where there is no test split]",
)
@click.option("--task-pair", metavar="SPEC", help="The data: for an artifact that does not lie in its run, or other data than the run's.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images at once.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@json_output
@common
def command(source: Path, split: str | None, task_pair: str | None, batch_size: int, device: str, as_json: bool) -> None:
    """Evaluate the pruned network of a run, or an artifact, and print the metrics of its task."""
    from graphnas.cli.terminal import cell, show, show_json, table
    from graphnas.runs import evaluate

    found = evaluate(source, split=cast("Split | None", split), task_pair=task_pair, batch_size=batch_size, device=device)
    if as_json:
        show_json(found.to_dict())
        return
    rows = [*found.metrics.items(), ("loss", found.loss)]
    title = f"{found.task} on the {found.split} split ({found.samples:,} samples)"
    show(table(title, ("metric", "value"), [(name, cell(value)) for name, value in rows], right=("value",)))
