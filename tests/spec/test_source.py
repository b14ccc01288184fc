"""Reading YAML and JSON: values, places, and what is refused, each message whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphnas.spec import source, yaml_text
from graphnas.spec.place import Place
from graphnas.spec.scalars import reads_as_text
from graphnas.spec.source import read_file, read_text


@pytest.fixture(params=["libyaml", "pure"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the C parser."""
    if request.param == "pure":
        monkeypatch.setattr(yaml_text, "PARSER", yaml.SafeLoader)


def problems(text: str, **options: Any) -> list[str]:
    return [str(problem) for problem in read_text(text, "x.yaml", **options).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1.5E+2", 150.0), (".5", 0.5), ("5.", 5.0), ("-0", 0), ("+12", 12), ("010", 10), ("0o17", 15), ("0x1F", 31),
        ("true", True), ("False", False), ("TRUE", True), ("null", None), ("~", None), ("", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("2001-01-01", "2001-01-01"), ("1:20", "1:20"),
        ("1_000", "1_000"), ("0b11", "0b11"), ("=", "="), ("<", "<"), ("1e", "1e"), ("-", None), ("'1'", "1"), ('"null"', "null"),
        ("$name", "$name"), ("auxiliary -> primary", "auxiliary -> primary"), ("0o8", "0o8"), ("+0o7", "+0o7"), ("e3", "e3"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_parser")
def test_scalars_of_the_core_schema(text: str, value: object) -> None:
    found = read_text(f"a: {text}\n", "x.yaml").data["a"] if text != "-" else None
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "null", "~", "0o17", "5.", ".nan", "-.inf", "x", "", "true", "2001-01-01", "9" * 5000, "+3"]
)
def test_text_that_needs_no_quotes_is_known(text: str) -> None:
    read = read_text(f"a: {text}\n", "x.yaml")
    assert reads_as_text(text) == (not read.problems and read.data["a"] == text)


PLACES = """\
kind: network   # a comment
nodes:
  ä: {op: conv2d,
      inputs: [x, yy]}
  "b c":
    - 1
    - {k: v}
"""


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("kind",), (1, 7), (1, 1)),
        (("nodes",), (3, 3), (2, 1)),
        (("nodes", "ä"), (3, 6), (3, 3)),
        (("nodes", "ä", "inputs"), (4, 15), (4, 7)),
        (("nodes", "ä", "inputs", 1), (4, 19), (4, 19)),
        (("nodes", "b c", 0), (6, 7), (6, 7)),
        (("nodes", "b c", 1, "k"), (7, 11), (7, 8)),
        (("nodes", "b c", 1, "gone", "further"), (7, 7), (7, 7)),
    ],
)
@pytest.mark.usefixtures("_parser")
def test_places(path: tuple[str | int, ...], value: tuple[int, int], key: tuple[int, int]) -> None:
    place = read_text(PLACES, "x.yaml").place.nearest(path)
    assert ((place.line, place.column), (place.key_line, place.key_column)) == (value, key)


def test_json_has_the_same_places_as_yaml() -> None:
    text = json.dumps({"a": [1, {"b": "\U0001f600", "c": None}], "d": {"e": -2.5}}, indent=2)

    def flat(place: Place) -> list[Any]:
        own = (place.line, place.column, place.key_line, place.key_column)
        return [own, *((name, flat(child)) for name, child in place.children.items())]

    as_yaml = read_text(text.replace("\\ud83d\\ude00", "x" * 12), "x.json")
    as_json = read_text(text, "x.json", json=True)
    assert flat(as_json.place) == flat(as_yaml.place)
    assert as_json.data == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1\n", "x.yaml:2:1: not YAML: a tab in the indentation\n  fix: indent with spaces"),
        ("a: [1, 2\nb: 3\n", "x.yaml:1:4: not YAML: a list is never closed\n  fix: add ] or a comma"),
        ("a: {b: 1\n", "x.yaml:1:4: not YAML: a mapping is never closed\n  fix: add } or a comma"),
        ("a: b: c\n", "x.yaml:1:5: not YAML: a key and its value can't stand here\n"
                      "  fix: check the indentation; text that holds ': ' needs quotes"),
        ("a: 'x\n", "x.yaml:1:4: not YAML: a quote is never closed\n  fix: close the quote"),
        ("a: \x01\n", "x.yaml:1:4: not YAML: the control character '\\x01'\n  fix: remove it"),
        ("a: 1\n---\nb: 1\n", "x.yaml:2:1: a second document starts here\n  fix: one document a file: remove the line ---"),
        ("a: @b\n", "x.yaml:1:4: not YAML: no value can start with '@'\n  fix: put the text in quotes: \"@...\""),
        ("- a\nb: 1\n", "x.yaml:2:1: not YAML: a line that does not fit those above\n  fix: check the indentation"),
        ("{a: 1}}\n", "x.yaml:1:7: not YAML: something follows the end of the document\n  fix: check brackets and indentation"),
        ("a: - 1\n", "x.yaml:1:4: not YAML: a list can't start here\n  fix: put '- ' on a line of its own, or write [a, b]"),
        ("[" * 200 + "]" * 200, "x.yaml:1:101: more than 100 mappings and lists within each other\n  fix: a flatter spec"),
        ("a: *b\n", "x.yaml:1:4: no anchor &b stands before\n  fix: write the value out"),
        ("a: &bb 1\nc: *b\n", "x.yaml:2:4: no anchor &b stands before\n  fix: did you mean 'bb'?"),
        ("a: &a [*a]\n", "x.yaml:1:8: the alias *a stands inside what it stands for\n  fix: write the value out"),
        ("? [a]\n: 1\n", "x.yaml:1:3: a key must be text, got a mapping or a list\n  fix: write KEY: VALUE"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_parser")
def test_where_reading_stops(text: str, message: str) -> None:
    assert problems(text) == [message]
    assert read_text(text, "x.yaml").data is None


@pytest.mark.usefixtures("_parser")
def test_all_that_is_refused_in_one_file_at_once() -> None:
    text = """\
a: {b: 1, b: {c: .nan, c: 2}}
1: x
true: x
t: !!python/object/apply:os.system [echo]
u: [!!int "3", ! 4]
v: [ok, -.inf, 1e999]
<<: {w: 1}
null: x
"""
    assert problems(text) == [
        "x.yaml:1:11: a: the key 'b' stands twice\n  fix: the first is at x.yaml:1:5: remove one",
        "x.yaml:1:18: a.b.c: .nan is not a finite number\n  fix: a finite number, or text in quotes",
        "x.yaml:1:24: a.b: the key 'c' stands twice\n  fix: the first is at x.yaml:1:15: remove one",
        'x.yaml:2:1: a key must be text, got 1\n  fix: "1": ...',
        'x.yaml:3:1: a key must be text, got true\n  fix: "true": ...',
        "x.yaml:4:4: t: YAML tags such as !!python/object/apply:os.system are not read\n  fix: remove !!python/object/apply:os.system",
        "x.yaml:5:5: u[0]: YAML tags such as !!int are not read\n  fix: remove !!int",
        "x.yaml:5:16: u[1]: YAML tags such as ! are not read\n  fix: remove !",
        "x.yaml:6:9: v[1]: -.inf is not a finite number\n  fix: a finite number, or text in quotes",
        "x.yaml:6:16: v[2]: 1e999 is too large a number\n  fix: a finite number, or text in quotes",
        "x.yaml:7:1: merge keys (<<) are not part of YAML 1.2\n  fix: write the fields out",
        'x.yaml:8:1: a key must be text, got null\n  fix: "null": ...',
    ]


@pytest.mark.usefixtures("_parser")
def test_an_alias_is_a_copy_whose_inside_keeps_its_place() -> None:
    read = read_text("a: &x {b: [1, 2]}\nc: *x\n", "x.yaml")
    assert read.data == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}
    read.data["c"]["b"].append(3)
    assert read.data["a"] == {"b": [1, 2]}
    place = read.place.children["c"]
    assert (place.line, place.column) == (2, 4)
    assert (place.children["b"].line, place.children["b"].column) == (1, 11)


@pytest.mark.usefixtures("_parser")
def test_aliases_do_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))]
    [message] = problems("\n".join(lines))
    assert message.endswith("the aliases stand for more than 100,000 values\n  fix: use fewer aliases")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,}', "x.yaml:1:9: not JSON: a comma before '}'\n  fix: remove the comma"),
        ('{"a": NaN}', "x.yaml:1:7: not JSON: expected a value, got 'NaN}'\n  fix: text needs double quotes"),
        ("{a: 1}", 'x.yaml:1:2: not JSON: expected a key in double quotes\n  fix: "KEY": VALUE'),
        ("[1 2]", "x.yaml:1:4: not JSON: expected ',' or ']'"),
        ('{"a": "x\ny"}', "x.yaml:1:9: not JSON: invalid control character"),
        ('{"a": 01}', "x.yaml:1:8: not JSON: expected ',' or '}'"),
        ('{"a": "x', "x.yaml:1:7: not JSON: unterminated string"),
        ('{"a": "\\ud800"}', "x.yaml:1:7: not JSON: half of a surrogate pair\n  fix: write the character itself"),
        ('{"a"', "x.yaml:1:5: not JSON: expected ':' after a key"),
        ('{"a":', "x.yaml:1:6: not JSON: expected a value, got the end of the file"),
        ("[[]]\n]", "x.yaml:2:1: not JSON: something follows the end of the document\n  fix: check the brackets"),
        ('{"a": 1, "a": 2}', "x.yaml:1:10: the key 'a' stands twice\n  fix: the first is at x.yaml:1:2: remove one"),
        ('{"a": [1e999]}', "x.yaml:1:8: a[0]: 1e999 is too large a number\n  fix: a finite number, or text in quotes"),
        ("[" * 200 + "]" * 200, "x.yaml:1:101: more than 100 mappings and lists within each other\n  fix: a flatter spec"),
    ],
)
def test_not_json(text: str, message: str) -> None:
    assert problems(text, json=True) == [message]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.yaml", None, "gone.yaml: there is no such file\n  fix: did you mean 'gine.yaml'?"),
        ("no/where.yaml", None, "no/where.yaml: there is no such file\n  fix: there is no folder no either"),
        ("folder", None, "folder: a folder, not a file\n  fix: name a file in it: inside.yaml"),
        ("latin.yaml", b"a: 1\nb: \xe4\n", "latin.yaml:2:4: not UTF-8: byte 0xe4\n  fix: save the file as UTF-8"),
        ("wide.yaml", "a: 1".encode("utf-16"), "wide.yaml:1:1: not UTF-8: byte 0xff\n  fix: save the file as UTF-8"),
    ],
)
def test_files_that_can_not_be_read(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "gine.yaml").write_text("a: 1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.yaml").write_text("a: 1")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert [str(problem) for problem in read_file(tmp_path / name, name).problems] == [message]


def test_a_file_that_no_spec_is_as_large_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST_FILE", 2 << 20)
    (tmp_path / "x.yaml").write_bytes(b" " * ((2 << 20) + 1))
    [problem] = read_file(tmp_path / "x.yaml", "x.yaml").problems
    assert str(problem) == "x.yaml: larger than 2 MiB, which no spec is\n  fix: name another file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 10_000 + "]" * 10_000, "not YAML: mappings and lists too deep within each other"),
        ("\n".join(f"{' ' * depth}a:" for depth in range(2_000)), "more than 100 mappings and lists within each other"),
    ],
)
def test_a_depth_that_no_spec_has(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    [problem] = read_file(tmp_path / "x.yaml", "x.yaml").problems
    assert (problem.message, problem.fix) == (message, "a flatter spec")
    assert problem.where is not None
    assert problem.where.line is not None


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    read = read_file(tmp_path / "x.yaml", "x.yaml")
    assert (read.data, read.place.children["b"].value) == ({"a": 1, "b": 2}, read.place.children["b"].value)
    assert str(read.place.children["b"].value) == "x.yaml:2:4"
