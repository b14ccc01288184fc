"""What auxiliaries cost while training: parameters, multiply-accumulates, time and memory of a step against their number K.

    python -m benchmarks.auxiliaries [--auxiliaries 0 1 2 3 5] [--network small-resnet-fpn] [--space aux-nas] [--size 48 64] [--batch 8]
                                     [--rounds 9] [--json FILE]

Every task has the same network, and every auxiliary is joined to the primary by the links of the space. A step is one forward and one
backward pass of all tasks, the penalty, and Adam on weights and alphas (a joint update). Ratios are to the primary alone. Memory is what a
step needs at its peak above the model (activations, gradients, Adam's two moments), in a process of its own. Below the table stands the
least-squares line in K, and how far the most auxiliaries are from K times what the first one adds: its branch and its links. At inference
nothing of this is left: the primary costs what it cost.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import graphnas as gn
from benchmarks import measure
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.compiler.macs import count_macs
from graphnas.graph.types import Image
from graphnas.spec import NetworkSpec, load_spec

COLUMNS = {"parameters": "M", "macs": "GMACs", "wall_s": "s", "busy_s": "busy s", "memory_mib": "MiB"}
SCALES = {"parameters": 1e6, "macs": 1e9, "wall_s": 1.0, "busy_s": 1.0, "memory_mib": 1.0}


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


def line(ks: Sequence[int], values: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope and R^2 of the least-squares line."""
    slope, intercept = statistics.linear_regression(ks, values)
    mean = statistics.fmean(values)
    rest = sum((value - intercept - slope * k) ** 2 for k, value in zip(ks, values, strict=True))
    total = sum((value - mean) ** 2 for value in values)
    return intercept, slope, 1 - rest / total


def main() -> None:
    parser = measure.arguments(__doc__, rounds=9)
    parser.add_argument("--auxiliaries", type=int, nargs="+", default=[0, 1, 2, 3, 5])
    parser.add_argument("--network", default="small-resnet-fpn")
    parser.add_argument("--space", default="aux-nas")
    parser.add_argument("--size", type=int, nargs=2, default=[48, 64])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = measure.prepared(parser)
    if options.memory_of is not None:
        print(measure.peak_mib(stepping(supernet(options, options.memory_of), images(options)), device=options.device))
        return
    if not {0, 1} < set(options.auxiliaries):
        parser.error("--auxiliaries takes 0 and 1, what the others are compared with, and at least one more")
    report(options, measured(options))


def measured(options: argparse.Namespace) -> list[dict[str, float]]:
    image = images(options)
    nets = {str(k): supernet(options, k) for k in options.auxiliaries}
    timings = measure.in_turn({k: stepping(net, image) for k, net in nets.items()}, options.rounds, device=options.device)
    same = ["--network", options.network, "--space", options.space, "--size", *map(str, options.size), "--batch", str(options.batch)]
    return [
        {
            "auxiliaries": int(k), "links": len(net.links), "parameters": sum(parameter.numel() for parameter in net.parameters()),
            "macs": count_macs(net, {"image": image}), **timings.row(k, "0"),
            "memory_mib": measure.alone("auxiliaries", "--memory-of", k, "--device", str(options.device), *same),
        }
        for k, net in nets.items()
    ]  # fmt: skip


def report(options: argparse.Namespace, rows: list[dict[str, float]]) -> None:
    by_k = {int(row["auxiliaries"]): row for row in rows}
    single, first, most = by_k[0], by_k[1], by_k[max(by_k)]
    height, width = options.size
    print(f"{options.network} at {height}x{width}, batch {options.batch}, {options.space}; in brackets the ratio to K = 0")
    print(" | ".join(["K", "links", *(f"{name} ({unit})" for name, unit in COLUMNS.items())]))
    for k, row in by_k.items():
        cells = [f"{row[name] / SCALES[name]:.4g} ({row[name] / single[name]:.2f})" for name in COLUMNS]
        print(" | ".join([str(k), str(row["links"]), *cells]))
    fits: dict[str, dict[str, float]] = {}
    for name, unit in COLUMNS.items():
        _, slope, r2 = line(list(by_k), [row[name] for row in rows])
        expected = single[name] + max(by_k) * (first[name] - single[name])
        fits[name] = {"share_of_single_task": slope / single[name], "r2": r2, "most_to_expected": most[name] / expected}
        print(
            f"{name}: {slope / SCALES[name]:.4g} {unit} an auxiliary, {slope / single[name]:.2f} of the single task, R^2 {r2:.5f};"
            f" K = {max(by_k)} is {most[name] / expected:.3f} of the primary and {max(by_k)} times what the first auxiliary adds"
        )
    measure.write(options, rows=rows, fits=fits)


if __name__ == "__main__":
    main()
