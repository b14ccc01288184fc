"""``graphnas export ARTIFACT --format onnx|pt2``: a file that runs without graphnas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from graphnas.cli.options import common, json_output, one_of

if TYPE_CHECKING:
    from graphnas.export.interchange import Format


@click.command("export", short_help="Write an artifact's network as a file that runs without graphnas.")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="ARTIFACT|RUN")
@click.option("--format", "kind", callback=one_of("format", ("onnx", "pt2")), required=True, metavar="onnx|pt2", help="What to write.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The file  [default: model.onnx or model.pt2 in the artifact]")
@json_output
@common
def command(artifact: Path, kind: str, out: Path | None, as_json: bool) -> None:
    """Write the network of ARTIFACT for torch alone (pt2) or for onnxruntime and others (onnx), and compare both on random input."""
    from graphnas.cli.terminal import show, show_json
    from graphnas.export.interchange import export
    from graphnas.runs.folder import RunFolder

    folder = RunFolder.artifact_at(artifact)
    found = export(folder, out or folder / f"model.{kind}", cast("Format", kind))
    if as_json:
        show_json({"file": str(found.file), "format": found.format, "difference": found.difference, "relative": found.relative})
        return
    show(f"{found.file}: any number of samples; differs from the artifact's network by at most {found.difference:.1e}")
