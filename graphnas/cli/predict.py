"""``graphnas predict ARTIFACT IMAGE...``: what a network says about images, as numbers and as pictures."""

from __future__ import annotations

from pathlib import Path

import click

from graphnas.cli.options import common, json_output


@click.command("predict", short_help="What an artifact says about images, as numbers and pictures.")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="ARTIFACT|RUN")
@click.argument("images", type=click.Path(path_type=Path), metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True, metavar="DIR", help="Folder of the results."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@json_output
@common
def command(artifact: Path, images: tuple[Path, ...], out: Path, device: str, as_json: bool) -> None:
    """Prepare each IMAGE as in the evaluation of ARTIFACT, run its network, and write what it says to DIR.

    NAME.TASK.npy holds numbers: metres, unit vectors, class numbers, probabilities; NAME.TASK.png is for the eye.
    """
    from graphnas.cli.terminal import show, show_json, table
    from graphnas.runs import predict

    found = predict(artifact, images, out=out, device=device)
    if as_json:
        show_json([prediction.to_dict() for prediction in found])
        return
    rows = [(prediction.image, prediction.words or ", ".join(Path(file).name for file in prediction.files)) for prediction in found]
    show(table(f"{found[0].task}, in {out}", ("image", "prediction"), rows))
