"""The group: help, exit statuses, and errors as printed problems; stand-in commands take the place of real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from graphnas import __version__, errors
from graphnas.cli import list_
from graphnas.cli.main import COMMANDS, cli
from graphnas.errors import GraphNASError, Problem, Where


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes ``graphnas list gates`` raise."""

    def arrange(error: BaseException) -> None:
        def fail(what: str) -> None:
            raise error

        monkeypatch.setattr(list_, "_registered", fail)

    return arrange


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, "COLUMNS": "120"}
    )


def test_version() -> None:
    assert run("--version") == (0, f"graphnas {__version__}\n", "")


def test_help_names_every_command() -> None:
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str) -> None:
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: graphnas {name} ")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_neither_torch_nor_pydantic(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom graphnas.cli.main import cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        "finally:\n    loaded = {'torch', 'pydantic', 'numpy', 'networkx'} & set(sys.modules)\n    assert not loaded, loaded\n"
    )
    done = python("-c", code, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_graphnas() -> None:
    done = python("-m", "graphnas", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"graphnas {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compil"], "graphnas: unknown command 'compil'\n  fix: did you mean 'compile'?\n"),
        (["--pluging", "x"], "graphnas: unknown option '--pluging'\n  fix: did you mean '--plugin'?\n"),
        (["list", "gates", "--jsn"], "graphnas list: unknown option '--jsn'\n  fix: did you mean '--json'?\n"),
        (["list", "operatons"], "graphnas list: unknown list 'operatons'\n  fix: did you mean 'operations'?\n"),
        (["list"], "graphnas list: WHAT is missing\n  fix: graphnas list --help\n"),
        (["list", "gates", "more"], "graphnas list: got unexpected extra argument (more)\n  fix: graphnas list --help\n"),
        (["schema", "network", "--plugin"], "graphnas: option '--plugin' requires an argument\n  fix: graphnas --help\n"),
        (["schema", "space"], "graphnas schema: unknown kind 'space'\n  fix: one of network, search, search_space, task_pair\n"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    assert run(*arguments) == (2, "", message)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.GraphNASError, 2),
        (errors.SpecError, 2),
        (errors.RecordError, 2),
        (errors.DataError, 2),
        (errors.PruneError, 2),
        (errors.ArtifactError, 2),
        (errors.RunError, 1),
    ],
)
def test_each_error_prints_its_problems_and_exits_with_its_status(
    kind: type[GraphNASError], status: int, raising: Callable[[BaseException], None]
) -> None:
    first = Problem("unknown role 'primery'", Where("space.yaml", 4, 16), "links[0].direction", "did you mean 'primary'?")
    raising(kind([first, Problem("no tasks", Where("pair.yaml"))]))
    assert run("list", "gates") == (
        status,
        "",
        "space.yaml:4:16: links[0].direction: unknown role 'primery'\n  fix: did you mean 'primary'?\npair.yaml: no tasks\n",
    )


def test_debug_shows_the_traceback_first(raising: Callable[[BaseException], None]) -> None:
    raising(errors.RunError("the loss is not finite"))
    for arguments in (["--debug", "list", "gates"], ["list", "gates", "--debug"]):
        status, out, err = run(*arguments)
        assert (status, out) == (1, "")
        assert err.startswith("Traceback (most recent call last):\n")
        assert err.endswith("RunError: the loss is not finite\nthe loss is not finite\n")


def test_an_unexpected_error_is_one_line(raising: Callable[[BaseException], None]) -> None:
    raising(ZeroDivisionError("division\nby zero"))
    assert run("list", "gates") == (
        1,
        "",
        "graphnas: internal error: ZeroDivisionError: division by zero; run with --debug to see where\n",
    )


def test_a_file_that_the_system_refuses_is_named(raising: Callable[[BaseException], None]) -> None:
    raising(PermissionError(13, "Permission denied", "runs/demo"))
    assert run("list", "gates") == (1, "", "runs/demo: Permission denied\n")


def test_an_interrupt_exits_with_130(raising: Callable[[BaseException], None]) -> None:
    raising(KeyboardInterrupt())
    status, out, err = run("list", "gates")
    assert (status, out, err.strip()) == (130, "", "graphnas: interrupted")


def test_an_abort_counts_as_an_interrupt(raising: Callable[[BaseException], None]) -> None:
    raising(click.exceptions.Abort())
    assert run("list", "gates") == (130, "", "graphnas: interrupted\n")


PLUGIN = """
import graphnas.registry
from graphnas.gates.sigmoid import Sigmoid

class Twice(Sigmoid):
    "Twice nothing."

graphnas.registry.gates.register("twice", Twice)
"""


@pytest.mark.parametrize("before", [True, False])
def test_a_plugin_of_the_current_folder_registers_names(before: bool, tmp_path: Path) -> None:
    (tmp_path / "my_gates.py").write_text(PLUGIN)
    arguments = ["--plugin", "my_gates", "list", "gates"] if before else ["list", "gates", "--plugin", "my_gates"]
    done = python("-m", "graphnas", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == ["twice", "Twice", "nothing."]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no module named 'my_plugin'\n  fix: a module's name, as in `import NAME`: installed, or in the current folder"),
        ("import missing_one", "fails to import: No module named 'missing_one'\n  fix: install what it needs"),
        ("1 / 0", "fails to import: ZeroDivisionError: division by zero\n  fix: --debug shows the line of the module"),
    ],
)
def test_a_plugin_that_does_not_import(source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if source is not None:
        (tmp_path / "my_plugin.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert run("--plugin", "my_plugin", "list", "gates") == (2, "", f"--plugin my_plugin: {message}\n")
