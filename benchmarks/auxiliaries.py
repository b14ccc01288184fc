"""What auxiliaries cost while training: parameters, multiply-accumulates, time and memory of a step against their number K.

    python benchmarks/auxiliaries.py [--auxiliaries 0 1 2 3 5] [--network small-resnet-fpn] [--space aux-nas] [--size 48 64] [--batch 8]
                                     [--rounds 9] [--json FILE]

Every task has the same network, and every auxiliary is joined to the primary by the links of the space. A step is one forward and one
backward pass of all tasks, the penalty, and Adam on weights and alphas (a joint update); steps of the different K take turns in one
process, and medians over the rounds are printed, with ratios to the step of the primary alone. Memory is what a step needs at its peak
above the model (activations, gradients, Adam's two moments): how far the resident set of a process of its own grows (Linux). Below the
table stands the least-squares line in K. At inference nothing of this is left: the primary costs what it cost.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import graphnas as gn
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.compiler.macs import count_macs
from graphnas.graph.types import Image
from graphnas.spec import NetworkSpec, load_spec

COLUMNS = {"parameters": "M", "macs": "GMACs", "wall_s": "s", "cpu_s": "CPU s", "memory_mib": "MiB"}
SCALES = {"parameters": 1e6, "macs": 1e9, "wall_s": 1.0, "cpu_s": 1.0, "memory_mib": 1.0}


def supernet(options: argparse.Namespace, auxiliaries: int) -> gn.Supernet:
    """The primary and K auxiliaries; without auxiliaries the primary alone."""
    spec = load_spec(options.network)
    assert isinstance(spec, NetworkSpec)
    bound = spec.bind({"out_channels": 3, **({"pretrained": False} if "pretrained" in spec.parameters else {})})
    graph = infer(bound, {"image": Image(3, *options.size)})
    branches = {
        task: spec_branch(bound, graph, lower(bound, graph)) for task in ("primary", *(f"aux{k}" for k in range(1, auxiliaries + 1)))
    }
    return gn.weave(branches, primary="primary", space=gn.load_spec(options.space if auxiliaries else "single-task")).train()


def stepping(net: gn.Supernet, image: Tensor) -> Callable[[], None]:
    """One joint update of all weights and alphas."""
    optimizers = [
        torch.optim.Adam(parameters, lr=1e-4) for parameters in (list(net.weight_parameters()), list(net.alpha_parameters())) if parameters
    ]

    def step() -> None:
        loss = sum(out.square().mean() for out in net(image).values()) + gn.penalty(net, progress=0.6)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def images(options: argparse.Namespace) -> Tensor:
    return torch.rand(options.batch, 3, *options.size, generator=torch.Generator().manual_seed(0))


def peak_memory(options: argparse.Namespace, auxiliaries: int) -> float:
    """MiB by which three steps raise the resident set of this process above where it stood with the model built."""
    net = supernet(options, auxiliaries)
    step = stepping(net, images(options))
    ctypes.CDLL(None).malloc_trim(0)  # what building freed goes back, else steps would use it unseen
    clear = Path("/proc/self/clear_refs")
    clear.write_text("5")  # the peak starts anew from here
    before = _status("VmRSS")
    for _ in range(3):
        step()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def memory_of(auxiliaries: int) -> float:
    """The same in a process of its own, with the arguments of this one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", str(auxiliaries)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - this very file


def times(steps: Sequence[Callable[[], None]], rounds: int) -> list[tuple[float, float]]:
    """Median wall and CPU seconds of each step, all of them in turn in every round."""
    found: list[list[tuple[float, float]]] = [[] for _ in steps]
    for step in steps:  # warm-up
        step()
    for _ in range(rounds):
        for step, seconds in zip(steps, found, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [(statistics.median(wall for wall, _ in seconds), statistics.median(cpu for _, cpu in seconds)) for seconds in found]


def line(ks: Sequence[int], values: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope and R^2 of the least-squares line."""
    slope, intercept = statistics.linear_regression(ks, values)
    mean = statistics.fmean(values)
    rest = sum((value - intercept - slope * k) ** 2 for k, value in zip(ks, values, strict=True))
    total = sum((value - mean) ** 2 for value in values)
    return intercept, slope, 1 - rest / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auxiliaries", type=int, nargs="+", default=[0, 1, 2, 3, 5])
    parser.add_argument("--network", default="small-resnet-fpn")
    parser.add_argument("--space", default="aux-nas")
    parser.add_argument("--size", type=int, nargs=2, default=[48, 64])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of is not None:
        print(peak_memory(options, options.memory_of))
        return
    if 0 not in options.auxiliaries or len(set(options.auxiliaries)) < 3:
        parser.error("--auxiliaries takes 0, what the others are compared with, and at least two more")
    report(options, measured(options))


def measured(options: argparse.Namespace) -> list[dict[str, float]]:
    image = images(options)
    nets = {k: supernet(options, k) for k in options.auxiliaries}
    rows: list[dict[str, float]] = []
    seconds = times([stepping(net, image) for net in nets.values()], options.rounds)
    for (k, net), (wall, cpu) in zip(nets.items(), seconds, strict=True):
        rows.append(
            {
                "auxiliaries": k, "links": len(net.links), "parameters": sum(parameter.numel() for parameter in net.parameters()),
                "macs": count_macs(net, {"image": image}), "wall_s": wall, "cpu_s": cpu, "memory_mib": memory_of(k),
            }
        )  # fmt: skip
    return rows


def report(options: argparse.Namespace, rows: list[dict[str, float]]) -> None:
    single = next(row for row in rows if row["auxiliaries"] == 0)
    height, width = options.size
    print(f"{options.network} at {height}x{width}, batch {options.batch}, {options.space}, one thread; in brackets the ratio to K = 0")
    print(" | ".join(["K", "links", *(f"{name} ({unit})" for name, unit in COLUMNS.items())]))
    for row in rows:
        cells = [f"{row[name] / SCALES[name]:.4g} ({row[name] / single[name]:.2f})" for name in COLUMNS]
        print(" | ".join([str(row["auxiliaries"]), str(row["links"]), *cells]))
    fits: dict[str, dict[str, float]] = {}
    for name, unit in COLUMNS.items():
        intercept, slope, r2 = line([int(row["auxiliaries"]) for row in rows], [row[name] for row in rows])
        fits[name] = {"at_0": intercept, "per_auxiliary": slope, "share_of_single_task": slope / single[name], "r2": r2}
        print(f"{name}: {slope / SCALES[name]:.4g} {unit} an auxiliary, {slope / single[name]:.2f} of the single task, R^2 {r2:.5f}")
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if options.json:
        settings = {name: getattr(options, name) for name in ("network", "space", "size", "batch", "rounds")}
        options.json.write_text(json.dumps({"settings": settings, "rows": rows, "fits": fits}, indent=2) + "\n")


if __name__ == "__main__":
    main()
