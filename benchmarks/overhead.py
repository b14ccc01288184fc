"""What the recorded graph costs over the network that it was recorded from: forward in eval mode, and a training step.

    python -m benchmarks.overhead [--rounds 8] [--batch 2] [--only resnet18 ...] [--json FILE]

The graph is that of a branch alone, with taps at the ends of its stages, and at the default ones: every block of every stage. Graph and
original share their weights and run in turn in one process, with one thread; the order of the two changes from run to run. Prints medians
of processor time (on CUDA between two events), the median of the paired ratios, and as a control the same of the original against itself:
differences below the control's distance from 1 mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

import graphnas as gn
from benchmarks import measure

SIZE = 128  # pixels
NETWORKS: dict[str, dict[str, Any]] = {  # the ends of stages
    "resnet18": {f"s{i}": f"layer{i}" for i in (1, 2, 3, 4)},
    "vit_tiny_patch16_224": {f"s{i}": f"blocks.{3 * i - 1}" for i in (1, 2, 3, 4)},
    "convnext_atto": {f"s{i}": f"stages.{i}" for i in range(4)},
    "mobilenetv3_small_050": {f"s{i}": f"blocks.{i}" for i in range(6)},
}
OPTIONS: dict[str, dict[str, Any]] = {"vit_tiny_patch16_224": {"img_size": SIZE}}


def forward(network: nn.Module, image: Tensor) -> Callable[[], None]:
    network.eval()

    def run() -> None:
        with torch.no_grad():
            network(image)

    return run


def step(network: nn.Module, image: Tensor) -> Callable[[], None]:
    """Forward in train mode, loss, backward, update."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)

    def run() -> None:
        returned = network(image)
        prediction: Tensor = returned["p"] if isinstance(returned, dict) else returned
        prediction.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def compared(first: Callable[[], None], second: Callable[[], None], rounds: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds of both, and the median of second / first over the rounds."""
    timings = measure.in_turn({"first": first, "second": second}, rounds, warm_up=3, device=device)
    busy = {name: 1000 * timings.seconds(name).busy for name in ("first", "second")}
    return {"first_ms": busy["first"], "second_ms": busy["second"], "ratio": timings.ratio("second", "first")}


def measured(model: str, taps: Mapping[str, Any] | None, *, batch: int, runs: int, device: torch.device) -> dict[str, Any]:
    torch.manual_seed(0)
    image = torch.rand(batch, 3, SIZE, SIZE)
    original = timm.create_model(model, num_classes=10, **OPTIONS.get(model, {}))
    branch = gn.Branch.from_module(original, taps=taps, example=image)
    graph = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task")).to(device)
    original, image = original.to(device), image.to(device)
    row: dict[str, Any] = {"taps": len(branch.taps), "nodes": len(graph.graph.nodes)}
    for name, made in (("eval forward", forward), ("train step", step)):
        found = compared(made(original, image), made(graph, image), runs, device)
        control = compared(made(original, image), made(original, image), runs, device)
        row[name] = {"eager_ms": found["first_ms"], "graph_ms": found["second_ms"], "ratio": found["ratio"], "control": control["ratio"]}
    return row


def main() -> None:
    parser = measure.arguments(__doc__, rounds=8)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    options = measure.prepared(parser)
    rows = []
    print("network | taps at | taps | nodes | what | eager ms | graph ms | ratio | control")
    for model in options.only:
        for where, taps in (("stage ends", NETWORKS[model]), ("every block", None)):
            row = {
                "network": model,
                "taps_at": where,
                **measured(model, taps, batch=options.batch, runs=options.rounds, device=options.device),
            }
            rows.append(row)
            for what in ("eval forward", "train step"):
                found = row[what]
                print(
                    f"{model} | {where} | {row['taps']} | {row['nodes']} | {what} | {found['eager_ms']:.2f} | {found['graph_ms']:.2f}"
                    f" | {found['ratio']:.3f} | {found['control']:.3f}",
                    flush=True,
                )
    measure.write(options, rows=rows)


if __name__ == "__main__":
    main()
