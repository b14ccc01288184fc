"""``graphnas``: the group of commands, and the one place where an error becomes printed problems and an exit status.

Exit status: 0 done, 1 failed while running, 2 the user's input is wrong, 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

import click

from graphnas import __version__
from graphnas.cli.options import Settings, common
from graphnas.errors import GraphNASError, Problem, Where, suggest

COMMANDS = {
    "compile": "compile_",
    "search": "search",
    "compare": "compare",
    "report": "report",
    "attribute": "attribute",
    "prune": "prune",
    "evaluate": "evaluate",
    "predict": "predict",
    "export": "export",
    "taps": "taps",
    "data": "data",
    "schema": "schema",
    "list": "list_",
}
"""Name of a command -> the file that holds it as ``command``."""

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Cli(click.Group):
    """The group: loads a command when it is asked for, and ends the process with the exit status of what happened."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"graphnas.cli.{COMMANDS[cmd_name]}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise GraphNASError(f"unknown command {args[0]!r}", where=Where("graphnas"), fix=suggest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the process: ``standalone_mode`` is what this method does, in our words."""
        settings = Settings()
        try:
            status = super().main(
                args, "graphnas", complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, obj=settings, **extra
            )
        except Exception as error:  # noqa: BLE001  # the last place: what nothing else understood must not end in a traceback
            status = _report(error, settings)
        sys.exit(status if isinstance(status, int) else 0)


def _report(error: Exception, settings: Settings) -> int:
    """Print what went wrong on stderr; the exit status."""
    if settings.debug and not isinstance(error, (click.exceptions.Abort, click.UsageError)):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    match error:
        case GraphNASError():
            _print(error.problems)
            return error.exit_status
        case click.exceptions.Abort():
            click.echo("graphnas: interrupted", err=True)
            return INTERRUPTED
        case click.ClickException():
            _print([_usage(error)])
            return error.exit_code
        case BrokenPipeError():
            sys.stdout = None  # the reader is gone: the interpreter must not flush into it once more
            return 1
        case OSError() if error.filename is not None:
            _print([Problem(error.strerror or type(error).__name__, Where(str(error.filename)))])
            return 1
        case _:
            text = " ".join(str(error).split()) or "no message"
            click.echo(f"graphnas: internal error: {type(error).__name__}: {text}; run with --debug to see where", err=True)
            return 1


def _usage(error: click.ClickException) -> Problem:
    """A message of click's in the one form of all messages."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = Where(context.command_path if context is not None else "graphnas")
    match error:
        case click.NoSuchOption():
            known = [] if context is None else [name for option in context.command.params for name in option.opts if name.startswith("--")]
            return Problem(f"unknown option {error.option_name!r}", where, fix=suggest(error.option_name, known))
        case click.MissingParameter() if error.param is not None:
            return Problem(f"{error.param.human_readable_name} is missing", where, fix=f"{where} --help")
        case _:
            message = error.format_message().rstrip(".")
            return Problem(message[:1].lower() + message[1:], where, fix=f"{where} --help")


def _print(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)


@click.command(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="graphnas", message="%(prog)s %(version)s")
@common
def cli() -> None:
    """Train a network for one task with every label you have; ship the network you already had."""


def main() -> None:
    """The entry point ``graphnas``."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    cli.main()
