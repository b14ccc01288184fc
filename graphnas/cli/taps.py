"""``graphnas taps MODEL``: the values of a network that links may start and end at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from graphnas.cli.options import common, json_output
from graphnas.errors import GraphNASError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphnas.compiler.models import Model
    from graphnas.compiler.tappable import Listing, Tappable
    from graphnas.spec.overrides import Override

COLUMNS = ("name", "type", "resolution", "made by", "stage")


@click.command("taps", short_help="List the values of a network that links may start and end at.")
@click.argument("model")
@click.option("--tree", is_flag=True, help="Show the tree of submodules, with the values inside and what can't be tapped.")
@click.option(
    "--size", type=click.IntRange(min=1), metavar="PIXELS", help="Height and width of images; what the network says, if left out."
)
@click.option(
    "--input",
    "inputs",
    metavar="NAME=TYPE",
    multiple=True,
    help="An input: image=3x224x224, ids=ids[16]; may be repeated.",
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="An argument of a library's network or a parameter of a spec: --set num_classes=0; may be repeated.",
)
@json_output
@common
def command(model: str, tree: bool, size: int | None, inputs: tuple[str, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """List what can be tapped in MODEL, in order of execution; no weights are fetched.

    MODEL is a network of a library (timm:resnet18, torchvision:vgg16, or plain resnet18), a registered network, or a network spec: a file,
    or the name of one that comes with graphnas. The stages are those that a spec names, or those that `taps: default` stands for.
    """
    from graphnas.cli.terminal import show_json
    from graphnas.compiler.models import open_model, read_input
    from graphnas.compiler.tappable import list_taps

    opened = open_model(model, _settings(settings), dict(read_input(text) for text in inputs), size)
    listing = list_taps(opened.module, opened.arguments, opened.spec)
    if as_json:
        show_json(_json(opened, listing))
    elif tree:
        _tree(opened, listing)
    else:
        _list(opened, listing)


def _settings(texts: Sequence[str]) -> list[Override]:
    from graphnas.spec.overrides import read_override

    read = [read_override(text) for text in texts]
    if problems := [found for found in read if isinstance(found, Problem)]:
        raise GraphNASError(problems)
    return [found for found in read if not isinstance(found, Problem)]


def _list(model: Model, listing: Listing) -> None:
    from graphnas.cli.terminal import show, table

    fit = [value for value in listing.values if value.why_not is None]
    unfit = [value for value in listing.values if value.why_not is not None]
    things: list[Any] = [_title(model), table("taps", COLUMNS, [(value.name, *_facts(value)) for value in fit])]
    if unfit:
        rows = [(value.name, value.made_by, value.why_not) for value in unfit]
        things.append(table("not as they are", ("name", "made by", "why"), rows))
    show(*things, _stages(listing))


def _tree(model: Model, listing: Listing) -> None:
    from graphnas.cli.terminal import show, table

    rows = [(f"{'  ' * depth}{value.name.rpartition('.')[2]}", *_facts(value), value.why_not or "") for depth, value in _nested(listing)]
    show(_title(model), table("submodules and values", (*COLUMNS, "not as it is"), rows), _stages(listing))


def _nested(listing: Listing) -> list[tuple[int, Tappable]]:
    """Depth and value, each submodule before what is inside it, siblings in order of execution.

    A list that is never called itself stands where the first of its parts runs.
    """
    first: dict[str, int] = {}
    for i, value in enumerate(listing.values):
        parts = value.name.split(".")
        for depth in range(len(parts)):
            first.setdefault(".".join(parts[: depth + 1]), i)
    inside: dict[str, list[Tappable]] = {}
    for value in sorted(listing.values, key=lambda value: first[value.name], reverse=True):
        inside.setdefault(value.name.rpartition(".")[0], []).append(value)
    found: list[tuple[int, Tappable]] = []
    waiting = [(0, value) for value in inside.get("", [])]
    while waiting:
        depth, value = waiting.pop()
        found.append((depth, value))
        waiting += [(depth + 1, inner) for inner in inside.get(value.name, [])]
    return found


def _facts(value: Tappable) -> tuple[str, str, str, str]:
    made_by = f"{value.made_by}()" if value.function else value.made_by
    layout = " nhwc" if value.channels_last else ""
    return (f"{value.type}{layout}" if value.type is not None else "", value.resolution or "", made_by, value.stage or "")


def _title(model: Model) -> str:
    from graphnas.compiler.calls import type_of_value

    reads = ", ".join(f"{name}: {type_of_value(value)}" for name, value in model.arguments.items())
    return f"{model.label} ({type(model.module).__name__}) reads {reads}"


def _stages(listing: Listing) -> str:
    if not listing.stages:
        return "no stages are known by default: name taps"
    counts: dict[str, int] = {}
    for value in listing.values:
        if value.stage is not None:
            counts[value.stage] = counts.get(value.stage, 0) + 1
    return "stages: " + ", ".join(f"{stage} of {count}" for stage, count in counts.items())


def _json(model: Model, listing: Listing) -> dict[str, Any]:
    from graphnas.compiler.calls import type_of_value

    return {
        "model": model.label,
        "class": type(model.module).__name__,
        "inputs": {name: str(type_of_value(value)) for name, value in model.arguments.items()},
        "taps": [
            {
                "name": value.name,
                "made_by": value.made_by,
                "function": value.function,
                "type": str(value.type),
                "layout": "nhwc" if value.channels_last else None,
                "resolution": value.resolution,
                "stage": value.stage,
            }
            for value in listing.values
            if value.why_not is None
        ],
        "not_as_they_are": [
            {"name": value.name, "made_by": value.made_by, "why": value.why_not} for value in listing.values if value.why_not is not None
        ],
        "stages": {stage: tap.model_dump(mode="json", by_alias=True, exclude_defaults=True) for stage, tap in listing.stages.items()},
    }
