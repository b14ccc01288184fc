"""docs/families.md from results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.family.runner import LIBRARIES, Result, failed

COLUMNS = ("traced", "eval", "train", "keys", "itself", "another", "step", "pruned", "loaded", "exported")

_HEAD = """# Networks that graphnas was tried with

Made by `make families`; nothing here is written by hand. Each network is built with random weights from its library's own code, at a small
size and with {classes} classes, and goes through these checks in a process of its own, on a CPU with one thread:

- **traced**: `gn.Branch.from_module` records it at the taps of the column before, and leaves it as it was. The taps are stages that
  graphnas finds by itself (default), given by globs (given), or quarters of its longest chain of modules (chosen).
- **eval**: the recorded graph gives what the module gives, bit for bit, for the example's batch size and for one more.
- **train**: and in train mode with the same seed: the prediction, every gradient, every buffer.
- **keys**: pruned, it has the module's `state_dict` keys in the module's order.
- **itself**: woven with another of its kind by the links of `aux-nas`, all weights and gates of the links random, the links have an effect.
- **another**: the same with timm's resnet18 as the auxiliary, then a step, pruning and the comparison of *pruned* (text: with another
  BERT).
- **step**: one search step of weights and alphas; all gradients are finite, none is missing, alphas of both directions move.
- **pruned**: the pruned network returns all that the module with its trained weights returns, bit for bit, in eval and in train mode, and
  its certificate against a fresh network holds.
- **loaded**: the artifact's safetensors load strictly into a fresh original, which then returns the same bit for bit.
- **exported**: `torch.export` takes the pruned network, and its program returns the same bit for bit; *as* where export changes the
  original itself (it leaves fast paths of eager mode out), and makes the same of the pruned network, bit for bit.

Seconds are processor time of the whole process, imports included. Noise is added to all weights first: layer scales of 1e-6 and heads of
zeros hide errors.
"""


@dataclass(frozen=True)
class Draw:
    """The fresh draw: its seed, what was drawn, from how many, and how it came out."""

    seed: int
    families: Mapping[str, str]  # family -> model
    others: int
    limit_s: float
    results: Sequence[Result]


def page(results: Sequence[Result], draw: Draw | None, *, classes: int) -> str:
    """The document."""
    parts = [_HEAD.format(classes=classes), versions(results), summary(results), table(results), reasons(results, "###")]
    if draw is not None:
        parts += [_draw_head(draw), table(draw.results), reasons(draw.results, "###")]
    return "\n".join(part for part in parts if part)


def versions(results: Sequence[Result]) -> str:
    found = sorted({", ".join(f"{name} {result['versions'][name]}" for name in LIBRARIES) for result in results if "versions" in result})
    pythons = sorted({result["python"] for result in results if "python" in result})
    return f"With {'; '.join(found)}; Python {', '.join(pythons)}.\n"


def summary(results: Sequence[Result]) -> str:
    good = sum(holds(result) for result in results)
    return f"## The list\n\n{good} of {len(results)} networks pass every check.\n"


def holds(result: Result) -> bool:
    return not failed(result) and all(column in result["checks"] for column in COLUMNS)


def table(results: Sequence[Result]) -> str:
    lines = [
        f"| network | input | parameters | taps | {' | '.join(COLUMNS)} | s |",
        f"|---|---|---|---|{'---|' * len(COLUMNS)}---|",
    ]
    for result in results:
        remark = f" ({result['remark']})" if result.get("remark") else ""
        cells = [
            result["name"] + remark,
            "; ".join("x".join(map(str, shape)) for shape in result.get("input", {}).values()),
            f"{result.get('parameters', 0) / 1e6:.2f} M",
            _taps(result),
            *(_cell(result, column) for column in COLUMNS),
            f"{result.get('seconds', 0):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _taps(result: Result) -> str:
    stages = result.get("stages", {})
    kinds = "/".join(result.get("tap_types", []))
    return f"{'+'.join(map(str, stages.values()))} {kinds}, {result.get('taps', '')}".strip(", ")


def _cell(result: Result, column: str) -> str:
    check = result["checks"].get(column)
    if check is None:
        return "–"
    yes = "as" if column == "exported" and "exported_as" in result else "yes"
    return yes if check["reason"] is None else "**no**"


def reasons(results: Sequence[Result], level: str) -> str:
    """Why where not."""
    lines: list[str] = []
    for result in results:
        for name, reason in failed(result).items():
            lines.append(f"- {result['name']}, {name}: {' '.join(reason.split())}")
    return f"{level} Where not, and why\n\n" + "\n".join(lines) + "\n" if lines else ""


def _draw_head(draw: Draw) -> str:
    good = sum(holds(result) for result in draw.results)
    share = 100 * good / len(draw.results)
    return (
        f"## A fresh draw\n\n{len(draw.results)} of the {draw.others} model families of timm (modules of `timm.models`) that are not on the"
        f" list, drawn at random with seed {draw.seed}: the smallest model of each, on images of 64, 128 or 112 pixels if it takes them,"
        f" else of its published size; {draw.limit_s:g} s of processor time each.\n\n"
        f"{good} of {len(draw.results)} pass every check ({share:.0f} %).\n"
    )


def write(path: Path, text: str) -> None:
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
