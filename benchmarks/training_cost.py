"""What a whole training costs beside that of the single task on as many batches of the primary.

    python -m benchmarks.training_cost [--epochs 12] [--rounds 1] [--only default ...] [--json FILE]

Surface normals with 100 labels and segmentation as the auxiliary (benchmarks/rooms), with the settings of every row of
benchmarks/rooms/default.yaml. Each trains the primary alone and then its own way, in turn, from the first update to the last, with
evaluation and checkpoints; ramps, fading and cutting come at the same shares of training as in one of 66 epochs. With alternating updates
the single task gets as many batches as both halves together.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import graphnas as gn
from benchmarks import measure
from benchmarks.doom_rooms import PARTS, ROOMS
from graphnas.compare import SINGLE, Method, read_methods
from graphnas.search.loop import Loop
from graphnas.spec import SearchSpec, load_spec


def spec_of(method: Method, epochs: int) -> SearchSpec:
    """What is trained; its baseline is the single task."""
    also = [f"training.epochs={epochs}", "training.finetune=null", "baseline=single-task"]
    spec = load_spec(ROOMS / "search.yaml", kind="search", overrides=[*PARTS["default"].overrides, *method.overrides, *also])
    assert isinstance(spec, SearchSpec)
    return spec


@contextmanager
def timed(device: Any) -> Iterator[dict[str, float]]:
    """Phase -> busy seconds of its loop."""
    seconds: dict[str, float] = {}
    original = Loop.run

    def run(loop: Loop) -> bool:
        returned: list[bool] = []
        seconds[loop._phase.name] = measure.busy_seconds(lambda: returned.append(original(loop)), device)
        return returned[0]

    with mock.patch.object(Loop, "run", run):
        yield seconds


def measured(spec: SearchSpec, device: Any) -> dict[str, float]:
    """Phase -> busy seconds."""
    with tempfile.TemporaryDirectory() as folder, timed(device) as seconds:
        gn.search(spec, out=Path(folder) / "run")
    return seconds


def main() -> None:
    methods = {method.name: method for method in read_methods([], ROOMS / PARTS["default"].methods) if method.name != SINGLE}
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", nargs="+", choices=list(methods), default=["default", "aux-head", "authors"])
    options = measure.prepared(parser)
    rows = []
    print("method | single-task busy s | busy s | ratio")
    for name in options.only:
        rounds = [measured(spec_of(methods[name], options.epochs), options.device) for _ in range(options.rounds)]
        ratio = statistics.median(found["search"] / found[SINGLE] for found in rounds)
        row = {
            "method": name,
            "ratio": ratio,
            **{phase: statistics.median(found[phase] for found in rounds) for phase in (SINGLE, "search")},
        }
        rows.append(row)
        print(f"{name} | {row[SINGLE]:.1f} | {row['search']:.1f} | {ratio:.2f}", flush=True)
    measure.write(options, rows=rows)


if __name__ == "__main__":
    main()
