"""A finished run and a page's reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import graphnas as gn
from tests.runs.conftest import SEARCH, changed, make_samples

VOID = {"meta"}
PATH, TEXT = ("{http://www.w3.org/2000/svg}" + tag for tag in ("path", "text"))


@dataclass
class Page(HTMLParser):
    """What a browser sees: words, tags, the plots; and whether it is well formed."""

    text: str
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str | None]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.words.append(data.strip())

    def plots(self) -> list[ElementTree.Element]:
        """The plots, each a document of its own."""
        return [
            ElementTree.fromstring(part.partition("</svg>")[0] + "</svg>") for part in ("<svg" + p for p in self.text.split("<svg")[1:])
        ]

    def table(self, caption: str) -> list[list[str]]:
        """The cells of a table."""
        start = self.text.index(f"<caption>{caption}")
        rows = self.text[start : self.text.index("</table>", start)].split("<tr>")[1:]
        return [[_plain(cell) for cell in row.replace("<td", "<th").split("<th")[1:]] for row in rows]


def _plain(cell: str) -> str:
    return Page(f"<p{cell.partition('</')[0]}</p>").words[0] if cell.partition(">")[2].partition("</")[0] else ""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with everything in it."""
    spec = gn.parse_spec(changed(SEARCH, {"training.epochs": 3, "runtime.log_gradients": {"epochs": 1}}), kind="search")
    assert isinstance(spec, gn.SearchSpec)
    folder = tmp_path_factory.mktemp("report") / "demo"
    gn.search(spec, data={"toy": {"train": make_samples(24), "test": make_samples(6, seed=1)}}, out=folder)
    return folder
