"""Options that several commands have, and what they set."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from graphnas.errors import GraphNASError, Where, suggest
from graphnas.size_limits import MAX_NODES, limits

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """What the options of every command set, for all of one call."""

    debug: bool = False
    plugins: list[str] = field(default_factory=list[str])


def _debug(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Settings).debug = True
        logging.getLogger("graphnas").setLevel(logging.DEBUG)


def _plugins(ctx: click.Context, option: click.Parameter, modules: tuple[str, ...]) -> None:
    for module in modules:
        import_plugin(module)
        ctx.ensure_object(Settings).plugins.append(module)


def _max_nodes(ctx: click.Context, option: click.Parameter, most: int | None) -> None:
    if most is not None:
        ctx.with_resource(limits(max_nodes=most))


def import_plugin(module: str) -> None:
    """Import a module that registers operations and the like; the current folder counts as one that holds modules.

    Raises:
        GraphNASError: There is no such module, or it fails.
    """
    where = Where(f"--plugin {module}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise GraphNASError(f"fails to import: {error}", where=where, fix="install what it needs") from error
        raise GraphNASError(
            f"no module named {error.name!r}", where=where, fix="a module's name, as in `import NAME`: installed, or in the current folder"
        ) from None
    except GraphNASError:
        raise
    except Exception as error:
        raise GraphNASError(
            f"fails to import: {type(error).__name__}: {error}", where=where, fix="--debug shows the line of the module"
        ) from error


def common(function: F) -> F:
    """``--plugin``, ``--debug`` and ``--max-nodes``, which may stand before the command's name or after it."""
    for decorate in (
        click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help="Show tracebacks and what is done."),
        click.option(
            "--plugin",
            metavar="MODULE",
            multiple=True,
            expose_value=False,
            callback=_plugins,
            help="Import a module that registers operations, layouts, ...; may be repeated.",
        ),
        click.option(
            "--max-nodes",
            metavar="N",
            type=click.IntRange(min=1),
            expose_value=False,
            is_eager=True,
            callback=_max_nodes,
            help=f"Let a network have so many nodes, all repetitions counted.  [default: {MAX_NODES}]",
        ),
    ):
        function = decorate(function)
    return function


def one_of(what: str, known: Iterable[str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """The callback of an argument or option that is one of some names: refuses others, with the nearest one for a typo.

    Args:
        what: What the names are called in messages.
        known: The names.
    """
    names = tuple(known)

    def check(ctx: click.Context, argument: click.Parameter, value: str | None) -> str | None:
        if value is not None and value not in names:
            raise GraphNASError(f"unknown {what} {value!r}", where=Where(ctx.command_path), fix=suggest(value, names))
        return value

    return check


confidence_option = click.option("--confidence", type=float, metavar="P", help="Of the intervals  [default: 0.95]")
jobs_option = click.option("--jobs", type=int, metavar="N", help="Processes at a time  [default: one a core; one on a GPU]")
json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON object that a program may read.")
overrides = click.option(
    "--set", "overrides", metavar="FIELD=VALUE", multiple=True, help="Override a field: --set training.epochs=3; may be repeated."
)
