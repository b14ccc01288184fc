"""All benchmarks in turn, and docs/performance.md of what they write.

    python -m benchmarks.page [--reference DIR] [--only search_step ...] [--results runs/benchmarks] [--write docs/performance.md]

Every benchmark runs in a process of its own and leaves a JSON file in the results' folder. The page is made of the files that are there;
--only runs some of them anew, and without any name none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import table

ROOT = Path(__file__).resolve().parents[1]
Figures = Mapping[str, Any]


def search_step(figures: Figures) -> str:
    columns = ["pair", "what", "memory format", "against", "wall s", "processor s", "time", "MiB", "memory"]
    rows = [
        [
            row["pair"], row["what"], row.get("memory_format", "contiguous"), row["against"],
            f"{row['wall_s']:.2f}", f"{row['busy_s']:.2f}", f"**{row['ratio']:.2f}**",
            f"{row['memory_mib']:.0f}" if "memory_mib" in row else "", f"**{row['memory_ratio']:.2f}**" if "memory_ratio" in row else "",
        ]
        for row in figures["rows"]
    ]  # fmt: skip
    return table(columns, rows)


def search_whole(figures: Figures) -> str:
    rows: list[list[str]] = []
    for row in figures["rows"]:
        theirs, ours = row["theirs_s"], row["graphnas_s"]
        rows.append([str(row["epoch"]), str(row["cut"]), f"{theirs:.1f}", f"{ours:.1f}", f"{ours / theirs:.2f}"])
    shown = table(["epoch", "links cut at its end", "theirs, processor s", "graphnas, processor s", "ratio"], rows)
    return f"{shown}\n\nThe whole search: **{figures['ratio']:.2f}** of {figures['against']}."


def training_cost(figures: Figures) -> str:
    rows = [[row["method"], f"{row['single-task']:.1f}", f"{row['search']:.1f}", f"**{row['ratio']:.2f}**"] for row in figures["rows"]]
    return table(["method", "the single task, processor s", "processor s", "ratio"], rows)


def inference(figures: Figures) -> str:
    columns = ["pair", "what", "processor ms", "time", "MiB", "parameters", "MACs", "difference"]
    rows = [
        [
            row["pair"], row["what"], f"{1000 * row['busy_s']:.1f}", f"**{row['ratio']:.2f}**", f"{row['memory_mib']:.0f}",
            f"{row['parameters']:,}", f"{row['macs']:,}", "0" if row["difference"] == 0 else f"{row['difference']:.0e}",
        ]
        for row in figures["rows"]
    ]  # fmt: skip
    return table(columns, rows)


def overhead(figures: Figures) -> str:
    columns = ["network", "taps at", "taps", "what", "eager ms", "graph ms", "ratio", "control"]
    rows: list[list[str]] = []
    for row in figures["rows"]:
        for what in ("eval forward", "train step"):
            found = row[what]
            measured = [f"{found['eager_ms']:.2f}", f"{found['graph_ms']:.2f}", f"**{found['ratio']:.3f}**", f"{found['control']:.3f}"]
            rows.append([row["network"], row["taps_at"], str(row["taps"]), what, *measured])
    return table(columns, rows)


def auxiliaries(figures: Figures) -> str:
    single = next(row for row in figures["rows"] if row["auxiliaries"] == 0)
    columns = {"parameters": "parameters", "macs": "MACs", "busy_s": "time of a step", "memory_mib": "memory"}
    rows = [
        [str(row["auxiliaries"]), str(row["links"]), *(f"{row[name] / single[name]:.2f}" for name in columns)] for row in figures["rows"]
    ]
    fit = figures["fits"]["busy_s"]
    most = max(row["auxiliaries"] for row in figures["rows"])
    said = f"R² of the line in K: {fit['r2']:.4f} (time). K = {most}: {fit['most_to_expected']:.3f} of {most} times what the first adds."
    return f"{table(['K', 'links', *columns.values()], rows)}\n\n{said}"


def compile_scaling(figures: Figures) -> str:
    parts = list(figures["rows"][0]["parts"])
    rows: list[list[str]] = []
    for row in figures["rows"]:
        growth = "" if row["growth"] is None else f"{row['growth']:.2f}"
        seconds = [*(f"{row['parts'][part]:.2f}" for part in parts), f"**{row['seconds']:.2f}**"]
        rows.append([f"{row['nodes']:,}", f"{row['links']:,}", *seconds, growth, f"{row['peak_mib']:.0f}"])
    return table(["nodes", "links", *parts, "seconds in all", "exponent", "peak MiB"], rows)


def end_to_end(figures: Figures) -> str:
    whole = sum(row["busy_s"] for row in figures["rows"])
    rows = [
        [
            "within the epochs" if row["within"] else "once", row["part"],
            f"{row['busy_s']:.2f}", f"{row['busy_s'] / whole:.1%}", f"{row['wall_s']:.2f}",
        ]
        for row in figures["rows"]
    ]  # fmt: skip
    outside = figures["outside"]
    said = (
        f"Outside of forward, backward and optimizer: **{outside['epoch']:.1%}** of an epoch; {outside['search']:.1%} of the whole search"
        f" of {figures['steps']} steps, {outside['full']:.1%} of one of {figures['full_steps']}, computed from it."
    )
    return f"{table(['when', 'part', 'processor s', 'share', 'wall s'], rows)}\n\n{said}"


def loader(figures: Figures) -> str:
    rows: list[list[str]] = []
    for row in figures["rows"]:
        spread = f"{row['least']:.1f} to {row['most']:.1f}"
        rows.append([row["cache"], f"{row['loader']:.0f}", f"{row['training']:.0f}", f"**{row['ratio']:.1f}**", spread])
    return table(["cache", "loader, samples/s", "training, samples/s", "ratio", "rounds"], rows)


SECTIONS: Mapping[str, tuple[str, Callable[[Figures], str]]] = {
    "search_step": ("A step of a search", search_step),
    "search_whole": ("A whole search, links cut as they die", search_whole),
    "training_cost": ("A whole training against the single task's", training_cost),
    "inference": ("Inference", inference),
    "overhead": ("A recorded graph against the network that it was recorded from", overhead),
    "auxiliaries": ("Several auxiliaries", auxiliaries),
    "end_to_end": ("Where the time of a whole search goes", end_to_end),
    "loader": ("Loading against training", loader),
    "compile_scaling": ("Compiling", compile_scaling),
}
WITH_REFERENCE = ("search_step", "search_whole")

HEAD = """# Performance

This page is written by `make benchmarks` from the figures that its parts leave in `runs/benchmarks/`; nothing on it is typed. Ratios
count, not seconds: what is compared runs in turn in one process, medians are taken over the rounds, and differences under 3 % mean nothing.
Memory is the peak above the model, in a process of its own. What each part measures, and how, stands at the top of its file;
what the switches do that some figures are about, in [training.md](training.md).
"""


def page(results: Path) -> str:
    """The page of all results that are there."""
    parts = [HEAD]
    for name, (title, shown) in SECTIONS.items():
        file = results / f"{name}.json"
        if file.exists():
            figures = json.loads(file.read_text(encoding="utf-8"))
            machine = figures["machine"]
            on = (
                f"{machine['device']}, {machine['cores']} cores, {machine['threads']} thread(s), torch {machine['torch']}, Python"
                f" {machine['python']}, {machine['date']}"
            )
            parts.append(f"## {title}\n\n`python -m benchmarks.{name}` ({on})\n\n{shown(figures)}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="a checkout of the authors' repository")
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--write", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args()
    for name in options.only:
        also = ["--reference", options.reference] if options.reference and name in WITH_REFERENCE else []
        print(f"== {name}", flush=True)
        start = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(options.results / f"{name}.json"), *also]
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - a module of this folder
        print(f"== {name}: {time.monotonic() - start:.0f} s\n", flush=True)
    options.write.write_text(page(options.results), encoding="utf-8")
    print(f"written: {options.write}")


if __name__ == "__main__":
    main()
