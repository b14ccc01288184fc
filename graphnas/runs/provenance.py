"""What a run's numbers depend on, for the first lines of its log."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import torch

from graphnas import __version__
from graphnas.spec import SearchSpec


def provenance(spec: SearchSpec, device: torch.device) -> list[str]:
    """Versions, device, number of threads and seed; and where the spec comes from, if it is a file."""
    versions = {"graphnas": __version__, "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    about = ", ".join(f"{name} {version}" for name, version in versions.items())
    where = spec.where()
    lines = [f"{about}, {device}, threads {torch.get_num_threads()}, seed {spec.seed}"]
    return lines if where is None or not Path(where.source).is_file() else [*lines, f"spec: {where.source}{_git_state(Path(where.source))}"]


def _git_state(file: Path) -> str:
    """``, git 1a2b3c4 (changed)``; nothing where the file is in no repository, or git is not there."""
    head = _git(file.absolute().parent, "rev-parse", "--short", "HEAD")
    if head is None:
        return ""
    known = _git(file.absolute().parent, "ls-files", "--", file.name)
    changed = _git(file.absolute().parent, "status", "--porcelain", "--", file.name)
    return f", git {head}" + (" (not in it)" if not known else " (changed)" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; ``None`` where it fails. No program that a repository's settings name is run."""
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603  # git, and nothing of a spec
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
