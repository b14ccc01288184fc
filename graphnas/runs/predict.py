"""``predict``: what an artifact says about images, prepared as in its evaluation, decoded as its labels were.

For every image ``NAME`` and the artifact's ``TASK``, ``NAME.TASK.npy`` holds numbers (metres, unit vectors, class numbers, probabilities)
and ``NAME.TASK.png`` is for the eye: at the size of the image, whatever size the network saw.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from graphnas.compiler.outputs import prediction_in
from graphnas.data.batches import Normalization
from graphnas.data.files import IMAGES, decode, image_tensor
from graphnas.data.preview import drawn, said
from graphnas.data.tensors import image_value, plain, resize, target_value
from graphnas.data.transforms import Transform, TransformError
from graphnas.errors import ArtifactError, DataError, Problem, Where
from graphnas.export import load
from graphnas.export.artifact import SPEC, read_description
from graphnas.registry import task_types, transforms
from graphnas.runs.folder import RunFolder
from graphnas.search.checkpoint import write_atomically
from graphnas.search.precision import make_precision
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Prediction:
    """What an artifact says about one image.

    Args:
        image: The file.
        task: Name of the task.
        values: Like the task's targets, at the size of the image: (H, W) class numbers, (C, H, W) numbers; (C,) of the whole image.
        words: In words, where it is of the whole image.
        files: What was written.
    """

    image: str
    task: str
    values: NDArray[Any]
    words: str | None
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON data: the numbers of a whole image, of others their shape and range."""
        about: dict[str, Any] = {"image": self.image, "task": self.task, "files": list(self.files)}
        if self.words is not None:
            return {**about, "words": self.words, "values": self.values.tolist()}
        return {**about, "shape": list(self.values.shape), "least": float(self.values.min()), "most": float(self.values.max())}


def predict(
    artifact: str | Path,
    images: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    into: nn.Module | None = None,
    device: str = "auto",
) -> list[Prediction]:
    """Run the network of an artifact on image files, one after another.

    Args:
        artifact: The folder of an artifact, or of the run that it lies in.
        images: The files.
        out: Folder for the results, made if it is not there; nothing is written, if left out.
        into: A network of the user's own class, for an artifact that holds its weights.
        device: As in ``runtime.device``.
    Raises:
        ArtifactError: There is no artifact, or it does not say how its network is used.
        DataError: An image can't be read, or the network does not take one of its size; nothing is written then.
    """
    folder = RunFolder.artifact_at(artifact)
    use = _Use.of(folder)
    read = [_read(Path(image)) for image in _distinct(images, out)]
    precision = make_precision(device, "float32")
    network = load(folder, into=into).to(precision.device)
    found = [use.answer(network, image, str(file), precision.device) for file, image in zip(images, read, strict=True)]
    return [use.kept(Path(file), values, None if out is None else Path(out)) for file, values in zip(images, found, strict=True)]


@dataclass(frozen=True)
class _Use:
    """How an artifact's network is used."""

    input: str
    normalization: Normalization
    transforms: Sequence[Transform]
    name: str
    task: TaskType

    @staticmethod
    def of(folder: Path) -> _Use:
        described: Mapping[str, Any] | None = read_description(folder)["task"]
        where = Where(str(folder / SPEC))
        if described is None:
            raise ArtifactError(
                "does not say what its inputs and its task are", where=where, fix="predict with an artifact of graphnas search"
            )
        if len(described["inputs"]) != 1:
            names = ", ".join(described["inputs"])
            raise ArtifactError(
                f"the network reads {len(described['inputs'])} inputs ({names})", where=where, fix="call it from Python: gn.load"
            )
        [(name, norm)] = described["inputs"].items()
        task = dict(described["task"])
        steps = [transforms.get(key).model_validate(value) for step in described["transforms"] for key, value in step.items()]
        task_name = task.pop("name")
        return _Use(
            name,
            Normalization(tuple(norm["mean"]), tuple(norm["std"])),
            steps,
            task_name,
            task_types.get(task["type"]).model_validate(task),
        )

    @torch.no_grad()
    def answer(self, network: nn.Module, image: Tensor, file: str, device: torch.device) -> Tensor:
        """What the network says about an image of bytes, (3, H, W), in the form of a target."""
        value = [image_value(image)]
        for step in self.transforms:
            try:
                value = cast("list[Any]", step.apply(value, Random(0)))
            except TransformError as error:
                raise DataError(f"{file}: {error}", fix=error.fix) from None
        seen = plain(value[0])
        try:
            returned = network(self.normalization.apply(seen[None]).to(device))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            message = f"{file}: the network does not take an image of {seen.shape[1]} x {seen.shape[2]} pixels: {reason}"
            raise DataError(message, fix="an image of a size that it was evaluated at") from error
        prediction = _prediction(returned).float().cpu()
        if self.task.per_sample:
            return self.task.answer(prediction)[0]
        size = (int(seen.shape[1]), int(seen.shape[2]))
        if tuple(prediction.shape[-2:]) != size:
            prediction = nn.functional.interpolate(prediction, size=size, mode="bilinear", align_corners=False)
        found = target_value(self.task.answer(prediction)[0], self.task.target_kind, self.task.unlabeled)
        return plain(resize(found, (int(image.shape[1]), int(image.shape[2]))))

    def kept(self, file: Path, values: Tensor, out: Path | None) -> Prediction:
        """The prediction, written if there is a place for it."""
        words = said(self.task, values) if self.task.per_sample else None
        array: NDArray[Any] = values.numpy()
        if array.dtype == np.int64 and self.task.out_channels <= 256:
            array = array.astype(np.uint8)
        files: dict[Path, bytes] = {}
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            files[out / f"{file.stem}.{self.name}.npy"] = content.getvalue()
            if words is None:
                picture = io.BytesIO()
                Image.fromarray(drawn(self.task, values)).save(picture, "png")
                files[out / f"{file.stem}.{self.name}.png"] = picture.getvalue()
        for path, data in files.items():
            write_atomically(path, data)
        return Prediction(str(file), self.name, array, words, tuple(map(str, files)))


def _distinct(images: Sequence[str | Path], out: str | Path | None) -> Sequence[str | Path]:
    """The images; where results are written, none may take another's place."""
    stems: dict[str, str | Path] = {}
    for image in images if out is not None else ():
        if (other := stems.setdefault(Path(image).stem, image)) is not image:
            raise DataError(f"{other} and {image} would be written to the same files", fix="predict them in two calls, with an --out each")
    return images


def _read(file: Path) -> Tensor:
    """An image file, (3, H, W)."""
    if file.suffix[1:].lower() not in IMAGES:
        raise DataError(Problem("is no image file", Where(str(file)), fix=f"one of {', '.join(sorted(IMAGES))}"))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(Problem(f"can't be read: {error.strerror}", Where(str(file)), fix="check the path")) from None
    return image_tensor(decode(data, file.suffix[1:], file=str(file)), file=str(file))


def _prediction(returned: Any) -> Tensor:
    """The prediction in what a network returns."""
    found = prediction_in(returned, None)
    if not isinstance(found, Tensor):
        raise ArtifactError(
            "the network returns several values, and it is not clear which is the prediction", fix="call it from Python: gn.load"
        )
    return found
