"""One self-contained page of a run or of a comparison: tables, plots as inline SVG, and words; no scripts, nothing from elsewhere."""

from graphnas.report.searching import search
from graphnas.report.writing import write_report

__all__ = ["search", "write_report"]
