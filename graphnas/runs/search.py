"""``search``: baseline, search, cut, test, save, in one folder that a crash at any moment leaves in a state to go on from."""

from __future__ import annotations

import copy
import tempfile
import uuid
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graphnas.compiler import Branch, Supernet, build, copied
from graphnas.compiler.weights import load_weights
from graphnas.data import Data, Loading, open_data, workers_explained
from graphnas.errors import ArtifactError, Interrupted, Problem, Where
from graphnas.prune import run_without
from graphnas.runs.check import check
from graphnas.runs.finish import Finished, finish
from graphnas.runs.folder import RunFolder, check_folder, make_folder, open_folder, spec_of_run
from graphnas.runs.lock import locked
from graphnas.runs.normalization import normalized
from graphnas.runs.phases import Trained, judge_of
from graphnas.runs.provenance import provenance
from graphnas.runs.result import SearchResult
from graphnas.search import checkpoint
from graphnas.search.allocator import freed_memory_kept
from graphnas.search.budget import Budget
from graphnas.search.log import MetricsLog
from graphnas.search.loop import Loop, Phase, Surroundings
from graphnas.search.precision import in_memory_format, make_precision
from graphnas.search.progress import Progress, ProgressCallback, silent
from graphnas.search.random_state import given_back
from graphnas.search.stopping import Stopped, listening
from graphnas.spec import SearchSpaceSpec, SearchSpec, load_spec

SEARCH, FINETUNE, SINGLE = "search", "finetune", "single-task"


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
    """Train the single-task baseline and the supernet, cut, evaluate on the test split, and save; ``gn.search`` also writes the run's page.

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
    spec = _loaded(spec)
    path = Path(out) if out is not None else Path(tempfile.gettempdir(), f"graphnas-{uuid.uuid4().hex}")
    return _Run(spec, RunFolder(path), networks or {}, data or {}, progress or silent).search(resume=resume, overwrite=overwrite)


def prune_run(
    run: str | Path,
    *,
    force: bool = False,
    networks: Mapping[str, Branch] | None = None,
    data: Mapping[str, Any] | None = None,
    progress: ProgressCallback | None = None,
) -> SearchResult:
    """Prune, evaluate and save a run whose training is over: what ``search`` does last.

    Args:
        run: The run folder.
        force: Also where links have not converged to zero; the certificate says so.
        networks: As for ``search``.
        data: As for ``search``.
        progress: As for ``search``.
    Raises:
        ArtifactError: There is no such run, or its training is not over.
        PruneError: Links have not converged.
    """
    folder = RunFolder(Path(run))
    spec = spec_of_run(folder)
    return _Run(spec, folder, networks or {}, data or {}, progress or silent).prune(force=force)


def restore_run(run: str | Path, *, networks: Mapping[str, Branch] | None = None, data: Mapping[str, Any] | None = None) -> Trained:
    """The supernet of a run whose search is over, in the state that was selected, before any fine-tuning; nothing is trained or written.

    Args:
        run: The run folder.
        networks: As for ``search``.
        data: As for ``search``.
    Raises:
        ArtifactError: There is no such run, or its search is not over.
    """
    folder = RunFolder(Path(run))
    spec = spec_of_run(folder)
    return _Run(spec, folder, networks or {}, data or {}, silent).restored()


def _loaded(spec: SearchSpec | str | Path) -> SearchSpec:
    if isinstance(spec, SearchSpec):
        return spec
    loaded = load_spec(spec, kind="search")
    assert isinstance(loaded, SearchSpec)
    return loaded


class _Run:
    """One run: opens data, compiles, and takes the phases in order."""

    def __init__(
        self, spec: SearchSpec, folder: RunFolder, networks: Mapping[str, Branch], datasets: Mapping[str, Any], report: ProgressCallback
    ) -> None:
        self._spec = normalized(spec, networks)
        self._folder = folder
        self._networks = networks
        self._datasets = datasets
        self._report = report
        self._precision = make_precision(spec.runtime.device, spec.runtime.precision)
        self._trained = False  # whether anything was trained in this process

    def search(self, *, resume: bool, overwrite: bool) -> SearchResult:
        """All of it."""
        options = {"resume": resume, "overwrite": overwrite}
        check_folder(self._folder, self._spec, **options)
        with self._at_home(), ExitStack() as held:
            if self._folder.path.exists():
                held.enter_context(locked(self._folder.path))
            main = self._prepare()
            if not self._folder.path.exists():
                make_folder(self._folder.path)
                held.enter_context(locked(self._folder.path))
                check_folder(self._folder, self._spec, **options)  # another one may have been faster
            open_folder(self._folder.path, self._spec, **options)
            return self._through(main, force=False)

    def prune(self, *, force: bool) -> SearchResult:
        """The end of it alone."""
        last = FINETUNE if self._spec.training.finetune is not None else SEARCH
        self._over(last)
        with self._at_home(), locked(self._folder.path):
            return self._through(self._prepare(), force=force)

    def restored(self) -> Trained:
        """What was trained, as it was selected."""
        saved = self._over(SEARCH)
        with self._at_home():
            main = self._prepare()
        group = "best" if any(name.startswith("best/") for name in saved.tensors) else "network"
        state = {name.removeprefix(f"{group}/"): tensor for name, tensor in saved.tensors.items() if name.startswith(f"{group}/")}
        main.net.load_state_dict(state)
        run_without(main.net, saved.values["state"].get("best_cut" if group == "best" else "cut", ()))
        return main

    def _over(self, phase: str) -> checkpoint.Checkpoint:
        """The last state of a phase.

        Raises:
            ArtifactError: It is not over.
        """
        saved = checkpoint.load(self._folder.phases / phase)
        if saved is None:
            raise ArtifactError(
                "the training of this run is not over",
                where=Where(str(self._folder.path)),
                fix=f"graphnas search {self._folder.spec} --out {self._folder.path} --resume",
            )
        return saved

    @contextmanager
    def _at_home(self) -> Generator[None, None, None]:
        """The caller's generators and number of threads are given back."""
        threads, wanted = torch.get_num_threads(), self._spec.runtime.threads
        with given_back(self._precision.device), workers_explained(), freed_memory_kept():
            if wanted is not None:
                torch.set_num_threads(wanted)
            try:
                yield
            finally:
                torch.set_num_threads(threads)

    def _prepare(self) -> Trained:
        """The supernet and its data, checked; nothing is written."""
        data = self._open(tuple(self._spec.task_pair.tasks))
        net = self._compile(self._spec, data)
        check(self._spec, net, data)
        return self._trained_network(self._spec, net, data)

    def _through(self, main: Trained, *, force: bool) -> SearchResult:
        """The phases in order."""
        spec, finetune = self._spec, self._spec.training.finetune
        with MetricsLog(self._folder.path, checkpoint.logged_bytes(self._folder.checkpoint, self._folder.phases) or 0) as log:
            around = Surroundings(
                main.data, spec.runtime.workers, spec.seed, self._folder.checkpoint, self._folder.phases,
                spec.runtime.checkpoint_every, log, self._report,
            )  # fmt: skip
            length = main.search_budget()
            self._introduce(main, length)
            baseline, seconds = self._alone(main, length, around)
            loop = self._run(main.training_phase(SEARCH, length), main.data, around)
            seconds |= {"search": loop.seconds}
            before_finetune = main
            if finetune is not None:
                before_finetune = Trained(spec, copy.deepcopy(main.net), main.task, main.data, main.judge, main.precision)
                phase = main.finetune_phase(FINETUNE, main.finetune_budget(finetune, length), finetune)
                seconds |= {"finetune": self._run(phase, main.data, around).seconds}
        if skipped := main.data.skipped:
            line = f"{len(skipped)} {'sample was' if len(skipped) == 1 else 'samples were'} left out: {', '.join(skipped)}"
            self._report(Progress(SEARCH, length.steps, length.steps, line))
        done = Finished(self._folder, before_finetune, main, baseline, seconds, dict(loop.best) if loop.best else None, length)
        return finish(done, self._report, force=force, test_again=self._trained)

    def _introduce(self, main: Trained, length: Budget) -> None:
        """The first lines of the log: what the run's numbers depend on."""
        weights = [f"{task}: {line}" for task, branch in main.net.recorded.items() for line in branch.weights]
        for line in (*provenance(self._spec, main.precision.device), *main.data.describe().splitlines(), *weights):
            self._report(Progress(SEARCH, 0, length.steps, line))

    def _alone(self, main: Trained, length: Budget, around: Surroundings) -> tuple[Trained | None, dict[str, tuple[float, float]]]:
        """Train single-task networks: the baseline, and where the search starts from them each task's; give the weights to the supernet.

        Returns:
            The baseline, if one is wanted; phase -> (training seconds, all seconds).
        """
        spec, seconds, baseline = self._spec, dict[str, tuple[float, float]](), None
        start = spec.start_from == "single-task"
        for task in main.net.tasks if start else (main.task,) if spec.baseline == "single-task" else ():
            single = self._single(task)
            primary = task == main.task
            name = SINGLE if primary else f"{SINGLE}-{task}"
            budget = single.baseline_budget(length) if primary else single.search_budget()
            seconds[name] = self._run(single.training_phase(name, budget), single.data, around).seconds
            if start:
                branch = f"branches.{task}"
                load_weights(main.net.get_submodule(branch), single.net.get_submodule(branch).state_dict(), source=name)
            if primary and spec.baseline == "single-task":
                baseline = single
                if (finetune := spec.training.finetune) is not None:
                    phase = single.finetune_phase(f"{SINGLE}-{FINETUNE}", single.finetune_budget(finetune, budget), finetune)
                    seconds[phase.name] = self._run(phase, single.data, around).seconds
        return baseline, seconds

    def _single(self, task: str) -> Trained:
        """The network of one task without links, on the samples that have its label."""
        pair = self._spec.task_pair
        pair = pair.model_copy(update={"primary": task, "tasks": {task: pair.tasks[task]}})
        spec = self._spec.model_copy(update={"primary": task, "task_pair": pair, "space": SearchSpaceSpec(links=())})
        data = self._open((task,), primary=task)
        return self._trained_network(spec, self._compile(spec, data), data)

    def _open(self, tasks: tuple[str, ...], primary: str | None = None) -> Data:
        pair = self._spec.task_pair.model_copy(update={"primary": primary or self._spec.primary_task})
        runtime = self._spec.runtime
        loading = Loading(runtime.cache, runtime.cache_folder, pin_memory=self._precision.device.type == "cuda")
        return open_data(pair, seed=self._spec.seed, tasks=tasks, datasets=self._datasets, loading=loading)

    def _compile(self, spec: SearchSpec, data: Data) -> Supernet:
        """A fresh supernet; networks that were given are copied, so that no training changes them."""
        given = {task: copied(branch) for task, branch in self._networks.items() if task in spec.task_pair.tasks}
        net = build(spec, data.input_types(), networks=given).to(self._precision.device)
        return in_memory_format(net, spec.runtime.memory_format)

    def _trained_network(self, spec: SearchSpec, net: Supernet, data: Data) -> Trained:
        task = spec.primary_task
        return Trained(spec, net, task, data, judge_of(spec, task, data), self._precision)

    def _run(self, phase: Phase, data: Data, around: Surroundings) -> Loop:
        try:
            with listening() as requests:
                loop = Loop(phase, replace(around, data=data, requests=requests))
                if loop.run():
                    self._trained = True
            if requests.signal is not None:  # it came in the last update
                raise Stopped(requests.signal, phase.name, phase.budget.steps, phase.budget.steps)
        except Stopped as stopped:
            raise self._interrupted(stopped) from None
        return loop

    def _interrupted(self, stopped: Stopped) -> Interrupted:
        run = self._folder.path
        given = self._networks or self._datasets
        fix = "gn.search(..., resume=True) goes on" if given else f"graphnas search {self._folder.spec} --out {run} --resume"
        message = f"stopped by {stopped.signal.name} after step {stopped.step} of {stopped.steps} of {stopped.phase}; all is saved"
        return Interrupted(Problem(message, Where(str(run)), fix=fix), stopped.signal)
