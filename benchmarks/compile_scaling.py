"""How long it takes to compile a spec: read, checked, inferred, lowered, recorded, proven, woven; and how that grows.

    python -m benchmarks.compile_scaling [--sizes 100 1000 10000] [--rounds 5] [--json FILE]

A spec of N nodes is two networks of N / 2 small convolutions and sums, every node a tap, joined by 5 N links. Prints medians and the
growth exponent.
"""

from __future__ import annotations

import gc
import math
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import graphnas as gn
from benchmarks import measure
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
    start = time.process_time()

    def lap(name: str) -> None:
        nonlocal start
        now = time.process_time()
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
    parser = measure.arguments(__doc__, rounds=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    options = measure.prepared(parser)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        compile_once(Path(name), 100)  # warm-up: imports, caches
        for size in options.sizes:
            found = []
            for _ in range(options.rounds if size < 10000 else min(options.rounds, 3)):
                gc.collect()
                found.append(compile_once(Path(name), size))
            parts = {part: statistics.median(run[0][part] for run in found) for part in found[0][0]}
            total = statistics.median(sum(run[0].values()) for run in found)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append({"nodes": size, "links": found[0][1], "seconds": total, "parts": parts, "peak_mib": memory})
    for before, row in zip([None, *rows], rows, strict=False):
        row["growth"] = None if before is None else math.log(row["seconds"] / before["seconds"]) / math.log(row["nodes"] / before["nodes"])
    columns = list(rows[0]["parts"])
    print(" | ".join(["nodes", "links", *columns, "total s", "growth exponent", "peak MiB"]))
    for row in rows:
        growth = "-" if row["growth"] is None else f"{row['growth']:.2f}"
        seconds = [*(f"{row['parts'][part]:.3f}" for part in columns), f"{row['seconds']:.3f}"]
        print(" | ".join([str(row["nodes"]), str(row["links"]), *seconds, growth, f"{row['peak_mib']:.0f}"]))
    measure.write(options, rows=rows)


if __name__ == "__main__":
    main()
