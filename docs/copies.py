"""Refreshes the blocks of README.md and docs/ that show a file of the repository: ``python docs/copies.py``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = re.compile(r"(^<!-- copy of: (?P<name>.*?) -->\n```\w*\n).*?(^```$)", re.MULTILINE | re.DOTALL)


def refreshed(text: str) -> str:
    """The text with every such block as the file is now."""
    return COPY.sub(lambda found: found[1] + (ROOT / found["name"]).read_text(encoding="utf-8") + found[3], text)


if __name__ == "__main__":
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        document.write_text(refreshed(document.read_text(encoding="utf-8")), encoding="utf-8")
