"""What a run came to: the one table at its end, the certificate in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphnas.cli.terminal import cell, show, show_json, table

if TYPE_CHECKING:
    from rich.table import Table

    from graphnas.prune import Certificate
    from graphnas.runs import SearchResult


def print_results(result: SearchResult, *, as_json: bool) -> None:
    """The table of a finished run, the cut gap, the certificate, and where the artifact lies."""
    artifact = result.folder / "artifact"
    if as_json:
        show_json({"folder": str(result.folder), "artifact": str(artifact), **result.details})
        return
    lines = [*certificate_lines(result.certificate), f"artifact: {artifact}"]
    if result.cut_gap is not None:
        lines.insert(0, f"cut gap: {cell(result.cut_gap)} ({result.metric} of the supernet minus that of the same network cut)")
    show(result_table(result.rows, result.metric, result.split), "\n".join(lines))


def result_table(rows: Sequence[Mapping[str, Any]], metric: str, split: str | None) -> Table:
    """single-task, supernet and pruned side by side, by the metric that is judged by; the other metrics are in ``results.json``.

    Args:
        rows: ``name``, ``metrics`` (name -> value), ``macs``, ``parameters``, ``seconds`` each.
        metric: The metric.
        split: Where it was measured; ``None`` if nowhere.
    """
    numbers = (metric, "inference MACs", "parameters", "training seconds")
    return table(
        f"the primary on the {split} split" if split else "no data to measure on",
        ("network", *numbers),
        [(row["name"], row["metrics"].get(metric), row["macs"], row["parameters"], _seconds(row["seconds"])) for row in rows],
        right=numbers,
    )


def _seconds(seconds: float | None) -> int | str | None:
    """Whole seconds, from ten on."""
    return seconds if seconds is None else round(seconds) if seconds >= 10 else f"{seconds:.1f}"


def certificate_lines(certificate: Certificate) -> list[str]:
    """Whether the pruned network is exactly the single-task network; if not, what differs, or what of more it costs."""
    if certificate.keeps != "primary":
        what = "links and the branches that they start from" if certificate.keeps == "all" else "fusions"
        cost = f"{certificate.macs_ratio:.2f} x the MACs and {certificate.parameters_ratio:.2f} x the parameters of the single-task network"
        lines = [f"certificate: {what} stay at inference (inference: {certificate.keeps}): {cost}, {certificate.kept_links} links"]
    elif certificate.holds:
        lines = [
            "certificate: the pruned network is the single-task network: names, shapes, operations, MACs, parameters and outputs are equal"
        ]
    else:
        checks = {
            "names": certificate.names_equal,
            "shapes": certificate.shapes_equal,
            "operations": certificate.operations_equal,
            "MACs": certificate.macs == certificate.macs_single_task,
            "parameters": certificate.parameters == certificate.parameters_single_task,
            "outputs": certificate.output_difference == 0.0,
        }
        differing = ", ".join(name for name, equal in checks.items() if not equal)
        lines = [f"certificate: the pruned network is not the single-task network: {differing} differ"]
    if certificate.binary_links:
        most = f"the farthest gate was {certificate.largest_rounding:.2g} from that"
        lines.append(f"{certificate.binary_links} links were to converge to 0 or 1; {most}")
    if certificate.forced and certificate.cut_links:
        most = f"the largest contributed {certificate.largest_contribution:.2g}"
        lines.append(f"forced: {certificate.cut_links} links were cut that had not all converged to zero; {most}")
    return lines
