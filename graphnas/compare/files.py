"""What lies beside a cell's run folder."""

from __future__ import annotations

import json
from pathlib import Path


def failure_file(run: Path) -> Path:
    """Where a cell leaves why it failed."""
    return run.with_name(f"{run.name}.failed.json")


def failure(run: Path) -> str | None:
    """Why a cell failed; ``None`` where it did not, or was not tried."""
    try:
        return str(json.loads(failure_file(run).read_bytes())["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def memory_file(run: Path) -> Path:
    """Where a cell leaves how much memory its training took."""
    return run.with_name(f"{run.name}.memory.json")


def log_file(run: Path) -> Path:
    """Where a cell's lines go."""
    return run.with_name(f"{run.name}.log")
