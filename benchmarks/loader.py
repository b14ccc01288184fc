"""Whether loading keeps up with training: samples a second of the loader over those of a training step, for each kind of cache.

    python -m benchmarks.loader [--spec SEARCH.yaml] [--set FIELD=VALUE ...] [--rounds 5] [--batches 12] [--workers 0] [--json FILE]

A round loads some batches and trains on some that lie in memory already, in turn; medians over the rounds are printed. A pass over all
samples fills the cache first. A ratio of 2 means that loading takes half of the time of training where neither waits for the other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch.optim import AdamW

from benchmarks import measure
from graphnas.compiler import build
from graphnas.data import Batch, Data, Loading, open_data
from graphnas.data.cache import CacheKind
from graphnas.search.balance import Setting, WeightedSum
from graphnas.search.precision import Precision, in_memory_format, make_precision
from graphnas.search.step import Learner, joint_step
from graphnas.spec import SearchSpec, load_spec
from graphnas.tasks.base import TaskType

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "search.yaml"


def learner_of(spec: SearchSpec, data: Data, precision: Precision) -> Learner:
    net = in_memory_format(build(spec, data.input_types()).to(precision.device), spec.runtime.memory_format).train()
    tasks = {name: cast("TaskType", task) for name, task in spec.task_pair.tasks.items()}
    balancer = WeightedSum().start(Setting(spec.primary_task, tuple(tasks)))
    return Learner(net, tasks, balancer, AdamW(net.parameters(), lr=1e-6), precision)


def rate(work: Callable[[], int], device: torch.device) -> float:
    """Samples a second."""
    start = time.perf_counter()
    samples = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return samples / (time.perf_counter() - start)


def rates(spec: SearchSpec, cache: CacheKind, args: argparse.Namespace) -> dict[str, float]:
    precision = make_precision(spec.runtime.device, spec.runtime.precision)
    pair = spec.task_pair.model_copy(update={"primary": spec.primary_task})
    options: dict[str, Any] = {
        "batch_size": spec.training.batch_size,
        "auxiliary_batch_size": spec.training.auxiliary_batch_size,
        "workers": args.workers,
    }
    with tempfile.TemporaryDirectory() as folder:
        data = open_data(pair, seed=spec.seed, loading=Loading(cache, folder, pin_memory=precision.device.type == "cuda"))
        learner = learner_of(spec, data, precision)
        batches: list[Batch] = []
        epoch = 0

        def loaded(count: int, keep: bool = False) -> int:
            nonlocal epoch
            samples = 0
            while count > 0:
                for batch in islice(data.training(epoch, **options), count):
                    samples += len(batch.ids)
                    count -= 1
                    if keep:
                        batches.append(batch)
                epoch += 1
            return samples

        def trained() -> int:
            for batch in batches:
                joint_step(learner, batch, 0.0)
            return sum(len(batch.ids) for batch in batches)

        for _ in data.evaluation("training", 32, args.workers):  # fills the cache
            pass
        loaded(args.batches, keep=True)
        trained()
        loading, training = [], []
        for _ in range(args.rounds):
            loading.append(rate(lambda: loaded(args.batches), precision.device))
            training.append(rate(trained, precision.device))
        ratios = [a / b for a, b in zip(loading, training, strict=True)]
    return {
        "loader": statistics.median(loading),
        "training": statistics.median(training),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def main() -> None:
    parser = measure.arguments(__doc__, rounds=5)
    parser.add_argument("--spec", type=Path, default=QUICKSTART)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--caches", nargs="+", default=list(get_args(CacheKind)))
    args = measure.prepared(parser)
    spec = load_spec(args.spec, kind="search", overrides=[*args.overrides, f"runtime.device={args.device}"])
    assert isinstance(spec, SearchSpec)
    found = {cache: rates(spec, cache, args) for cache in args.caches}
    print(f"{'cache':8} {'loader/s':>9} {'training/s':>11} {'ratio':>6}  (least to most of {args.rounds})")
    for cache, row in found.items():
        print(f"{cache:8} {row['loader']:9.0f} {row['training']:11.0f} {row['ratio']:6.1f}  ({row['least']:.1f} to {row['most']:.1f})")
    measure.write(args, rows=[{"cache": cache, **row} for cache, row in found.items()])


if __name__ == "__main__":
    main()
