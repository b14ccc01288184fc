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
    title = f"primary, on the {result.split} split" if result.split else "no split to measure on"
    lines = [f"artifact: {artifact}"]
    if result.cut_gap is not None:
        lines.insert(0, f"cut gap: {cell(result.cut_gap)} ({result.metric}, supernet minus the same network cut)")
    show(result_table(title, result.rows), "\n".join([*certificate_lines(result.certificate), *lines]))


def result_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """single-task, supernet and pruned side by side.

    Args:
        title: What was measured.
        rows: ``name``, ``metrics`` (name -> value), ``macs``, ``parameters``, ``seconds`` each.
    """
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    numbers = ("inference MACs", "parameters", "training seconds")
    return table(
        title,
        ("network", *metrics, *numbers),
        [
            (
                row["name"],
                *(row["metrics"].get(name) for name in metrics),
                row["macs"],
                row["parameters"],
                round(row["seconds"]) if row["seconds"] is not None else None,
            )
            for row in rows
        ],
        right=(*metrics, *numbers),
    )


def certificate_lines(certificate: Certificate) -> list[str]:
    """Whether the pruned network is exactly the single-task network; if not, what differs."""
    if certificate.holds:
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
    if certificate.forced:
        most = f"the largest contributed {certificate.largest_contribution:.2g}"
        lines.append(f"forced: {certificate.cut_links} links were cut that had not all converged to zero; {most}")
    return lines
