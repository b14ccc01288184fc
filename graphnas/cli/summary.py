"""What ``graphnas compile`` says about a supernet, as plain data for ``--json`` and for the tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphnas.compiler import Supernet
    from graphnas.spec import SearchSpec

BACKWARD = 2  # a backward pass in forward passes: the gradients of activations and of weights
BACKWARD_WITHOUT_WEIGHTS = 1  # alpha step: weights are frozen, their gradients are not computed


@dataclass(frozen=True)
class BranchRow:
    """One branch: sizes of the single-task network of a task, MACs for one sample."""

    task: str
    role: str
    nodes: int
    taps: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class RuleRow:
    """The links of one rule of the space; MACs for one sample, shape adapters included."""

    rule: int
    direction: str
    links: int
    operations: tuple[str, ...]
    parameters: int
    converges_to: str


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of training, from forward passes: an estimate, not a measurement.

    Args:
        supernet_macs: One forward of the supernet with one sample.
        primary_macs: The same of the primary's single-task network.
        supernet_samples: Samples in a batch of the supernet (those with the primary's label and the auxiliary ones).
        primary_samples: Samples in a batch of the single-task network.
        supernet_passes: Forward passes that an update with one batch costs: 3, as a backward pass counts twice; with alternate updates 2.5,
            the mean of a weight step and an alpha step, which computes no gradients of weights.
        relative: The supernet's training in units of the single-task network's, on as many batches with the primary's label.
    """

    supernet_macs: int
    primary_macs: int
    supernet_samples: int
    primary_samples: int
    supernet_passes: float
    relative: float


@dataclass(frozen=True)
class Summary:
    """All of it."""

    primary: str
    branches: tuple[BranchRow, ...]
    rules: tuple[RuleRow, ...]
    proven: tuple[str, ...]
    weights: dict[str, tuple[str, ...]]
    training: Cost
    inference_macs: int
    inference_parameters: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarize(spec: SearchSpec, net: Supernet) -> Summary:
    """Count branches, links and costs of a compiled search."""
    from graphnas.compiler.macs import count_macs
    from graphnas.prune import cut_view

    branches = tuple(
        BranchRow(
            task,
            "primary" if task == net.primary else "auxiliary",
            len(branch.graph.nodes),
            len(branch.taps),
            sum(parameter.numel() for parameter in branch.module.parameters()),
            branch.macs,
        )
        for task, branch in net.recorded.items()
    )
    own = next(row for row in branches if row.task == net.primary)
    example = {name: value for branch in net.recorded.values() for name, value in branch.example.items()}
    was_training = net.training
    supernet_macs = count_macs(net.eval(), example)
    kept = None if net.space.constraints.inference == "primary" else cut_view(net).eval()
    alphas = {id(alpha) for alpha in net.alphas.values()}  # constants at inference
    net.train(was_training)
    return Summary(
        primary=net.primary,
        branches=branches,
        rules=_rules(net),
        proven=net.plan.proven,
        weights={task: branch.weights for task, branch in net.recorded.items() if branch.weights},
        training=_cost(spec, any(True for _ in net.alpha_parameters()), supernet_macs, own.macs),
        inference_macs=own.macs if kept is None else count_macs(kept, example),
        inference_parameters=own.parameters if kept is None else sum(p.numel() for p in kept.parameters() if id(p) not in alphas),
    )


def _rules(net: Supernet) -> tuple[RuleRow, ...]:
    rows: list[RuleRow] = []
    for index, rule in enumerate(net.space.links):
        links = [link for link in net.links if link.rule == index]
        modules = [module for link in links for module in net.link_operations[link.id].values()]
        rows.append(
            RuleRow(
                index,
                f"{rule.source} -> {rule.destination}",
                len(links),
                tuple(dict.fromkeys(name for link in links for name in link.operations)),
                sum(parameter.numel() for module in modules for parameter in module.parameters()),
                rule.converges_to,
            )
        )
    return tuple(rows)


def _cost(spec: SearchSpec, has_alphas: bool, supernet_macs: int, primary_macs: int) -> Cost:
    training = spec.training
    single = training.batch_size
    samples = single + training.auxiliary_batch_size
    passes = float(1 + BACKWARD)
    if training.updates == "alternate" and has_alphas:
        passes = (passes + 1 + BACKWARD_WITHOUT_WEIGHTS) / 2
    relative = supernet_macs * samples * passes / (primary_macs * single * (1 + BACKWARD))
    return Cost(supernet_macs, primary_macs, samples, single, passes, round(relative, 2))
