"""Figures: one file a question. Each prints a table, and writes JSON that ``python -m benchmarks.page`` makes docs/performance.md of."""
