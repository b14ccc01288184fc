"""docs/methods.md has every search space that comes with graphnas: its source, its file, its picture, and what it costs at inference."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import graphnas as gn
from graphnas.cli.summary import summarize
from graphnas.spec import presets

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "methods.md").read_text()
SPACES = presets("search_space")
SECTION = re.compile(r"^### (?P<name>\S+)\n(?P<text>.*?)(?=^##)", re.MULTILINE | re.DOTALL)
SECTIONS = {found["name"]: found["text"] for found in SECTION.finditer(PAGE)}


@pytest.mark.parametrize("name", SPACES)
def test_every_space_is_on_the_page(name: str) -> None:
    assert PAGE.count(f"| [`{name}`](#{name}) |") == 1
    text = SECTIONS[name]
    file = (ROOT / "searchspaces" / f"{name}.yaml").read_text()
    assert f"<!-- copy of: searchspaces/{name}.yaml -->\n```yaml\n{file}```\n" in text
    assert f"![{name}](methods/{name}.svg)" in text
    assert re.search(r"^    \S", text, re.MULTILINE), "no formula"
    for source in re.findall(r"arXiv:\d{4}\.\d{5}", file):
        assert source in text
    assert name == "single-task" or re.search(r"arXiv:\d{4}\.\d{5}", file), "no source in the file"
    keeps = gn.load_spec(name).constraints.inference
    cost = "the primary's own network, 1 ×" if keeps == "primary" else "the part of the other branches that sends to it"
    assert text.count("At inference: ") == text.count(cost) == 1


def test_pictures_are_up_to_date(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs" / "pictures.py"))["write"](tmp_path)
    drawn = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert sorted(drawn) == sorted(f"{name}.svg" for name in SPACES)
    for name, text in drawn.items():
        assert (ROOT / "docs" / "methods" / name).read_text() == text, f"{name}: run python docs/pictures.py"
    assert "normals, segmentation: conv1x1 of the own value and what arrives, added; batch_norm and relu of the sum" in drawn["nddr.svg"]
    assert "segmentation: what arrives takes the place of the own value" in drawn["aux-head.svg"]
    assert "segmentation: the own value and what arrives, mixed by shares of 1" in drawn["aux-nas-mix.svg"]


@pytest.mark.parametrize("name", ["single-task", "cross-stitch", "nddr", "mtl-nas"])
def test_costs_are_those_of_the_quickstart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = gn.load_spec("examples/quickstart/search.yaml", overrides=[f"space={name}"])
    assert isinstance(spec, gn.SearchSpec)
    found = summarize(spec, gn.compile(spec))
    [own] = [row for row in found.branches if row.task == "normals"]
    macs, parameters = found.inference_macs, found.inference_parameters
    ratios = f"{macs / own.macs:.3g}", f"{parameters / own.parameters:.2f}".removesuffix(".00")
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}`")]
    assert line.split(" | ")[1:] == [f"{macs:,}", ratios[0], f"{parameters:,}", f"{ratios[1]} |"]
