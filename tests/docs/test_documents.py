"""Every example of the README and of docs/ runs.

In a document, blocks of Python run one after the other in one namespace; a line ``<!-- not run: WHY -->`` above a block exempts it. A block
under ``<!-- file: NAME -->`` is written to that file first; YAML files so written that say their kind must be correct. A block under
``<!-- copy of: NAME -->`` shows a file of the repository as it is.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import graphnas as gn
from graphnas import registry

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>file|copy of|not run): (?P<text>.*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")
REGISTRIES = [entries for entries in vars(registry).values() if isinstance(entries, registry.Registry)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the quickstart's data beside, as in a checkout; names registered by a document are forgotten after it."""
    for name in ("examples", "taskpairs", "searchspaces", "networks"):
        (tmp_path / name).symlink_to(ROOT / name)
    for entries in REGISTRIES:
        monkeypatch.setattr(entries, "_loaded", dict(entries._loaded))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_run(document: Path, folder: Path) -> None:
    text = document.read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == len(re.findall(r"^```", text, re.MULTILINE)) // 2, "a fence is not closed"
    files = [block for block in blocks if block["mark"] == "file"]
    for block in files:
        (folder / block["text"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / block["text"]).write_text(block["body"])
    for block in blocks:
        if block["mark"] == "copy of":
            assert block["body"] == (ROOT / block["text"]).read_text(), f"{document.name} shows another {block['text']}"
    for block in files:
        if block["text"].endswith(".yaml") and "kind:" in block["body"]:
            gn.load_spec(folder / block["text"])
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        if block["language"] == "python" and block["mark"] is None:
            line = text.count("\n", 0, block.start("body"))
            exec(compile("\n" * line + block["body"], str(document), "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    broken = [target for target in LINK.findall(document.read_text()) if not (document.parent / target).exists()]
    assert broken == []
