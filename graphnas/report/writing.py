"""``write_report``: which page, and where it goes."""

from __future__ import annotations

from pathlib import Path

from graphnas.compare import read, read_plan
from graphnas.compare.attribution import read_attribution
from graphnas.errors import ArtifactError, Where
from graphnas.report.comparison_page import comparison_page
from graphnas.report.reading import read_run
from graphnas.report.run_page import run_page
from graphnas.runs.folder import RunFolder
from graphnas.search.checkpoint import write_atomically

NAME = "report.html"


def write_report(source: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run or of a comparison, finished or not.

    Args:
        source: Its folder.
        out: The file; ``report.html`` in the folder, if left out.
    Returns:
        The file.
    Raises:
        GraphNASError: The folder is of neither, nothing was trained there yet, or a file in it is damaged.
    """
    path = Path(source)
    if (path / "compare.json").exists():
        plan = read_plan(path)
        attribution = read_attribution(path) if plan.attributes else None
        page = comparison_page(read(path) if attribution is None else attribution.comparison, plan, attribution)
    elif RunFolder(path).spec.exists():
        page = run_page(read_run(path))
    else:
        raise ArtifactError(
            "neither a run nor a comparison is there: spec.json and compare.json are missing",
            where=Where(str(path)),
            fix="name the folder of a run or of a comparison",
        )
    file = Path(out) if out is not None else path / NAME
    if not file.absolute().parent.is_dir():
        raise ArtifactError("its folder does not exist", where=Where(str(file)), fix="choose another --out")
    write_atomically(file, page.encode())
    return file
