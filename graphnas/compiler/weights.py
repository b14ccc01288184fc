"""Weights from safetensors files: read with every error named, load strictly or with stated gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from graphnas.compiler.torch_typed import load_file
from graphnas.errors import ArtifactError, suggest
from graphnas.graph.globs import matches

WEIGHTS = "model.safetensors"
"""The weights' file in an artifact's folder."""
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of an artifact's folder.

    Raises:
        ArtifactError: No such file, a pickle (which graphnas never reads), or not a whole safetensors file.
    """
    file = Path(path)
    if file.is_dir():
        file = file / WEIGHTS
    if file.suffix in _PICKLES:
        raise ArtifactError(
            f"{file} is a pickle, which may run code and is never read",
            fix="convert it where you trust it: "
            f'safetensors.torch.save_file(torch.load("{file.name}", weights_only=True), "{file.stem}.safetensors")',
        )
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise ArtifactError(f"{file}: no such file", fix=suggest(file.name, siblings) if siblings else "check the path")
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{file} is no whole safetensors file: {error}", fix="copy or make it again") from None


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, source: str, allow_missing: Sequence[str] = ()) -> list[str]:
    """Load weights into a module; returns the allowed names that were missing.

    Args:
        module: Changed in place, or not at all.
        weights: By the module's own names.
        source: Where they come from, for messages.
        allow_missing: Globs of names that may be missing.
    Raises:
        ArtifactError: Names or shapes that do not fit: all of them, at most ten of each kind shown.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    allowed = [name for name in missing if any(matches(pattern, name) for pattern in allow_missing)]
    lines: list[str] = []
    if required := [name for name in missing if name not in allowed]:
        lines.append(f"{len(required)} missing: {_listed(required)}")
    if unknown := [name for name in weights if name not in own]:
        lines.append(f"{len(unknown)} unknown: {_listed(unknown)}")
    if shapes := [
        f"{name} {list(value.shape)} for {list(own[name].shape)}"
        for name, value in weights.items()
        if name in own and value.shape != own[name].shape
    ]:
        lines.append(f"{len(shapes)} of another shape: {_listed(shapes)}")
    if lines:
        raise ArtifactError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(lines)}",
            fix="weights of the same network; or allow_missing: [GLOB]",
        )
    module.load_state_dict(dict(weights), strict=not allowed)
    return allowed


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
