"""A whole search, start to end: which share of its time is spent outside of forward, backward and optimizer.

    python -m benchmarks.end_to_end [--spec SEARCH.yaml] [--set FIELD=VALUE ...] [--json FILE]

Runs the search (the quickstart without its baseline, if left out) and times the parts of it: the updates of weights and alphas, the forward
passes of evaluation, waiting for data, metrics, checkpoints, pruning with its certificate and the artifact, and what is left. A part inside
another counts once, as itself.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import graphnas as gn
from benchmarks import measure
from graphnas.data import Data
from graphnas.search import checkpoint, evaluation, loop, validation
from graphnas.spec import SearchSpec, load_spec

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "search.yaml"
COMPUTING = ("updates", "evaluation, forward")


class Clock:
    """Seconds of each part, without those of the parts inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inside.pop()
            if self._inside:
                self._inside[-1] += whole

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return run

    def drawn(self, name: str, function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """What the function yields, timed while it is waited for."""

        def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
            items = iter(function(*args, **kwargs))
            while True:
                with self.part(name):
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item

        return run


def timed_search(spec: SearchSpec) -> dict[str, float]:
    """Part -> seconds."""
    clock, runs = Clock(), importlib.import_module("graphnas.runs.search")  # the name in the package is the function
    places = [
        (loop, "_step", clock.timed("updates", loop._step)),
        (Data, "training", clock.drawn("waiting for data", Data.training)),
        (Data, "evaluation", clock.drawn("waiting for data", Data.evaluation)),
        (evaluation, "predict", clock.timed("evaluation, forward", evaluation.predict)),
        (validation, "score", clock.timed("evaluation, losses and metrics", validation.score)),
        (checkpoint, "save", clock.timed("checkpoints", checkpoint.save)),
        (runs, "finish", clock.timed("pruning, certificate, test, artifact", runs.finish)),
    ]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patched:
        for owner, name, function in places:
            patched.enter_context(mock.patch.object(owner, name, function))
        with clock.part("compiling, and what is left"):
            gn.search(spec, out=Path(folder) / "run")
    return clock.seconds


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--spec", type=Path, default=QUICKSTART)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = measure.prepared(parser)
    overrides = [*(["baseline=none"] if options.spec == QUICKSTART else []), *options.overrides]
    spec = load_spec(options.spec, kind="search", overrides=overrides)
    assert isinstance(spec, SearchSpec)
    seconds = timed_search(spec)
    whole = sum(seconds.values())
    outside = 1 - sum(seconds.get(part, 0.0) for part in COMPUTING) / whole
    for part, value in sorted(seconds.items(), key=lambda pair: -pair[1]):
        print(f"{part:40} {value:8.2f} s  {value / whole:6.1%}")
    print(f"{'in all':40} {whole:8.2f} s; outside of forward, backward and optimizer {outside:.1%}")
    measure.write(options, seconds=seconds, whole=whole, outside=outside)


if __name__ == "__main__":
    main()
