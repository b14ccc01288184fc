"""``compare``: check every cell, run those that are not finished, and read what all of them come to.

::

    OUT/compare.json                  the plan: methods, seeds, the resolved spec of every variant
    OUT/cells/METHOD/[FIELD=VALUE/]seed-0/     a run folder; beside it seed-0.log, and seed-0.failed.json where it failed
    OUT/results.json, results.csv     what it comes to
    OUT/comparison.svg                the same as a picture
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from graphnas.compare.files import failure
from graphnas.compare.plan import Cell, Plan, Variant, cell_of, longer, plan_to_dict
from graphnas.compare.plot import draw
from graphnas.compare.pool import Pool, cores
from graphnas.compare.results import Comparison, read_cell, read_comparison
from graphnas.compare.statistics import CONFIDENCE
from graphnas.compare.tables import csv_text
from graphnas.errors import ArtifactError, GraphNASError, Interrupted, Problem, Where
from graphnas.runs import compile as compile_search
from graphnas.runs.folder import RunFolder, same_spec
from graphnas.runs.lock import locked
from graphnas.runs.normalization import normalized
from graphnas.search.checkpoint import write_atomically
from graphnas.search.precision import find_device
from graphnas.search.progress import Progress, ProgressCallback, silent
from graphnas.spec import parse_spec

_FREE = ("runtime",)
"""Fields that may differ when a comparison is gone on with: where and how."""
Times = Mapping[str, tuple[float, str]]


def compare(
    plan: Plan, out: str | Path, *, jobs: int | None = None, plugins: Sequence[str] = (), progress: ProgressCallback | None = None
) -> Comparison:
    """Run what is not finished of a comparison, in processes side by side, and write its tables and its picture.

    Args:
        plan: What to compare.
        out: Folder of the comparison; one that is there is gone on with.
        jobs: Processes at a time; as many as there are cores, or one on an accelerator, if left out.
        plugins: Modules that each process imports first.
        progress: Called when a cell has ended.
    Raises:
        GraphNASError: A method does not fit, or cells were run with other settings; nothing was trained.
        Interrupted: SIGINT or SIGTERM asked to stop; all is saved.
    """
    if jobs is not None and jobs < 1:
        raise GraphNASError(f"at least one process is needed, got {jobs}", where=Where("--jobs"), fix="leave --jobs out, or --jobs 1")
    return _Comparing(plan, Path(out), jobs, plugins, progress or silent).run()


def read_plan(out: str | Path) -> Plan:
    """The plan of a comparison that was begun.

    Raises:
        ArtifactError: There is none.
    """
    data = _saved(Path(out))
    if data is None:
        raise ArtifactError(
            "no comparison is there: compare.json is missing",
            where=Where(str(out)),
            fix="name a search spec, or the folder of a comparison",
        )
    variants = tuple(
        Variant(found["method"], found["values"], found["folder"], parse_spec(found["spec"], kind="search")) for found in data["variants"]
    )
    vary = {name: tuple(values) for name, values in data["vary"].items()}
    confidence = data.get("confidence", CONFIDENCE)
    also = {name: tuple(data.get(name, ())) for name in ("attributes", "as_long_as")}
    return Plan(tuple(data["methods"]), variants, tuple(data["seeds"]), data["budget"], vary, confidence, **also)


def read(out: str | Path) -> Comparison:
    """What the cells of a comparison come to so far; nothing is run, and nothing is written.

    Raises:
        ArtifactError: There is none.
    """
    path = Path(out)
    plan = read_plan(path)
    times: dict[str, tuple[float, str]] = {name: (ratio, rival) for name, (ratio, rival) in (_saved(path) or {}).get("times", {}).items()}
    extra: dict[str, Variant] = {}
    for variant in plan.variants:
        if variant.name in times:
            made = longer(plan.baseline_of(variant), times[variant.name][0])
            if made is not plan.baseline_of(variant):
                extra.setdefault(made.name, made)
    cells = [*plan.cells(), *(cell_of(variant, seed) for seed in plan.seeds for variant in extra.values())]
    failed = {cell.folder: reason for cell in cells if (reason := failure(path / cell.folder)) is not None}
    return read_comparison(plan, list(extra.values()), times if extra else {}, path, failed)


def _saved(out: Path) -> dict[str, Any] | None:
    """The content of compare.json; ``None`` if there is none.

    Raises:
        ArtifactError: It can't be read.
    """
    file = out / "compare.json"
    try:
        data = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ArtifactError(f"not readable: {error}", where=Where(str(file)), fix="start again in another folder") from None
    if not isinstance(data, dict) or cast("dict[str, Any]", data).get("kind") != "comparison":
        raise ArtifactError("not the plan of a comparison", where=Where(str(file)), fix="start again in another folder")
    return cast("dict[str, Any]", data)


@dataclass
class _Comparing:
    """One call of ``compare``."""

    plan: Plan
    out: Path
    jobs: int | None
    plugins: Sequence[str]
    report: ProgressCallback

    def run(self) -> Comparison:
        before = self._refuse_folder()
        times = {name: (ratio, as_long) for name, (ratio, as_long) in (before or {}).get("times", {}).items()}
        self._check()
        self.out.mkdir(parents=True, exist_ok=True)
        with locked(self.out):
            self._save(times)
            failed = self._cells(self.plan.cells())
            extra: list[Variant] = []
            if self.plan.budget == "time":
                times, extra = self._as_long(times)
                self._save(times)
                cells = {cell.folder: cell for seed in self.plan.seeds for variant in extra for cell in [cell_of(variant, seed)]}
                failed |= self._cells(list(cells.values()))
            found = read_comparison(self.plan, extra, times if extra else {}, self.out, failed)
            write_atomically(self.out / "results.json", json.dumps(found.to_dict(), indent=1).encode() + b"\n")
            write_atomically(self.out / "results.csv", csv_text(found).encode())
            write_atomically(self.out / "comparison.svg", draw(found).encode())
        return found

    def _refuse_folder(self) -> dict[str, Any] | None:
        """The plan that is in the folder, if any.

        Raises:
            GraphNASError: Something else is there.
        """
        where = Where(str(self.out))
        if self.out.exists() and not self.out.is_dir():
            raise GraphNASError("a file is there, a comparison needs a folder", where=where, fix="choose another --out")
        before = _saved(self.out)
        if before is None and self.out.is_dir() and any(entry.name != ".lock" for entry in self.out.iterdir()):
            raise GraphNASError("the folder is not empty, and holds no comparison", where=where, fix="choose another --out")
        return before

    def _check(self) -> None:
        """Nothing was run with other settings; and what is to be run can be built.

        Raises:
            GraphNASError: All that is wrong.
        """
        problems: dict[Problem, None] = {}
        for variant in self.plan.variants:
            for seed in self.plan.seeds:
                try:
                    self._same(cell_of(variant, seed))
                except ArtifactError as error:
                    problems |= dict.fromkeys(error.problems)
                    break  # the same holds for its other seeds
        if problems:
            raise ArtifactError(problems)
        for variant in self.plan.variants:
            if any(self._unfinished(cell_of(variant, seed)) for seed in self.plan.seeds):
                try:
                    compile_search(variant.spec)
                except GraphNASError as error:
                    problems |= {replace(p, message=f"{p.message} (method {variant.method!r})"): None for p in error.problems}
        if problems:
            raise GraphNASError(problems)

    def _same(self, cell: Cell) -> None:
        folder = RunFolder(self.out / cell.folder)
        if folder.spec.exists():
            same_spec(folder.read_spec(), normalized(cell.spec, {}), folder, free=_FREE)

    def _unfinished(self, cell: Cell) -> bool:
        return read_cell(self.out / cell.folder) is None

    def _save(self, times: Times) -> None:
        data = plan_to_dict(self.plan) | {"times": {name: list(found) for name, found in times.items()}}
        write_atomically(self.out / "compare.json", json.dumps(data, indent=1).encode() + b"\n")

    def _cells(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Run those that are not finished; cell -> why it failed.

        Raises:
            Interrupted: On request.
        """
        for cell in cells:
            self._same(cell)
        waiting = [cell for cell in cells if self._unfinished(cell)]
        done = len(cells) - len(waiting)
        if done:
            self.report(Progress("compare", done, len(cells), f"{done} of {len(cells)} cells are finished already"))

        def ended(cell: Cell, reason: str | None) -> None:
            nonlocal done
            done += 1
            self.report(Progress("compare", done, len(cells), f"{cell.name}: {self._line(cell, reason)} ({done} of {len(cells)})"))

        if not waiting:
            return {}
        pool = Pool(self.out, min(self.jobs or _jobs(waiting), len(waiting)), self.plugins, ended)
        stopped = pool.run(waiting)
        if stopped is not None:
            command = " ".join(["graphnas compare", str(self.out), *(f"--plugin {module}" for module in self.plugins)])
            message = f"stopped by {stopped.name} with {done} of {len(cells)} cells finished; all is saved"
            raise Interrupted(Problem(message, Where(str(self.out)), fix=f"{command} goes on"), stopped)
        return pool.failed

    def _line(self, cell: Cell, reason: str | None) -> str:
        """How a cell ended, in one line."""
        found = read_cell(self.out / cell.folder)
        if reason is not None or found is None:
            return f"failed: {(reason or 'no results').splitlines()[0]}"
        value = found.metrics.get(found.metric)
        return f"{found.metric} {value:.4g}, {found.seconds:.0f} s" if value is not None else f"{found.seconds:.0f} s"

    def _as_long(self, times: Times) -> tuple[dict[str, tuple[float, str]], list[Variant]]:
        """How much longer than the single task each variant trains, and single tasks that train as long.

        What was measured once stays, so that the same cells are meant when the comparison is gone on with.
        """
        found: dict[str, tuple[float, str]] = {}
        extra: dict[str, Variant] = {}
        for variant in self.plan.variants:
            single = self.plan.baseline_of(variant)
            if variant is single or (self.plan.as_long_as and variant.method not in self.plan.as_long_as):
                continue
            known = times.get(variant.name)
            ratio = known[0] if known is not None else self._time_ratio(variant, single)
            if ratio is not None:
                made = longer(single, ratio)
                if made is not single:
                    extra.setdefault(made.name, made)
                found[variant.name] = (ratio, made.name)
        return found, list(extra.values())

    def _time_ratio(self, variant: Variant, single: Variant) -> float | None:
        """Mean over the seeds that both have finished."""
        pairs = [
            (read_cell(self.out / cell_of(variant, s).folder), read_cell(self.out / cell_of(single, s).folder)) for s in self.plan.seeds
        ]
        ratios = [own.seconds / other.seconds for own, other in pairs if own is not None and other is not None and other.seconds]
        return fmean(ratios) if ratios else None


def _jobs(cells: Sequence[Cell]) -> int:
    """As many processes as cores; one where they would share an accelerator."""
    devices = {find_device(cell.spec.runtime.device).type for cell in cells}
    return cores() if devices == {"cpu"} else 1
