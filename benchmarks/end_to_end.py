"""A whole search, start to end: which share of its time is spent outside of forward, backward and optimizer.

    python -m benchmarks.end_to_end [--spec SEARCH.yaml] [--steps 240] [--set FIELD=VALUE ...] [--rounds 1] [--json FILE]

Runs the search (the quickstart without its baseline, if left out) and times its parts; a part inside another counts once, as itself. Every
part falls into one of two:

- *within the epochs*: what comes again as long as training goes on. Updates, waiting for data, evaluation (its forward passes, losses and
  metrics), checkpoints, logs, and the loop itself.
- *once*: what a search does a fixed number of times, however long it trains. Opening the data, decoding every sample, compiling, opening
  the logs, the last checkpoints, pruning with its certificate, the test, the artifact.

What computes is the updates and the forward passes of evaluation; all the rest is outside. The share is of processor time of all threads
of this process (with ``runtime.workers`` above 0, theirs is not in it), which other work on the machine disturbs least; wall time stands
beside it. On CUDA, where the processor waits for the device, it is of wall time, and every part waits until the device is done. A shorter
search does within its epochs what a longer one does, but for the evaluation after its last step: 240 steps of the
quickstart have one evaluation in 60 steps, all of its 800 one in 57. What it does once weighs more, so the share of the whole is also
computed for as many steps as the spec says, from the figures that were measured.
"""

from __future__ import annotations

import gc
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import graphnas as gn
from benchmarks import measure
from benchmarks.measure import Seconds
from graphnas.data import Data
from graphnas.data.samples import Item, Samples
from graphnas.search import evaluation, log, loop, recorder, validation
from graphnas.spec import SearchSpec, load_spec

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "search.yaml"
COMPUTING = ("updates", "evaluation, forward")
OPENED, DECODED, THE_REST = "logs, opened", "decoding, a sample once", "what is left"


@dataclass(frozen=True, order=True)
class Part:
    """A part of a search.

    Args:
        within: Whether it lies within the epochs.
        name: What it does.
    """

    within: bool
    name: str

    @property
    def outside(self) -> bool:
        """Whether it is no forward, backward or optimizer."""
        return self.name not in COMPUTING


class Clock:
    """Seconds of each part, without those of the parts inside it."""

    def __init__(self, wall: Callable[[], float] = time.perf_counter, busy: Callable[[], float] = time.process_time) -> None:
        self.seconds: dict[Part, Seconds] = {}
        self._now = lambda: (wall(), busy())
        self._inside: list[tuple[float, float]] = []
        self._epochs = 0

    @contextmanager
    def part(self, name: str, *, once: bool = False) -> Iterator[None]:
        """What happens inside; ``once`` in a search, also where that is within an epoch."""
        start = self._now()
        self._inside.append((0.0, 0.0))
        try:
            yield
        finally:
            whole = tuple(end - begun for end, begun in zip(self._now(), start, strict=True))
            inner = self._inside.pop()
            part = Part(self._epochs > 0 and not once, name)
            before = self.seconds.get(part, Seconds(0.0, 0.0))
            self.seconds[part] = Seconds(before.wall + whole[0] - inner[0], before.busy + whole[1] - inner[1])
            if self._inside:
                wall, busy = self._inside[-1]
                self._inside[-1] = (wall + whole[0], busy + whole[1])

    def timed(self, name: str, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """The function, timed."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name, once=once):
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

    def epoch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed; what happens inside is within an epoch."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._epochs += 1
            try:
                with self.part(name):
                    return function(*args, **kwargs)
            finally:
                self._epochs -= 1

        return run

    def decoding(self, function: Callable[[Samples, Item], Any]) -> Callable[[Samples, Item], Any]:
        """The function, timed: the first time of a sample happens once, and again is waiting for data."""
        seen: set[tuple[int, str, str, int]] = set()

        def run(samples: Samples, item: Item) -> Any:
            place = (id(samples), item.source, item.part, item.index)
            again = place in seen
            seen.add(place)
            with self.part("decoding again" if again else DECODED, once=not again):
                return function(samples, item)

        return run


def clock_of(device: torch.device) -> Clock:
    """Processor time; on CUDA wall time, at which the device has done what it was given."""
    if device.type != "cuda":
        return Clock()

    def done() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return Clock(busy=done)


def timed_search(spec: SearchSpec, device: torch.device) -> dict[Part, Seconds]:
    """The seconds of each part of a search."""
    clock = clock_of(device)
    runs, finish = (importlib.import_module(f"graphnas.runs.{name}") for name in ("search", "finish"))
    places: list[tuple[Any, str, Callable[..., Any]]] = [
        (loop.Loop, "_epoch", clock.epoch("the loop itself", loop.Loop._epoch)),
        (loop, "_step", clock.timed("updates", loop._step)),
        (Data, "training", clock.drawn("waiting for data", Data.training)),
        (Data, "evaluation", clock.drawn("waiting for data", Data.evaluation)),
        (Samples, "_made", clock.decoding(Samples._made)),
        (evaluation, "predict", clock.timed("evaluation, forward", evaluation.predict)),
        (evaluation, "task_losses", clock.timed("evaluation, losses", evaluation.task_losses)),
        (validation, "score", clock.timed("evaluation, the loop", validation.score)),
        (loop.Loop, "_select", clock.timed("the best state, kept", loop.Loop._select)),
        (loop.Loop, "_save", clock.timed("checkpoints", loop.Loop._save)),
        (loop.Loop, "_rows", clock.timed("logs", loop.Loop._rows)),
        (log, "_event_writer", clock.timed(OPENED, log._event_writer, once=True)),
        (log.MetricsLog, "write", clock.timed("logs", log.MetricsLog.write)),
        (recorder.Recorder, "gates", clock.timed("logs", recorder.Recorder.gates)),
        (runs, "open_data", clock.timed("opening the data", runs.open_data)),
        (runs, "build", clock.timed("compiling", runs.build)),
        (finish, "prune", clock.timed("pruning, certificate", finish.prune)),
        (finish, "score", clock.timed("test, the loop", finish.score)),
        (finish, "save", clock.timed("artifact", finish.save)),
    ]
    places += [
        (evaluation._Tally, name, clock.timed("evaluation, metrics", getattr(evaluation._Tally, name)))
        for name in ("__init__", "add", "scores")
    ]
    gc.collect()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patched:
        for owner, name, function in places:
            patched.enter_context(mock.patch.object(owner, name, function))
        with clock.part(THE_REST):
            gn.search(spec, out=Path(folder) / "run")
    return clock.seconds


def medians(rounds: list[dict[Part, Seconds]]) -> dict[Part, Seconds]:
    """Of each part over the rounds."""
    found: dict[Part, Seconds] = {}
    for part in dict.fromkeys(part for seconds in rounds for part in seconds):
        values = [seconds.get(part, Seconds(0.0, 0.0)) for seconds in rounds]
        found[part] = Seconds(statistics.median(v.wall for v in values), statistics.median(v.busy for v in values))
    return found


def outside(seconds: Mapping[Part, Seconds], weight: Callable[[Part], float]) -> float:
    """The share of processor time outside of what computes, each part weighted."""
    whole = sum(weight(part) * value.busy for part, value in seconds.items())
    return sum(weight(part) * value.busy for part, value in seconds.items() if part.outside) / whole


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--spec", type=Path, default=QUICKSTART)
    parser.add_argument("--steps", type=int, default=240, help="of the search; 0 for all that the spec says")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = measure.prepared(parser)
    overrides = [*(["baseline=none"] if options.spec == QUICKSTART else []), *options.overrides, f"runtime.device={options.device}"]
    spec, full = (_loaded(options.spec, [*overrides, *more]) for more in ([f"training.steps={options.steps}"] if options.steps else [], []))
    seconds = medians([timed_search(spec, options.device) for _ in range(options.rounds)])
    assert spec.training.steps, "a spec whose length is in steps"
    longer = (full.training.steps or 0) / spec.training.steps
    shares = {
        "epoch": outside(seconds, lambda part: float(part.within)),
        "search": outside(seconds, lambda part: 1.0),
        "full": outside(seconds, lambda part: longer if part.within else 1.0),
    }
    _show(seconds, shares, spec, full)
    rows = [{"part": part.name, "within": part.within, "wall_s": s.wall, "busy_s": s.busy} for part, s in _ordered(seconds)]
    measure.write(options, rows=rows, outside=shares, steps=spec.training.steps, full_steps=full.training.steps)


def _loaded(file: Path, overrides: list[str]) -> SearchSpec:
    spec = load_spec(file, kind="search", overrides=overrides)
    assert isinstance(spec, SearchSpec)
    return spec


def _ordered(seconds: Mapping[Part, Seconds]) -> list[tuple[Part, Seconds]]:
    return sorted(seconds.items(), key=lambda pair: (not pair[0].within, -pair[1].busy))


def _show(seconds: Mapping[Part, Seconds], shares: Mapping[str, float], spec: SearchSpec, full: SearchSpec) -> None:
    for within, title in ((True, "within the epochs"), (False, "once")):
        found = [(part, value) for part, value in _ordered(seconds) if part.within == within]
        whole = Seconds(sum(value.wall for _, value in found), sum(value.busy for _, value in found))
        print(f"{title:40} {'processor s':>12} {'share':>7} {'wall s':>8}")
        for part, value in found:
            print(f"  {part.name:38} {value.busy:12.2f} {value.busy / whole.busy:7.1%} {value.wall:8.2f}")
        print(f"  {'in all':38} {whole.busy:12.2f} {'':7} {whole.wall:8.2f}")
    print("\noutside of forward, backward and optimizer:")
    print(f"  {'an epoch':38} {shares['epoch']:.1%}")
    print(f"  {f'the whole search of {spec.training.steps} steps':38} {shares['search']:.1%}")
    if full.training.steps != spec.training.steps:
        print(f"  {f'one of {full.training.steps} steps, computed from it':38} {shares['full']:.1%}")


if __name__ == "__main__":
    main()
