"""The end of a run: prune, evaluate once on the test split, save the artifact, write the table."""

from __future__ import annotations

import copy
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphnas import __version__
from graphnas.compiler import Supernet
from graphnas.compiler.macs import count_macs
from graphnas.data import Data, describe_inference
from graphnas.data.dataset import Split
from graphnas.export import save
from graphnas.prune import Pruned, prune, run_without
from graphnas.runs.folder import RunFolder
from graphnas.runs.phases import Trained
from graphnas.runs.result import SearchResult
from graphnas.search.budget import Budget
from graphnas.search.checkpoint import write_atomically
from graphnas.search.evaluation import Scores, score
from graphnas.search.log import json_ready
from graphnas.search.prediction import select_inputs
from graphnas.search.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class Finished:
    """A run whose training is over.

    Args:
        folder: Where it lies.
        supernet: The supernet in its selected state, before any fine-tuning.
        final: What is pruned and shipped: the same, after fine-tuning.
        baseline: The single-task network, if one was trained.
        seconds: Phase -> (seconds of training, seconds with evaluation and checkpoints).
        best: Where the selected state was reached, and its value on validation; ``None`` if the last state was taken.
        length: The budget of the search.
    """

    folder: RunFolder
    supernet: Trained
    final: Trained
    baseline: Trained | None
    seconds: Mapping[str, tuple[float, float]]
    best: Mapping[str, Any] | None
    length: Budget


def finish(done: Finished, report: ProgressCallback, *, force: bool, test_again: bool) -> SearchResult:
    """Prune, test, save.

    Args:
        done: The run.
        report: Who watches.
        force: Prune links that have not converged too.
        test_again: Whether the networks may have changed since ``results.json`` was written, if it was.
    Raises:
        PruneError: Links have not converged; what was trained stays in the folder.
    """
    pruned = prune(done.final.net, force=force)
    details = None if test_again else _written(done.folder)
    if details is None:
        report(Progress("test"))
        details = _measure(done, pruned)
    gap = details["cut_gap"]
    if gap is not None:
        pruned = replace(pruned, certificate=pruned.certificate.with_cut_gap(gap, details["metric"]))
    details["certificate"] = pruned.certificate.to_dict()
    pair = done.final.spec.task_pair.model_copy(update={"primary": done.final.task})
    save(pruned, done.folder.artifact, task=describe_inference(pair))
    write_atomically(done.folder.results, json.dumps(details, indent=1).encode() + b"\n")
    return SearchResult(done.folder.path, pruned, pruned.certificate, details["rows"], gap, details["metric"], details["split"], details)


def _written(folder: RunFolder) -> dict[str, Any] | None:
    """What results.json holds; ``None`` if the run was not finished."""
    try:
        return json.loads(folder.results.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _measure(done: Finished, pruned: Pruned) -> dict[str, Any]:
    """All of results.json but the certificate."""
    main, task = done.final, done.final.task
    split = held_out(main.data, task)
    networks: dict[str, nn.Module] = {} if done.baseline is None else {"single-task": done.baseline.net}
    networks |= {"supernet": done.supernet.net, "cut": done.supernet.shipped() or done.supernet.net}
    networks["pruned"] = PrunedNetwork(pruned, main.net, main.precision.device)
    found: dict[str, dict[str, Scores]] = {}
    if split is not None:
        size = main.spec.training.evaluation_batch_size
        workers = main.spec.runtime.workers
        found = score(networks, main.tasks, main.data, split, batch_size=size, precision=main.precision, workers=workers, losses=())
    metric = main.judge.metric
    gap = None
    if found:
        gap = found["supernet"][task].metrics[metric] - found["cut"][task].metrics[metric]
    rows = [
        {
            "name": name,
            "metrics": _ordered(found[name][task].metrics, metric) if found else {},
            "macs": _macs(done, name, pruned),
            "parameters": _parameters(done, name, pruned),
            "seconds": _seconds(done, name),
        }
        for name in networks
        if name != "cut"
    ]
    others = found.get("supernet", {})
    details = {
        "split": split,
        "metric": metric,
        "direction": main.judge.direction,
        "cut_gap": gap,
        "rows": rows,
        "auxiliaries": {name: dict(scores.metrics) for name, scores in others.items() if name != task},
        "selected": None if done.best is None else dict(done.best),
        "primary_batches": done.length.primary_batches,
        "seconds": {phase: {"training": training, "total": total} for phase, (training, total) in done.seconds.items()},
        "versions": {"graphnas": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "device": str(main.precision.device),
        "threads": torch.get_num_threads(),
    }
    return json_ready(details)


def held_out(data: Data, task: str) -> Split | None:
    """The split to report on: test; validation where there is no test split; ``None`` without either."""
    sizes = data.sizes()
    splits: tuple[Split, ...] = ("test", "validation")
    return next((split for split in splits if sizes[split].get(task)), None)


class PrunedNetwork(nn.Module):
    """A pruned network that answers as a supernet does: ``{primary: prediction}``; left where it is, on a copy at the device.

    Args:
        pruned: Of ``prune``.
        net: The supernet that it was pruned from.
        device: Where to run.
    """

    def __init__(self, pruned: Pruned, net: Supernet, device: torch.device) -> None:
        super().__init__()
        self.module: nn.Module = pruned.module if device.type == "cpu" else copy.deepcopy(pruned.module).to(device)
        self._branch = net.recorded[net.primary]
        self._inputs = [str(node.target) for node in pruned.module.graph.find_nodes(op="placeholder")]
        self._task = net.primary

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Predict."""
        return {self._task: self._branch.prediction_of(self.module(**select_inputs(inputs, self._inputs)))}


def _ordered(metrics: Mapping[str, float], first: str) -> dict[str, float]:
    """The metric that is judged by comes first."""
    return {first: metrics[first], **metrics}


def _macs(done: Finished, name: str, pruned: Pruned) -> int:
    match name:
        case "single-task":
            return pruned.certificate.macs_single_task
        case "pruned":
            return pruned.certificate.macs
        case _:
            net = done.supernet.net
            example = {name: value for task in net.tasks for name, value in net.recorded[task].example.items()}
            moved = {name: value.to(done.final.precision.device) for name, value in example.items()}
            cut = net.cut
            run_without(net, ())  # what was searched, whatever it came to run without
            macs = count_macs(net.eval(), moved)
            run_without(net, cut)
            return macs


def _parameters(done: Finished, name: str, pruned: Pruned) -> int:
    match name:
        case "single-task":
            return pruned.certificate.parameters_single_task
        case "pruned":
            return pruned.certificate.parameters
        case _:
            return sum(parameter.numel() for parameter in done.supernet.net.parameters())


def _seconds(done: Finished, name: str) -> float:
    """Seconds of training: of the baseline; of the search with the pre-training that it started from; of all that, with fine-tuning."""
    wanted = {"single-task": ("single-task", "single-task-finetune"), "supernet": ("search",), "pruned": ("search", "finetune")}[name]
    total = sum(done.seconds[phase][0] for phase in wanted if phase in done.seconds)
    if name != "single-task" and done.final.spec.start_from == "single-task":
        total += sum(
            training for phase, (training, _) in done.seconds.items() if phase.startswith("single-task") and phase != "single-task-finetune"
        )
    return total
