"""``graphnas schema KIND``: the JSON Schema of a kind of file, for editors."""

from __future__ import annotations

import click

from graphnas.cli.options import common, one_of

KINDS = ("network", "search_space", "task_pair", "search")


@click.command("schema", short_help="Print the JSON Schema of a kind of file.")
@click.argument("kind", callback=one_of("kind", KINDS), metavar="KIND")
@common
def command(kind: str) -> None:
    """Print the JSON Schema of a kind of file: network, search_space, task_pair or search.

    An editor that knows YAML and JSON Schema completes and checks specs with it.
    """
    from graphnas.cli.terminal import show_json
    from graphnas.spec import json_schema

    show_json(json_schema(kind))
