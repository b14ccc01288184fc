"""The folder of a run: what lies where, and when one may be made, gone on with, or replaced.

::

    spec.json                the resolved spec
    metrics.jsonl            one object per epoch, task and split
    gates.jsonl              the gates of every link over time
    gradients.jsonl          cosines of the tasks' gradients over time, where runtime.log_gradients asks for them
    events/                  the metrics for TensorBoard, one run a phase
    checkpoint.*             the phase that is not finished
    phases/NAME.*            the last state of each finished phase, in the same format
    results.json             the table at the end; there once all is done
    artifact/                the pruned network
    .lock                    which process works here, while one does
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphnas.errors import ArtifactError, GraphNASError, Problem, RunError, Where
from graphnas.runs.lock import NAME as LOCK
from graphnas.search.checkpoint import write_atomically
from graphnas.spec import SearchSpec, dump_spec, parse_spec

_FREE = ("runtime", "training.epochs", "training.steps", "training.on_nan")
"""Fields that may differ when a run is gone on with: where and how, a longer training, and what happens where it can't go on."""


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run folder."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The stem of the files of the unfinished phase's checkpoint."""
        return self.path / "checkpoint"

    @property
    def phases(self) -> Path:
        return self.path / "phases"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def artifact(self) -> Path:
        return self.path / "artifact"

    @staticmethod
    def artifact_at(path: str | Path) -> Path:
        """The artifact that a path names: that of a run folder, or the path itself."""
        own = RunFolder(Path(path)).artifact
        return own if own.is_dir() else Path(path)

    def read_spec(self) -> Any:
        """The content of spec.json.

        Raises:
            ArtifactError: There is none, or it is damaged.
        """
        try:
            content = json.loads(self.spec.read_bytes())
        except FileNotFoundError:
            raise ArtifactError(
                "no run is there: spec.json is missing", where=Where(str(self.path)), fix="name the folder of a run"
            ) from None
        except (ValueError, OSError) as error:
            raise ArtifactError(f"not readable: {error}", where=Where(str(self.spec)), fix="start again in another folder") from None
        if not isinstance(content, dict) or cast(dict[str, Any], content).get("kind") != "search":
            raise ArtifactError("not the spec of a run", where=Where(str(self.spec)), fix="name the folder of a run")
        return cast(dict[str, Any], content)


def spec_of_run(folder: RunFolder) -> SearchSpec:
    """The resolved spec of a run.

    Raises:
        ArtifactError: There is no run.
    """
    spec = parse_spec(folder.read_spec(), kind="search", folder=folder.path)
    assert isinstance(spec, SearchSpec)
    return spec


def make_folder(path: Path) -> None:
    """Make the folder of a run, unless another process was faster.

    Raises:
        RunError: It can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder can't be made: {error.strerror}", where=Where(str(path)), fix="allow writing there, or choose another --out"
        ) from error


def open_folder(path: Path, spec: SearchSpec, *, resume: bool, overwrite: bool) -> RunFolder:
    """Make a run folder, or take the one that is there.

    Args:
        path: The folder.
        spec: The resolved spec.
        resume: Go on with the run that is there.
        overwrite: Remove the run that is there; other files in the folder are left alone.
    Raises:
        GraphNASError: Something else is there, or nothing to go on with, or the run's spec differs in what matters.
    """
    folder = RunFolder(path)
    check_folder(folder, spec, resume=resume, overwrite=overwrite)
    if overwrite and folder.spec.exists():
        _clear(folder)
    make_folder(path)
    write_atomically(folder.spec, json.dumps(dump_spec(spec), indent=1).encode() + b"\n")  # first: it makes the folder one of a run
    folder.phases.mkdir(exist_ok=True)
    return folder


def check_folder(folder: RunFolder, spec: SearchSpec, *, resume: bool, overwrite: bool) -> None:
    """Refuse what ``open_folder`` would refuse, before anything is computed or changed.

    Raises:
        GraphNASError: As ``open_folder``.
    """
    where = Where(str(folder.path))
    if resume and overwrite:
        raise GraphNASError("resume and overwrite can't both be meant", where=where, fix="--resume goes on, --overwrite starts again")
    if folder.path.exists() and not folder.path.is_dir():
        raise GraphNASError("a file is there, a run needs a folder", where=where, fix="choose another --out")
    nothing = (LOCK, f"{folder.spec.name}.new")  # of a run that died before it was one
    empty = not folder.path.exists() or all(entry.name in nothing for entry in folder.path.iterdir())
    if resume:
        if empty:
            raise GraphNASError("there is no run to go on with", where=where, fix="leave --resume out")
        same_spec(folder.read_spec(), spec, folder)
    elif not empty:
        if not folder.spec.exists():
            raise GraphNASError("the folder is not empty, and holds no run", where=where, fix="choose another --out")
        if not overwrite:
            raise GraphNASError(
                "a run is there already", where=where, fix="--resume goes on with it, --overwrite replaces it, or choose another --out"
            )
        folder.read_spec()


def _clear(folder: RunFolder) -> None:
    """Remove a run's own files, its spec last: until then the folder is one of a run, and a second try may go on."""
    for name in ("phases", "events", "artifact"):
        if (folder.path / name).is_dir():
            shutil.rmtree(folder.path / name)
    files = [*folder.path.glob("checkpoint*.json"), *folder.path.glob("checkpoint*.safetensors"), folder.metrics]
    files += [folder.path / name for name in ("gates.jsonl", "gradients.jsonl", "attribution.json", "attribution.svg", "report.html")]
    for file in [*files, folder.results, folder.spec]:
        file.unlink(missing_ok=True)


def same_spec(before: Mapping[str, Any], spec: SearchSpec, folder: RunFolder, *, free: tuple[str, ...] = _FREE) -> None:
    """Refuse to go on with a run that was started with other settings.

    Args:
        before: The content of its ``spec.json``.
        spec: What is wanted now.
        folder: The run.
        free: Fields that may differ; the length of training may only grow.
    Raises:
        ArtifactError: All that differs.
    """
    problems: list[Problem] = []
    for path, old, new in _differences(_with_defaults(before, folder), dump_spec(spec), ()):
        name = ".".join(map(str, path))
        if not name.startswith(free):
            problems.append(
                spec.problem(f"{_short(old)} in the run {folder.path}, {_short(new)} now", *path, fix="start again in another folder")
            )
        elif name.startswith("training") and isinstance(old, int) and isinstance(new, int) and new < old:
            problems.append(spec.problem(f"the run {folder.path} has {old}, {new} is less", *path, fix=f"{old} or more, or another folder"))
    if problems:
        raise ArtifactError(problems)


def _with_defaults(before: Mapping[str, Any], folder: RunFolder) -> Mapping[str, Any]:
    """The spec of a run, with the fields that an earlier graphnas did not know; as it is, where this one can't read it."""
    try:
        return dump_spec(parse_spec(before, kind="search", folder=folder.path))
    except GraphNASError:
        return before


def _differences(old: Any, new: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """(path, old, new) of every value that differs; a missing one is ``None``."""
    if isinstance(old, dict) and isinstance(new, dict):
        first, second = cast(dict[str, Any], old), cast(dict[str, Any], new)
        for name in dict.fromkeys([*first, *second]):
            yield from _differences(first.get(name), second.get(name), (*path, name))
    elif isinstance(old, list) and isinstance(new, list) and len(cast(list[Any], old)) == len(cast(list[Any], new)):
        for index, (one, other) in enumerate(zip(cast(list[Any], old), cast(list[Any], new), strict=True)):
            yield from _differences(one, other, (*path, index))
    elif old != new:
        yield path, old, new


def _short(value: Any) -> str:
    """A value in a message."""
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
