"""``python -m tests.families``."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.family import page, runner
from tests.family.draw import PREFIX, drawn, smallest
from tests.family.draw import network as from_draw
from tests.family.network import CLASSES, Network

RESULTS = Path("runs/families")


def main(networks: Mapping[str, Network]) -> None:
    options = _parser().parse_args()
    if options.one is not None:
        runner.child(_network(networks, options.one), options.results)
        return
    names = [name for name in networks if fnmatch.fnmatch(name, options.only)]
    if options.list or not names:
        print("\n".join(names or networks))  # noqa: T201
        sys.exit(0 if names else 2)
    _run(names, options, options.limit)
    draw = None
    if options.draw is not None:
        families, others = drawn(options.draw, listed(networks), share=options.share)
        models = {family: smallest(family) for family in families}
        _run([f"{PREFIX}{model}" for model in models.values()], options, options.draw_limit)
        found = [result for model in models.values() if (result := runner.read(options.results, f"{PREFIX}{model}")) is not None]
        draw = page.Draw(options.draw, models, len(others), options.draw_limit, found)
    if options.write is not None:
        results = [result for name in networks if (result := runner.read(options.results, name)) is not None]
        page.write(options.write, page.page(results, draw, classes=CLASSES))


def listed(networks: Mapping[str, Network]) -> list[str]:
    """The timm models of the list, those that other libraries take as encoders among them not."""
    return [name.removeprefix("timm/") for name in networks if name.startswith("timm/")]


def _run(names: list[str], options: argparse.Namespace, limit_s: float) -> None:
    command = [sys.executable, "-m", "tests.families", "--results", str(options.results), "--one"]
    runner.run_all(names, options.results, jobs=options.jobs, limit_s=limit_s, command=command, keep=options.keep)


def _network(networks: Mapping[str, Network], name: str) -> Network:
    return from_draw(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else networks[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.families", description="Whether networks come back as they were, as a table.")
    parser.add_argument("--only", default="*", metavar="GLOB", help="networks of the list whose name matches")
    parser.add_argument("--draw", type=int, metavar="SEED", help="also a third of timm's other model families, drawn at random")
    parser.add_argument("--share", type=float, default=1 / 3, help="another share of them")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table of all results there are")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of results, one file a network; finished ones are not run again"
    )
    parser.add_argument("--keep", action="store_true", help="keep results of another state of the code too")
    parser.add_argument("--limit", type=float, default=300, help="seconds of processor time for a network of the list")
    parser.add_argument("--draw-limit", type=float, default=60, help="and for one of the draw")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser
