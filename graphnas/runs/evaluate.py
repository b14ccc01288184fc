"""``evaluate``: the metrics of an artifact, or of a run's, on a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn

from graphnas.compiler import Branch, copied
from graphnas.compiler.verify import leaves
from graphnas.data import Data, open_data
from graphnas.data.dataset import Split
from graphnas.errors import ArtifactError, DataError, GraphNASError, Where, suggest
from graphnas.export import load, read_description
from graphnas.runs.finish import held_out
from graphnas.runs.folder import RunFolder, spec_of_run
from graphnas.runs.phases import task_types
from graphnas.search.evaluation import score
from graphnas.search.precision import make_precision
from graphnas.search.prediction import select_inputs
from graphnas.spec import SearchSpec, TaskPairSpec, load_spec

SPLITS: tuple[Split, ...] = ("test", "validation", "training")


@dataclass(frozen=True)
class Evaluation:
    """What a network reached.

    Args:
        task: The primary task.
        split: Where.
        metrics: Name -> value.
        loss: Mean over the samples.
        samples: How many.
    """

    task: str
    split: str
    metrics: Mapping[str, float]
    loss: float | None
    samples: int

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "metrics": dict(self.metrics)}


def evaluate(
    source: str | Path,
    *,
    split: Split | None = None,
    task_pair: TaskPairSpec | str | Path | None = None,
    networks: Mapping[str, Branch] | None = None,
    data: Mapping[str, Any] | None = None,
    into: nn.Module | None = None,
    batch_size: int = 32,
    device: str = "auto",
) -> Evaluation:
    """Evaluate a run's artifact, or an artifact that lies anywhere.

    Args:
        source: The folder of a run, or of an artifact.
        split: test, validation or training; test, or validation where there is no test split, if left out.
        task_pair: The data, where they are not the run's, or the artifact lies elsewhere; its primary is what the network predicts.
        networks: As for ``search``: of a run whose spec does not describe them.
        data: As for ``search``.
        into: A network of the user's own class, for an artifact that holds its weights.
        batch_size: Samples in a batch.
        device: As in ``runtime.device``.
    Raises:
        GraphNASError: There is no artifact or no such split, or what is there does not fit.
    """
    path = Path(source)
    artifact, spec = _found(path)
    pair, task, seed = _what(path, spec, task_pair)
    opened = open_data(pair, seed=seed, tasks=(task,), datasets=data or {})
    split = _chosen(opened, task, split)
    branch, given = None, networks or {}
    if into is None and task in given:
        branch = copied(given[task])
        into = branch.module if read_description(artifact).get("keeps", "primary") == "primary" else None
    precision = make_precision(device, "float32")
    network = _Answer(load(artifact, into=into, networks=given).to(precision.device), task, branch)
    tasks = {task: task_types(pair)[task]}
    found = score({"it": network}, tasks, opened, split, batch_size=batch_size, precision=precision)
    scores = found["it"][task]
    return Evaluation(task, split, scores.metrics, scores.loss, scores.samples)


def _found(path: Path) -> tuple[Path, SearchSpec | None]:
    """The artifact, and the spec of the run that it belongs to, if it lies in one."""
    for run in (RunFolder(path), RunFolder(path.parent)):
        try:
            run.read_spec()
        except ArtifactError:
            continue
        return run.artifact if run.path == path else path, spec_of_run(run)
    return path, None


def _what(path: Path, spec: SearchSpec | None, task_pair: TaskPairSpec | str | Path | None) -> tuple[TaskPairSpec, str, int]:
    """The data, the task, and the seed that cuts validation."""
    if not path.is_dir():
        raise ArtifactError("there is no such folder", where=Where(str(path)), fix="name the folder of a run or of an artifact")
    if task_pair is None:
        if spec is None:
            raise GraphNASError(
                "this artifact lies outside its run's folder, so its data are not known",
                where=Where(str(path)),
                fix="name the task pair: --task-pair SPEC (from Python: task_pair=...)",
            )
        return spec.task_pair, spec.primary_task, spec.seed
    pair = task_pair if isinstance(task_pair, TaskPairSpec) else load_spec(task_pair, kind="task_pair")
    assert isinstance(pair, TaskPairSpec)
    return pair, pair.primary, 0 if spec is None else spec.seed


def _chosen(data: Data, task: str, split: Split | None) -> Split:
    if split is None:
        split = held_out(data, task)
        if split is None:
            raise DataError(f"there are no samples of {task!r} to evaluate on", fix="give a source a test split: test: PATH")
        return split
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}", fix=suggest(split, SPLITS))
    if not data.sizes().get(split, {}).get(task):
        raise DataError(f"the {split} split has no samples of {task!r}", fix=f"a split that has: {', '.join(data.sizes())}")
    return split


class _Answer(nn.Module):
    """A network that answers as a supernet does: ``{task: prediction}``."""

    def __init__(self, module: nn.Module, task: str, branch: Branch | None) -> None:
        super().__init__()
        self.module = module
        self._task = task
        self._branch = branch

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Predict; of several outputs the one that the branch names, or ``prediction``, or the first."""
        if self._branch is not None:
            graph = self.module.graph if isinstance(self.module, fx.GraphModule) else None
            names = self._branch.inputs if graph is None else [str(node.target) for node in graph.find_nodes(op="placeholder")]
            returned = self.module(**select_inputs(inputs, names))
            return {self._task: self._branch.prediction_of(returned)}
        returned = self.module(**inputs) if len(inputs) > 1 else self.module(*inputs.values())
        if isinstance(returned, Mapping):
            return {self._task: returned["prediction"]}
        return {self._task: leaves(returned)[0]}
