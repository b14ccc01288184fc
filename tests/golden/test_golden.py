"""Golden files: a spec, the types of its inputs, and the printed graph (or what is wrong).

``pytest --update-golden`` writes what comes out now; review the diff.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphnas.compiler.infer import infer
from graphnas.errors import SpecError
from graphnas.graph.text import format_graph
from graphnas.graph.types import ValueType, parse_type
from graphnas.spec import load_spec
from graphnas.spec.network import NetworkSpec

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.txt"))


def sections(text: str) -> dict[str, str]:
    """``--- name`` lines part a file."""
    parts = re.split(r"^--- (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def value_type(text: str) -> ValueType:
    return parse_type(text).bind([int(size) for size in re.findall(r"\d+", text)])


def printed(spec_file: Path, inputs: str) -> str:
    types = {name.strip(): value_type(text) for name, text in (line.split(":") for line in inputs.splitlines())}
    try:
        spec = load_spec(spec_file)
        assert isinstance(spec, NetworkSpec)
        return format_graph(infer(spec.bind({}), types))
    except SpecError as error:
        return str(error).replace(f"{spec_file.parent}/", "") + "\n"


@pytest.mark.parametrize("case", [pytest.param(path, id=path.stem) for path in CASES])
def test_golden(case: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = case.read_text(encoding="utf-8")
    parts = sections(text)
    (tmp_path / "net.yaml").write_text(parts["spec"], encoding="utf-8")
    result = printed(tmp_path / "net.yaml", parts["inputs"])
    if request.config.getoption("--update-golden"):
        head = text[: text.index("--- graph\n")] if "--- graph\n" in text else text
        case.write_text(f"{head}--- graph\n{result}", encoding="utf-8")
    else:
        assert result == parts.get("graph"), "the printed graph changed; if that is right, run pytest --update-golden"


def test_there_are_some() -> None:
    assert CASES
