"""One step of a search, alphas and then weights: graphnas against the procedure written by hand, and against the authors' code.

    python -m benchmarks.search_step [--pairs vit-tiny-128 ...] [--reference DIR] [--rounds 3] [--no-memory] [--json FILE]

Two equal branches (surface normals, 11 classes) with the links of Aux-NAS. The procedure by hand (benchmarks/reference/) is the paper's in
plain PyTorch; with a checkout of github.com/ethanygao/Aux-NAS as --reference (needs einops) the authors' own code takes its place on the
vision transformers, which is all it has. All descend the same losses by Adam, from random weights. graphnas runs with what it offers
for such networks: ``runtime: {memory_format: channels_last}`` for convolutional ones, which the table states. Memory is the peak above the
model, each in a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

import graphnas as gn
from benchmarks import measure
from benchmarks.pairs import CHANNELS, PAIRS, TASKS, WEIGHTS, Pair, as_batch
from benchmarks.reference.authors import AuthorsSearch
from benchmarks.reference.losses import both
from benchmarks.reference.search import Search
from graphnas.prune import run_without
from graphnas.search.balance import Setting, WeightedSum
from graphnas.search.optimizers import build_optimizer
from graphnas.search.parts import Parts
from graphnas.search.precision import Precision, in_memory_format
from graphnas.search.step import Learner, alternate_step, joint_step
from graphnas.spec import SearchSpaceSpec
from graphnas.spec.optimizer import Optimizer

PROGRESS = 0.6  # the penalty is on
Step = Callable[[], object]


def authors_search(pair: Pair, checkout: Path, device: torch.device) -> AuthorsSearch:
    return AuthorsSearch(checkout, pair.encoder, pair.head["channels"], pair.widths[0], CHANNELS["segmentation"], device)


def hand_search(pair: Pair, device: torch.device) -> Search:
    net = pair.by_hand().to(device)
    return Search(net, both, torch.optim.Adam(net.weights(), lr=1e-4), torch.optim.Adam(net.alphas(), lr=1e-2))


def theirs(pair: Pair, search: AuthorsSearch | Search, device: torch.device) -> Step:
    first, second = pair.batches(device)
    return lambda: search.step(first, second, PROGRESS)


def learner_of(net: gn.Supernet, alphas: str = "adam", *, low_memory: bool = False) -> Learner:
    """What ``graphnas search`` trains with its defaults, but for the settings of the others."""
    wanted, device = {id(alpha) for alpha in net.alpha_parameters()}, device_of(net)
    named = [(name, parameter) for name, parameter in net.named_parameters() if id(parameter) in wanted]
    return Learner(
        network=net, tasks=TASKS, balance=WeightedSum.model_validate({"weights": WEIGHTS}).start(Setting("normals", tuple(TASKS))),
        weights=build_optimizer(Optimizer(type="adam", lr=1e-4), net.named_weight_parameters()),
        alphas=build_optimizer(Optimizer(type=alphas, lr=1e-2), named),
        precision=Precision(device), penalty=net.penalty, after_alpha_step=net.after_alpha_step,
        parts=Parts(net, "exact", device, low_memory=low_memory),
    )  # fmt: skip


def device_of(net: gn.Supernet) -> torch.device:
    return next(net.parameters()).device


def woven(pair: Pair, space: str, device: torch.device) -> gn.Supernet:
    loaded = gn.load_spec(space)
    assert isinstance(loaded, SearchSpaceSpec)
    return in_memory_format(pair.supernet(loaded).to(device), pair.memory_format)


def alternating(pair: Pair, net: gn.Supernet, *, low_memory: bool = False) -> Step:
    learner = learner_of(net, low_memory=low_memory)
    first, second = (as_batch(drawn) for drawn in pair.batches(device_of(net)))
    return lambda: alternate_step(learner, first, second, PROGRESS)


def exact(pair: Pair, device: torch.device) -> Step:
    return alternating(pair, woven(pair, "aux-nas", device))


def low_memory(pair: Pair, device: torch.device) -> Step:
    return alternating(pair, woven(pair, "aux-nas", device), low_memory=True)


def cut(pair: Pair, device: torch.device) -> Step:
    """The links into the primary are at zero, and cut, as they are some epochs later."""
    net = woven(pair, "aux-nas-proximal", device)
    into_primary = [link.id for link in net.links if link.destination.task == net.primary]
    with torch.no_grad():
        for link in into_primary:
            net.alphas[link].zero_()
    run_without(net, into_primary)
    return alternating(pair, net)


def joint(pair: Pair, device: torch.device) -> Step:
    learner = learner_of(woven(pair, "aux-nas", device))
    batch = as_batch(pair.batches(device)[0])
    return lambda: joint_step(learner, batch, PROGRESS)


OURS = {"exact": exact, "low memory": low_memory, "cut": cut, "joint": joint}
MEASURED = ("authors", "by hand", "exact", "low memory")
"""Whose memory is measured, each in a process of its own."""
LABELS = {
    "authors": "the authors' code", "by hand": "by hand", "exact": "graphnas", "low memory": "graphnas, memory: low",
    "cut": "graphnas, a2p links at zero and cut",
    "joint": "graphnas, joint step",
}  # fmt: skip


def step_of(name: str, pair: Pair, options: argparse.Namespace) -> Step:
    device: torch.device = options.device
    if name == "authors":
        return theirs(pair, authors_search(pair, options.reference, device), device)
    return theirs(pair, hand_search(pair, device), device) if name == "by hand" else OURS[name](pair, device)


def names_for(pair: Pair, options: argparse.Namespace) -> list[str]:
    return ["authors" if options.reference is not None and "img_size" in pair.encoder else "by hand", *OURS]


def main() -> None:
    parser = measure.arguments(__doc__, rounds=3)
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--reference", type=Path, help="a checkout of the authors' repository")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = measure.prepared(parser)
    if options.memory_of is not None:
        print(measure.peak_mib(step_of(options.memory_of, PAIRS[options.pairs[0]], options), runs=2, device=options.device))
        return
    rows = []
    print("pair | what | memory format | wall s | busy s | ratio | MiB | ratio")
    for name in options.pairs:
        pair = PAIRS[name]
        names = names_for(pair, options)
        works = {what: step_of(what, pair, options) for what in names}
        timings = measure.in_turn(works, options.rounds, warm_up=1, device=options.device)
        same = ["--device", str(options.device), *([] if options.reference is None else ["--reference", str(options.reference)])]
        memory = {} if options.no_memory else {
            what: measure.alone("search_step", "--memory-of", what, "--pairs", name, *same) for what in names if what in MEASURED
        }  # fmt: skip
        for what in names:
            memory_format = pair.memory_format if what in OURS else "contiguous"
            row = {"pair": name, "what": LABELS[what], "memory_format": memory_format, "against": LABELS[names[0]]}
            row |= timings.row(what, names[0])
            if what in memory:
                row |= {"memory_mib": memory[what], "memory_ratio": memory[what] / memory[names[0]]}
            rows.append(row)
            shown = [row["wall_s"], row["busy_s"], row["ratio"], row.get("memory_mib", float("nan")), row.get("memory_ratio", float("nan"))]
            print(" | ".join([name, LABELS[what], memory_format, *(f"{value:.3g}" for value in shown)]), flush=True)
    measure.write(options, rows=rows)


if __name__ == "__main__":
    main()
