"""The specs that come with graphnas, by kind and name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

FOLDERS = {"search_space": "searchspaces", "task_pair": "taskpairs", "network": "networks"}
"""Kind -> the folder of its presets: below ``graphnas.presets`` in the wheel, at the top of a checkout."""


def presets(kind: str) -> dict[str, Path]:
    """Name -> file of the presets of a kind, sorted by name; none for a kind without any."""
    folder = FOLDERS.get(kind)
    if folder is None:
        return {}
    shipped = Path(str(resources.files("graphnas.presets"))) / folder
    found = shipped if shipped.is_dir() else Path(__file__).resolve().parents[2] / folder
    return {file.stem: file for file in sorted(found.glob("*.yaml"), key=lambda file: file.stem)}


def preset_summary(kind: str, name: str) -> str:
    """What a preset is: the first sentence of the comment that its file starts with."""
    lines: list[str] = []
    for line in presets(kind)[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    text = " ".join(lines)
    return f"{text.partition('. ')[0].rstrip('.')}." if text else ""
