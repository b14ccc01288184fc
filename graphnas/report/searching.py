"""``gn.search``: a search whose folder also holds its page, as the command line's does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphnas import runs
from graphnas.compiler import Branch
from graphnas.report.writing import write_report
from graphnas.runs import SearchResult
from graphnas.search.progress import ProgressCallback
from graphnas.spec import SearchSpec


def search(
    spec: SearchSpec | str | Path,
    *,
    networks: Mapping[str, Branch] | None = None,
    data: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> SearchResult:
    """Train the single-task baseline and the supernet, cut, evaluate on the test split, save, and write ``report.html``.

    Args:
        spec: What to do: a model, a file, or the name of a shipped one.
        networks: Task -> ``Branch`` that stands for the spec's network of that task; not changed.
        data: Source -> data set that stands for the spec's source of that name (``layout: python``).
        out: Folder of the run; a new temporary one if left out.
        resume: Go on with the run in ``out``: bit-identical to one that was never stopped, on the CPU with as many threads.
        overwrite: Replace the run in ``out``.
        progress: Called after every update, and with lines to print.
    Raises:
        GraphNASError: The input is wrong (nothing on disk was changed), or the run failed (it can be resumed).
        Interrupted: SIGINT or SIGTERM asked to stop; all is saved.
    """
    result = runs.search(spec, networks=networks, data=data, out=out, resume=resume, overwrite=overwrite, progress=progress)
    write_report(result.folder)
    return result
