"""Checkpoints that a crash at any moment leaves whole: safetensors and JSON, no pickle.

A checkpoint ``STEM`` is two files: ``STEM.safetensors``, and ``STEM.json`` with the plain values, their checksum and that of the tensors.
Since two files can't be renamed at once, a JSON file is paired with whichever tensors file beside it has its checksum; at every moment of
``save`` at least one pair is whole::

    STEM.new.*       written, fsynced and read back
    STEM.previous.*  the one before, by renaming
    STEM.*           the new one, by renaming
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from graphnas.errors import ArtifactError, Problem, RunError, Where

FORMAT = 1
_NEW, _CURRENT, _PREVIOUS = ".new", "", ".previous"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Args:
        tensors: By name.
        values: JSON values.
        note: A sentence for the user if it is not the newest one, and why.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]
    note: str | None = None


def save(stem: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one before is kept beside it.

    Raises:
        RunError: The files can't be written; what was there before is still whole.
    """
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    text = json.dumps(values, allow_nan=False)
    head = {
        "format": FORMAT,
        "tensors": {"bytes": len(data), "sha256": _digest(data)},
        "values_sha256": _digest(text.encode()),
    }
    new_json, new_tensors = _files(stem, _NEW)
    try:
        _settle(stem)
        new_json.unlink(missing_ok=True)  # of a crash, and not whole: its tensors are about to be replaced
        write_durably(new_tensors, data)
        write_durably(new_json, f'{{"head": {json.dumps(head)}, "values": {text}}}\n'.encode())
        read_back = _try(new_json, [new_tensors])
        if isinstance(read_back, str):
            raise RunError(
                f"what was read back differs from what was written: {read_back}", where=Where(str(new_tensors)), fix="check the disk"
            )
        _move_up(stem)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise RunError(
            f"the checkpoint can't be written: {said}",
            where=Where(str(new_tensors)),
            fix="make room or allow writing there, then --resume; the last checkpoint is whole",
        ) from error


def _move_up(stem: Path) -> None:
    """The current checkpoint becomes the previous one, and the new one the current one; those of their files that are there."""
    for source, target in ((_CURRENT, _PREVIOUS), (_NEW, _CURRENT)):
        for old, new in zip(_files(stem, source), _files(stem, target), strict=True):
            if old.exists():
                os.replace(old, new)
    _sync_folder(stem.parent)


def _settle(stem: Path) -> None:
    """Finish the renaming that a crash cut short: what is whole there is not written over before there is something newer."""
    new_json, new_tensors = _files(stem, _NEW)
    current_json, current_tensors = _files(stem, _CURRENT)
    if not new_tensors.exists():
        return
    if new_json.exists():
        if isinstance(_try(new_json, [new_tensors]), Checkpoint):
            _move_up(stem)
    elif current_json.exists() and isinstance(_try(current_json, [new_tensors]), Checkpoint):
        os.replace(new_tensors, current_tensors)


def load(stem: Path) -> Checkpoint | None:
    """The newest whole checkpoint; ``None`` if none was ever written.

    Raises:
        ArtifactError: There are some, but none is whole.
    """
    wrong: list[str] = []
    for json_file, tensor_files in _candidates(stem):
        read = _try(json_file, tensor_files)
        if isinstance(read, str):
            wrong.append(read)
        elif json_file == _files(stem, _PREVIOUS)[0]:
            reason = wrong[-1] if wrong else f"{_files(stem, _CURRENT)[0].name} is missing"
            return Checkpoint(read.tensors, read.values, f"the last checkpoint can't be read ({reason}); going on from the one before it")
        else:
            return read
    if not wrong and not any(file.exists() for suffix in (_CURRENT, _PREVIOUS) for file in _files(stem, suffix)):
        return None
    raise ArtifactError(
        Problem(
            f"no checkpoint can be read: {'; '.join(wrong) or 'the JSON files are missing'}",
            Where(str(_files(stem, _CURRENT)[0])),
            fix="start again with --overwrite, or put a copy of the checkpoint files back",
        )
    )


def _candidates(stem: Path) -> Iterator[tuple[Path, list[Path]]]:
    """JSON files that exist, the newest first, each with the tensors files that may be its own."""
    tensor_files = [_files(stem, suffix)[1] for suffix in (_CURRENT, _NEW, _PREVIOUS)]
    for suffix in (_NEW, _CURRENT, _PREVIOUS):
        json_file = _files(stem, suffix)[0]
        if json_file.exists():
            yield json_file, [file for file in tensor_files if file.exists()]


def _try(json_file: Path, tensor_files: list[Path]) -> Checkpoint | str:
    """The pair, or in words why there is none."""
    try:
        content = json.loads(json_file.read_bytes())
        head, values = content["head"], content["values"]
        if head["format"] != FORMAT:
            return f"{json_file.name} has format {head['format']}, this graphnas reads {FORMAT}"
        if _digest(json.dumps(values).encode()) != head["values_sha256"]:
            return f"{json_file.name}: checksum differs"
        size, checksum = head["tensors"]["bytes"], head["tensors"]["sha256"]
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return f"{json_file.name} is damaged"
    for file in tensor_files:
        if file.stat().st_size == size:
            data = file.read_bytes()
            if _digest(data) == checksum:
                try:
                    return Checkpoint(safetensors.torch.load(data), values)
                except SafetensorError:
                    break
    return f"{json_file.with_suffix('.safetensors').name}: checksum differs" if tensor_files else "the tensors file is missing"


def write_durably(file: Path, data: bytes) -> None:
    """Write a whole file and have it on the disk before this returns."""
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_atomically(file: Path, data: bytes) -> None:
    """Replace a file: whoever reads sees the old or the new content, also after a crash.

    Raises:
        RunError: It can't be written; the old one is as it was.
    """
    temporary = file.with_name(f"{file.name}.new")
    try:
        write_durably(temporary, data)
        os.replace(temporary, file)
        _sync_folder(file.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"can't be written: {error.strerror or type(error).__name__}",
            where=Where(str(file)),
            fix="make room or allow writing there, and try again",
        ) from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere folders can't be opened, and renames are durable by themselves
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(stem: Path, suffix: str) -> tuple[Path, Path]:
    return stem.with_name(f"{stem.name}{suffix}.json"), stem.with_name(f"{stem.name}{suffix}.safetensors")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def logged_bytes(stem: Path, finished: Path) -> int | None:
    """How much of ``metrics.jsonl`` belongs to what the checkpoints hold; ``None`` if there are none."""
    stems = [stem, *(file.with_suffix("") for file in finished.glob("*.json") if not file.stem.endswith((".new", ".previous")))]
    sizes = [saved.values["log_bytes"] for saved in map(load, stems) if saved is not None]
    return max(sizes, default=None)
