"""Tables and JSON: what numbers look like, and that text is printed as it is."""

from __future__ import annotations

import json

import pytest

from graphnas.cli.terminal import cell, short, show, show_json, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (31.0, "31.00"),
        (12345.0, "1.234e+04"),
        (1234.0, "1234"),
        ("a", "a"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1000, "1 k"), (238_515, "239 k"), (75_939_840, "75.9 M"), (4.1e9, "4.1 G")]
)
def test_short_counts(count: float, text: str) -> None:
    assert short(count) == text


def test_brackets_are_no_markup_and_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[bold]" + "x" * 300
    show(table("title [red]", ("name",), [(long,)]), "links[0]: :smile:")
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[3], lines[5]) == ("title [red]", long, "links[0]: :smile:")


def test_what_json_does_not_have_becomes_null(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"miou": float("nan"), "rows": ({"value": float("inf")}, 1.5)})
    assert json.loads(capsys.readouterr().out) == {"miou": None, "rows": [{"value": None}, 1.5]}
