"""How long it takes to compile a spec: read, checked, inferred, lowered, recorded, proven, woven; and how that grows.

    python benchmarks/compile_scaling.py [--sizes 100 1000 10000] [--runs 5] [--json FILE]

A spec of N nodes is two networks of N / 2 small convolutions and sums, every node a tap, joined by 5 N links. Prints medians and the
growth exponent.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

import graphnas as gn
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.compiler.weave import uncollected
from graphnas.graph.types import Image
from graphnas.spec import SearchSpaceSpec, parse_spec


def network(nodes: int) -> str:
    """A chain of convolutions in which every fourth node adds the one before the last."""
    lines = ["kind: network", "inputs: {image: 'image[4, 8, 8]'}", "nodes:"]
    for i in range(nodes):
        if i % 4 == 3:
            lines.append(f"  n{i}: {{op: add, inputs: [n{i - 1}, n{i - 2}]}}")
        else:
            source = f"n{i - 1}" if i else "image"
            lines.append(f"  n{i}: {{op: conv2d, inputs: {source}, out_channels: 4, kernel_size: 1}}")
    return "\n".join([*lines, f"outputs: n{nodes - 1}", "taps: {s: 'n*'}", ""])


def space() -> SearchSpaceSpec:
    rule = {"where": {"max_gap": 4}, "operations": ["conv1x1"]}
    return parse_spec(
        {
            "kind": "search_space",
            "links": [
                {**rule, "direction": "auxiliary -> primary", "converges_to": "zero", "penalty": {"type": "l1"}},
                {**rule, "direction": "primary -> auxiliary", "converges_to": "free"},
            ],
        }
    )


def compile_once(folder: Path, nodes: int) -> tuple[dict[str, float], int]:
    """Seconds of each part, and how many links there are."""
    file = folder / f"{nodes}.yaml"
    file.write_text(network(nodes // 2))
    rules = space()
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds[name] = seconds.get(name, 0.0) + now - start
        start = now

    branches = {}
    with uncollected():  # as in ``build``
        for task in ("primary", "auxiliary"):
            spec = gn.load_spec(file)
            lap("read and check")
            graph = infer(spec, {"image": Image(4, 8, 8)})
            lap("infer")
            module = lower(spec, graph)
            lap("lower")
            branches[task] = spec_branch(spec, graph, module)
            lap("record")
        net = gn.weave(branches, primary="primary", space=rules)
        lap("prove and weave")
    return seconds, len(net.links)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        compile_once(Path(name), 100)  # warm-up: imports, caches
        for size in options.sizes:
            found = []
            for _ in range(options.runs if size < 10000 else min(options.runs, 3)):
                gc.collect()
                found.append(compile_once(Path(name), size))
            parts = {part: statistics.median(run[0][part] for run in found) for part in found[0][0]}
            total = statistics.median(sum(run[0].values()) for run in found)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append({"nodes": size, "links": found[0][1], "seconds": total, "parts": parts, "peak_mib": memory})
    columns = list(rows[0]["parts"])
    print(" | ".join(["nodes", "links", *columns, "total s", "growth exponent", "peak MiB"]))
    for before, row in zip([None, *rows], rows, strict=False):
        growth = math.log(row["seconds"] / before["seconds"]) / math.log(row["nodes"] / before["nodes"]) if before else float("nan")
        print(
            " | ".join(
                [
                    str(row["nodes"]), str(row["links"]), *(f"{row['parts'][c]:.3f}" for c in columns),
                    f"{row['seconds']:.3f}", f"{growth:.2f}" if before else "-", f"{row['peak_mib']:.0f}",
                ]
            )
        )  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
