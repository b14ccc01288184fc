"""A whole search from the first step to the last: links that die are cut, against the authors' search, which runs all of them to the end.

    python -m benchmarks.search_whole [--pair vit-tiny-128] [--reference DIR] [--epochs 10] [--steps 3] [--json FILE]

Both make the same number of updates; graphnas with the space aux-nas-proximal, whose gates into the primary reach exactly zero early in
training, and live cutting. The authors' side is their code where --reference names a checkout of it, else the procedure by hand. The two
take turns update by update; the ratio is of the sums. Where links die depends on the space's ramp and the alphas' learning rate (1e-2, the
authors'), hardly on the data, which are random here.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import measure
from benchmarks.measure import busy_seconds
from benchmarks.pairs import PAIRS, as_batch
from benchmarks.search_step import LABELS, authors_search, hand_search, learner_of, woven
from graphnas.search.cutting import LiveCutting
from graphnas.search.state import State
from graphnas.search.step import alternate_step


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--pair", choices=list(PAIRS), default="vit-tiny-128")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="updates an epoch")
    options = measure.prepared(parser)
    pair = PAIRS[options.pair]
    device = options.device
    theirs = hand_search(pair, device) if options.reference is None else authors_search(pair, options.reference, device)
    net = woven(pair, "aux-nas-proximal", device)
    learner, cutting, state = learner_of(net, alphas="sgd"), LiveCutting(net, patience=1), State()
    one, other = pair.batches(device)
    first, second = as_batch(one), as_batch(other)
    theirs.step(one, other, 0.0)
    alternate_step(learner, first, second, 0.0)
    rows = []
    steps = options.epochs * options.steps
    print("epoch | theirs busy s | graphnas busy s | ratio | links cut")
    for epoch in range(options.epochs):
        sums = [0.0, 0.0]
        for number in range(epoch * options.steps, (epoch + 1) * options.steps):
            progress = number / steps
            sums[0] += busy_seconds(lambda at=progress: theirs.step(one, other, at), device)
            sums[1] += busy_seconds(lambda at=progress: alternate_step(learner, first, second, at), device)
        cutting.after_epoch(state, (epoch + 1) / options.epochs)
        rows.append({"epoch": epoch + 1, "theirs_s": sums[0], "graphnas_s": sums[1], "cut": len(state.cut)})
        print(f"{epoch + 1} | {sums[0]:.2f} | {sums[1]:.2f} | {sums[1] / sums[0]:.3f} | {len(state.cut)} of {len(net.links)}", flush=True)
    whole = sum(row["graphnas_s"] for row in rows) / sum(row["theirs_s"] for row in rows)
    against = LABELS["by hand" if options.reference is None else "authors"]
    print(f"whole search: {whole:.3f} of {against}")
    measure.write(options, rows=rows, ratio=whole, against=against)


if __name__ == "__main__":
    main()
