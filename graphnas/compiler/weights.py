"""Weights from safetensors files: read with every error named, loaded strictly or with stated gaps, and what matched is told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, fx, nn

from graphnas.compiler.torch_typed import load_file, paths_of, storage_of
from graphnas.errors import ArtifactError, listed, suggest
from graphnas.graph.globs import matches

__all__ = ["WEIGHTS", "LoadedWeights", "load_weights", "read_weights"]

WEIGHTS = "model.safetensors"
"""The weights' file in an artifact's folder."""
_ARTIFACT = "artifact"  # its folder in a run's
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_COUNTER = "num_batches_tracked"
_CONVERT = (
    'import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], map_location="cpu", weights_only=True); '
    'd = next((d[k] for k in ("state_dict", "model", "model_state_dict", "net") if isinstance(d.get(k), dict)), d); '
    "s.save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, sys.argv[2])"
)
"""Python that makes a safetensors file of a checkpoint: nested ones too, tied and strided tensors as copies."""


@dataclass(frozen=True)
class LoadedWeights:
    """What became of the tensors of a file and of a network.

    Args:
        source: Where the weights come from.
        loaded: Names in the network that got their value from there.
        new: Names in the network that keep the value they had.
        unused: Names in the file that the network has no use for.
    """

    source: str
    loaded: tuple[str, ...]
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{len(self.loaded)} of {len(self.loaded) + len(self.new)} tensors from {self.source}"
        parts = [said] + [f"{word}: {listed(names)}" for word, names in (("new", self.new), ("not used", self.unused)) if names]
        return "; ".join(parts)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, of an artifact's folder, or of the artifact in a run's folder.

    Raises:
        ArtifactError: No such file, a pickle (which graphnas never reads), or not a whole safetensors file.
    """
    file = _file_of(Path(path))
    if file.suffix in _PICKLES:
        raise _pickled(file)
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise ArtifactError(f"{file}: no such file", fix=suggest(file.name, siblings) if siblings else "check the path")
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        if file.read_bytes()[:4].startswith(_PICKLE_STARTS):
            raise _pickled(file) from None
        raise ArtifactError(f"{file} is no whole safetensors file: {error}", fix="copy or make it again") from None


def _file_of(path: Path) -> Path:
    """The file of weights that a path stands for."""
    if not path.is_dir():
        return path
    there = [path / WEIGHTS, path / _ARTIFACT / WEIGHTS]
    found = next((file for file in there if file.is_file()), None)
    if found is not None:
        return found
    entries = sorted(path.iterdir())
    others = [file for file in entries if file.suffix == ".safetensors"]
    if others:
        raise ArtifactError(f"{path} holds no {WEIGHTS}", fix=f"name a file: {others[0]}")
    pickles = [file for file in entries if file.suffix in _PICKLES]
    if pickles:
        raise _pickled(pickles[0])
    raise ArtifactError(f"{path} holds no {WEIGHTS}, nor does its {_ARTIFACT}/", fix="an artifact, a finished run, or a safetensors file")


def _pickled(file: Path) -> ArtifactError:
    line = shlex.join(["python", "-c", _CONVERT, str(file), str(file.with_suffix(".safetensors"))])
    return ArtifactError(f"{file} is a pickle, which may run code and is never read", fix=f"convert it where you trust it: {line}")


def load_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor] | str | Path,
    *,
    source: str | None = None,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
    part: str | None = None,
    into: str | None = None,
    fix: str | None = None,
) -> LoadedWeights:
    """Load weights into a module; tells what matched.

    Args:
        module: Changed in place, or not at all.
        weights: By the module's own names; or a file or folder of ``read_weights``.
        source: Where they come from, for messages; of a file or folder, its path.
        allow_missing: Globs of names of the module that may be missing, or be of another shape: they keep the value they have.
        allow_unused: Globs of names of the weights that the module need not have.
        part: Only the weights below this name, without it: ``encoder`` of an artifact, ``module`` of a checkpoint of DataParallel.
        into: The submodule that the weights are for; all others keep the value they have.
        fix: What to do about weights that do not fit, instead of what is found out.
    Raises:
        ArtifactError: Names or shapes that do not fit: all of them, at most ten of each kind shown.
    """
    short = source if source is not None else "the state dict"
    if isinstance(weights, (str, Path)):
        source, short = str(weights), _short(Path(weights))
        hub, weights = _hub_folder(Path(weights)), read_weights(weights)
        if hub is not None and fix is None:
            fix = f"op: huggingface with model: {hub} and pretrained: true knows how transformers renames what it saves"
    source = source if source is not None else short
    inner = _submodule(module, into)
    given = _part(weights, part, source)
    fit = _Fit.of(inner, given, allow_missing, allow_unused)
    if said := fit.problems():
        name = "the network" if isinstance(module, fx.GraphModule) else type(module).__name__
        of = f"{into} of {name}" if into is not None else name
        raise ArtifactError(
            f"{source if part is None else f'{part} of {source}'} does not fit {of}: {'; '.join(said)}",
            fix=fix if fix is not None else _fix(fit, inner, given, part, into),
        )
    inner.load_state_dict({name: given[name] for name in fit.loaded}, strict=False)
    before = f"{into}." if into is not None else ""
    taken = [f"{before}{name}" for name in fit.covered]
    new = [name for name in module.state_dict() if name not in {*taken, *(f"{before}{name}" for name in fit.kept)}]
    return LoadedWeights(short, tuple(taken), tuple(new), tuple(fit.unused))


def _short(path: Path) -> str:
    """A file's name; the last two names of a folder."""
    return path.name if path.suffix else "/".join(path.parts[-2:])


def _hub_folder(path: Path) -> Path | None:
    """The folder of these weights, if transformers saved it: the names in it are not those of its networks."""
    folder = path if path.is_dir() else path.parent
    try:
        return folder if "transformers_version" in json.loads((folder / "config.json").read_bytes()) else None
    except (OSError, ValueError):
        return None


def _submodule(module: nn.Module, into: str | None) -> nn.Module:
    if into is None:
        return module
    try:
        return module.get_submodule(into)
    except AttributeError:
        known = [name for name, _ in paths_of(module) if name]
        raise ArtifactError(f"the network has no part {into!r} to load weights into", fix=suggest(into, known)) from None


def _part(weights: Mapping[str, Tensor], part: str | None, source: str) -> Mapping[str, Tensor]:
    if part is None:
        return weights
    found = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
    if not found:
        raise ArtifactError(f"{source} has no part {part!r}", fix=suggest(part, {name.partition(".")[0] for name in weights}))
    return found


@dataclass(frozen=True)
class _Fit:
    """How weights fit a module.

    Args:
        loaded: Names of both, of the same shape.
        covered: Names of the module that these set: also those of the same tensors under other names.
        kept: Names that neither need a value nor are new: counters of batches that older files lack.
        missing, unknown, shapes: What does not fit and is not allowed to.
        unused: Names of the weights that are allowed to be left over.
    """

    loaded: Sequence[str]
    covered: Sequence[str]
    kept: Collection[str]
    missing: Sequence[str]
    unknown: Sequence[str]
    shapes: Mapping[str, str]
    unused: Sequence[str]

    @staticmethod
    def of(module: nn.Module, weights: Mapping[str, Tensor], allow_missing: Sequence[str], allow_unused: Sequence[str]) -> _Fit:
        own = module.state_dict()
        loaded = [name for name, value in weights.items() if name in own and value.shape == own[name].shape]
        assigned = {_memory(own[name]) for name in loaded}
        covered = [name for name, value in own.items() if name in loaded or (name not in weights and _memory(value) in assigned)]
        kept = [
            name
            for name in own
            if name.endswith(_COUNTER) and name not in weights and f"{name.removesuffix(_COUNTER)}running_mean" in covered
        ]
        without = [name for name in own if name not in covered and name not in kept and not _any(allow_missing, name)]
        others = [name for name in weights if name not in own]
        return _Fit(
            loaded,
            covered,
            kept,
            [name for name in without if name not in weights],
            [name for name in others if not _any(allow_unused, name)],
            {name: f"{name} {list(weights[name].shape)} for {list(own[name].shape)}" for name in without if name in weights},
            [name for name in others if _any(allow_unused, name)],
        )

    def problems(self) -> list[str]:
        kinds = (("missing", self.missing), ("unknown", self.unknown), ("of another shape", list(self.shapes.values())))
        return [f"{len(names)} {words}: {listed(names)}" for words, names in kinds if names]


def _memory(tensor: Tensor) -> tuple[object, ...]:
    """Equal for tied tensors alone."""
    return (storage_of(tensor), tensor.storage_offset(), tensor.shape, tensor.stride())


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)


def _fix(fit: _Fit, module: nn.Module, weights: Mapping[str, Tensor], part: str | None, into: str | None) -> str:
    """What to write so that these weights fit, as far as that can be seen."""
    if not fit.loaded:
        own = module.state_dict()
        if into is None and (inner := _place(weights, own)):
            return f"into: {inner}"
        if part is None and (outer := _place(own, weights)):
            return f"part: {outer}"
        return "weights of the same network"
    fixes: list[str] = []
    if fit.missing or fit.shapes:
        fixes.append(f"allow_missing: [{', '.join(_globs((*fit.missing, *fit.shapes), fit.loaded))}]")
    if fit.unknown:
        fixes.append(f"allow_unused: [{', '.join(_globs(fit.unknown, fit.loaded))}]")
    return f"weights of the same network; or {' and '.join(fixes)}"


def _place(inner: Mapping[str, Tensor], outer: Mapping[str, Tensor]) -> str | None:
    """The name below which most of these names stand among the others; ``None`` if that is not even half of them."""
    counts: dict[str, int] = {}
    for name in outer:
        parts = name.split(".")
        for i in range(1, len(parts)):
            if (rest := ".".join(parts[i:])) in inner and inner[rest].shape == outer[name].shape:
                counts[".".join(parts[:i])] = counts.get(".".join(parts[:i]), 0) + 1
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and 2 * counts[best] >= len(inner) else None


def _globs(names: Sequence[str], fitting: Sequence[str]) -> list[str]:
    """Globs of these names, as short as can be without one of those that fit; at most five."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        globs = [f"{'.'.join(parts[:i])}.**" for i in range(1, len(parts))]
        found[next((glob for glob in globs if not any(matches(glob, other) for other in fitting)), name)] = None
    return [*list(found)[:5], *(["..."] if len(found) > 5 else [])]
