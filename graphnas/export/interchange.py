"""The network of an artifact in a form that runs without graphnas: torch's own archive of an exported program, or ONNX.

What is written is run beside the network that it was made from, on a batch of another size than the one it was exported with, and may not
differ by more than rounding.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphnas.compiler.verify import leaves
from graphnas.errors import ArtifactError, RunError, Where
from graphnas.export.artifact import SPEC, load, read_description
from graphnas.graph.types import Ids, Mask, parse_type

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")
TOLERANCE = 1e-4  # of the largest value of the network's own output
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Args:
        file: Where.
        format: onnx or pt2.
        difference: Largest absolute difference to the artifact's own network, over all outputs.
        relative: The same over the largest absolute value of that output.
    """

    file: Path
    format: Format
    difference: float
    relative: float


def export(artifact: str | Path, file: str | Path, format: Format, *, into: nn.Module | None = None) -> Exported:
    """Write the network of an artifact as one file; any number of samples, the image size that it was trained at.

    Args:
        artifact: Its folder.
        file: Replaced if it is there; nothing is left of one that could not be written or differs.
        format: ``pt2``: ``torch.export.load(file).module()``. ``onnx``: for onnxruntime and others; needs the extra ``onnx``.
        into: A network of the user's own class, for an artifact that holds its weights.
    Raises:
        ArtifactError: There is no such artifact, or what its network computes can't be written in this format.
        RunError: The file can't be written.
    """
    folder, target = Path(artifact), Path(file)
    if format == "onnx":
        _need_packages(folder)
    network = load(folder, into=into)
    description = read_description(folder)
    first, second = (_example(description, folder, samples) for samples in (2, 3))
    program = _program(network, first, folder)
    write, run = _WAYS[format]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as beside:  # on the same disk, so that it can be renamed
            made = Path(beside) / target.name
            write(program, made, first)
            difference, relative = _differences(network, second, run(made, second))
            if not relative <= TOLERANCE:
                raise ArtifactError(
                    f"the {format} file of {folder} differs from its network by {difference:.2g}, {relative:.2g} of its largest value",
                    fix="another format: --format " + next(other for other in FORMATS if other != format),
                )
            os.replace(made, target)
    except OSError as error:
        raise RunError(f"the file can't be written: {error.strerror or error}", where=Where(str(target)), fix="make room there") from error
    return Exported(target, format, difference, relative)


def _need_packages(folder: Path) -> None:
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise ArtifactError(
                f"{folder} can't be written as ONNX: the package {name} is not installed", fix="pip install 'graphnas[onnx]'"
            ) from None


def _example(description: Mapping[str, Any], folder: Path, samples: int) -> dict[str, Tensor]:
    """Random inputs of the shapes that the artifact names; ids and masks are whole numbers."""
    network: Mapping[str, Any] = description.get("network") or {}
    written: Mapping[str, str] = network.get("inputs") or {}
    shapes: Mapping[str, Any] = description["inputs"]
    if not all(isinstance(shape, list) for shape in shapes.values()):
        raise ArtifactError(
            f"{folder / SPEC}: inputs of several branches", fix="export an artifact of the primary's network (inference: primary)"
        )
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        size = [samples, *shape[1:]]
        whole = name in written and isinstance(parse_type(written[name]).bind(shape[1:]), Ids | Mask)
        found[name] = torch.ones(size, dtype=torch.int64) if whole else torch.rand(size, generator=generator)
    return found


def _program(network: nn.Module, example: dict[str, Tensor], folder: Path) -> torch.export.ExportedProgram:
    dynamic = {name: {0: torch.export.Dim("samples", min=1)} for name in example}
    try:
        return torch.export.export(network, (), kwargs=example, dynamic_shapes=dynamic)
    except Exception as error:  # torch.export raises of many kinds
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ArtifactError(
            f"the network of {folder} can't be exported: {said}", fix="use the artifact itself: gn.load, or your own class with its weights"
        ) from error


def _write_pt2(program: torch.export.ExportedProgram, file: Path, _: Mapping[str, Tensor]) -> None:
    torch.export.save(program, file)


def _run_pt2(file: Path, example: Mapping[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return leaves(torch.export.load(file).module()(**example))


def _write_onnx(program: torch.export.ExportedProgram, file: Path, example: Mapping[str, Tensor]) -> None:
    onnx: Any = torch.onnx
    onnx.export(program, (), kwargs=dict(example), input_names=list(example), verbose=False).save(str(file))
    if len(list(file.parent.iterdir())) > 1:  # weights beside it
        raise ArtifactError("a network of more than 2 GB does not fit into one ONNX file", fix="--format pt2")


def _run_onnx(file: Path, example: Mapping[str, Tensor]) -> list[Tensor]:
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [torch.as_tensor(value) for value in session.run(None, {name: value.numpy() for name, value in example.items()})]


_Write = Callable[[torch.export.ExportedProgram, Path, Mapping[str, Tensor]], None]
_Run = Callable[[Path, Mapping[str, Tensor]], list[Tensor]]
_WAYS: Mapping[Format, tuple[_Write, _Run]] = {"pt2": (_write_pt2, _run_pt2), "onnx": (_write_onnx, _run_onnx)}


def _differences(network: nn.Module, example: Mapping[str, Tensor], found: list[Tensor]) -> tuple[float, float]:
    """Largest absolute difference of all outputs, and over the largest value of the same output."""
    with torch.no_grad():
        wanted = leaves(network(**example))
    if [value.shape for value in wanted] != [value.shape for value in found]:
        return float("inf"), float("inf")
    gaps = [float((one.double() - other.double()).abs().max()) for one, other in zip(wanted, found, strict=True)]
    sizes = [max(float(value.double().abs().max()), 1e-12) for value in wanted]
    return max(gaps), max(gap / size for gap, size in zip(gaps, sizes, strict=True))
