"""What inference costs after the search: the artifact against the untouched network, and against the supernet with its gates at zero.

    python -m benchmarks.inference [--pairs vit-tiny-128 ...] [--rounds 9] [--json FILE]

The artifact is pruned, saved and loaded; the network is timm's encoder and the head, called by hand; the supernet by hand multiplies what
arrives at the primary by zero, and so still runs the auxiliary, as the authors' code does. One image batch, eval mode, no gradients; memory
is the peak above the model, each in a process of its own; multiply-accumulates are torch's count. The difference is the largest one to the
untouched network's prediction: 0 only if every bit is equal.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

import graphnas as gn
from benchmarks import measure
from benchmarks.pairs import PAIRS, Pair
from graphnas.compiler.macs import count_macs
from graphnas.spec import SearchSpaceSpec


def artifact(pair: Pair) -> nn.Module:
    """Of a supernet whose links do something; those into the primary are cut."""
    space = gn.load_spec("aux-nas")
    assert isinstance(space, SearchSpaceSpec)
    net = pair.supernet(space)
    with torch.no_grad():
        for operations in net.link_operations.values():
            for parameter in operations["conv1x1"].parameters():
                parameter.normal_(std=0.02)
    with tempfile.TemporaryDirectory() as folder:
        gn.save(gn.prune(net, force=True), Path(folder) / "artifact")
        return gn.load(Path(folder) / "artifact").eval()


class Closed(nn.Module):
    """The primary's prediction of a supernet whose gates into the primary are zero."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.net = pair.by_hand()
        self.net.closed = True

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)[0]


MADE: Mapping[str, Callable[[Pair], nn.Module]] = {
    "untouched network": lambda pair: pair.towers()["normals"],
    "artifact": artifact,
    "supernet, gates at zero": Closed,
}


def predicting(module: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    module.eval()

    def run() -> Tensor:
        with torch.no_grad():
            return module(image)

    return run


def main() -> None:
    parser = measure.arguments(__doc__, rounds=9)
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = measure.prepared(parser)
    image = {name: PAIRS[name].batches()[0][0].to(options.device) for name in options.pairs}
    if options.memory_of is not None:
        [name] = options.pairs
        print(measure.peak_mib(predicting(MADE[options.memory_of](PAIRS[name]).to(options.device), image[name]), device=options.device))
        return
    rows = []
    print("pair | what | wall ms | busy ms | ratio | MiB | parameters | MACs | difference")
    for name in options.pairs:
        modules = {what: make(PAIRS[name]).to(options.device) for what, make in MADE.items()}
        works = {what: predicting(module, image[name]) for what, module in modules.items()}
        wanted, timings = works["untouched network"](), measure.in_turn(works, options.rounds, device=options.device)
        for what, module in modules.items():
            row = {
                "pair": name, "what": what, **timings.row(what, "untouched network"),
                "memory_mib": measure.alone("inference", "--pairs", name, "--memory-of", what, "--device", str(options.device)),
                "parameters": sum(parameter.numel() for parameter in module.parameters()),
                "macs": count_macs(module, {"image": image[name]}),
                "difference": float((works[what]() - wanted).abs().max()),
            }  # fmt: skip
            rows.append(row)
            figures = [1000 * row["wall_s"], 1000 * row["busy_s"], row["ratio"], row["memory_mib"]]
            shown = [*(f"{value:.3g}" for value in figures), str(row["parameters"]), str(row["macs"]), f"{row['difference']:.1e}"]
            print(" | ".join([name, what, *shown]), flush=True)
    measure.write(options, rows=rows)


if __name__ == "__main__":
    main()
