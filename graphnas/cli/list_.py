"""``graphnas list WHAT``: the names that specs may use, and what each one is."""

from __future__ import annotations

import inspect

import click

from graphnas import registry
from graphnas.cli.options import common, json_output, one_of

REGISTRIES = {
    "operations": registry.operations,
    "link-operations": registry.link_operations,
    "gates": registry.gates,
    "penalties": registry.penalties,
    "tasks": registry.task_types,
    "layouts": registry.layouts,
    "transforms": registry.transforms,
    "balances": registry.balances,
}
PRESETS = {"networks": "network", "spaces": "search_space", "task-pairs": "task_pair"}
"""What has shipped files of its own -> their kind."""


@click.command("list", short_help="List the operations, spaces, tasks, ... that specs may name.")
@click.argument("what", callback=one_of("list", [*REGISTRIES, *PRESETS]), metavar="WHAT")
@json_output
@common
def command(what: str, as_json: bool) -> None:
    """List the names that specs may use.

    WHAT is one of operations, link-operations, gates, penalties, tasks, layouts, transforms, balances (those of plugins among them), or
    networks, spaces, task-pairs (files that come with graphnas; networks also lists registered classes).
    """
    from graphnas.cli.terminal import show, show_json, table

    rows = _registered(what) if what in REGISTRIES else _shipped(what)
    if as_json:
        show_json([{"name": name, "summary": summary} for name, summary in rows])
    else:
        show(table(what, ("name", "summary"), rows))


def _registered(what: str) -> list[tuple[str, str]]:
    entries = REGISTRIES[what]
    return [(name, _summary(entries.get(name))) for name in entries.names()]


def _shipped(what: str) -> list[tuple[str, str]]:
    from graphnas.spec.presets import preset_summary, presets  # the only users of a preset that is not loaded

    rows = [(name, preset_summary(PRESETS[what], name)) for name in presets(PRESETS[what])]
    if what == "networks":
        rows += [(name, _summary(registry.networks.get(name))) for name in registry.networks.names()]
    return rows


def _summary(value: object) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(value) or "").strip().partition("\n")[0].replace("``", "")
