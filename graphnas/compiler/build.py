"""Search spec -> supernet: build each task's network from its spec, or take the user's own, record it, and weave."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.compiler.supernet import Supernet
from graphnas.compiler.torch_typed import copy_of, seeded
from graphnas.compiler.weave import uncollected, weave
from graphnas.compiler.weights import LoadedWeights, load_weights
from graphnas.errors import ArtifactError, GraphNASError, Problem, SpecError
from graphnas.graph.graph import Graph
from graphnas.graph.types import Ids, Mask, ValueType
from graphnas.ops.library import reported
from graphnas.ops.opaque import without_published_weights
from graphnas.spec.network import NetworkSpec
from graphnas.spec.search import NetworkUse, SearchSpec
from graphnas.spec.search_space import SearchSpaceSpec


def build(
    spec: SearchSpec,
    input_types: Mapping[str, ValueType],
    *,
    networks: Mapping[str, Branch] | None = None,
    tasks: Sequence[str] | None = None,
    space: SearchSpaceSpec | None = None,
) -> Supernet:
    """The supernet of a search.

    Args:
        spec: The search.
        input_types: Input name -> type, from the data.
        networks: Branches of the user's own, by task; they stand for the spec's. Their modules are shared, not copied.
        tasks: The tasks to build, the primary among them; all, if left out.
        space: Instead of the spec's own.
    Raises:
        SpecError, RecordError: All that does not fit, in all networks.
    """
    with uncollected():
        return _build(spec, input_types, networks or {}, tasks, space)


def _build(
    spec: SearchSpec,
    input_types: Mapping[str, ValueType],
    given: Mapping[str, Branch],
    tasks: Sequence[str] | None,
    space: SearchSpaceSpec | None,
) -> Supernet:
    wanted = list(tasks) if tasks is not None else [spec.primary_task, *spec.auxiliaries]
    problems: list[Problem] = []
    branches: dict[str, Branch] = {}
    for task in wanted:
        try:
            branches[task] = given[task] if task in given else task_branch(spec, task, input_types)
        except GraphNASError as error:
            problems += error.problems
    if problems:
        raise SpecError(dict.fromkeys(problems))
    with seeded(seed_of(spec.seed, "links")):
        return weave(branches, primary=spec.primary_task, space=space if space is not None else spec.space)


def task_branch(spec: SearchSpec, task: str, input_types: Mapping[str, ValueType]) -> Branch:
    """A task's network from its spec; its initial weights depend on the seed and the task's name alone.

    Raises:
        SpecError: The spec names no network for the task, or one that does not fit.
    """
    use = spec.network_of(task)
    if use is None:
        raise SpecError(
            spec.problem(f"task {task!r} has no network", "networks", fix=f'{task}: {{use: network.yaml}}, or "*": {{use: network.yaml}}')
        )
    network = bound(use, task, spec)
    graph = infer(network, {name: input_types[name] for name in network.inputs if name in input_types})
    whole = use.start_from is not None and use.into is None and not use.allow_missing  # nothing published would be left
    with seeded(seed_of(spec.seed, task)), reported() as weights, without_published_weights() if whole else nullcontext():
        module = lower(network, graph)
    if use.start_from is not None:
        weights.append(str(_started(use, module, spec, task)))
    return replace(spec_branch(network, graph, module), weights=tuple(weights))


def _started(use: NetworkUse, module: nn.Module, spec: SearchSpec, task: str) -> LoadedWeights:
    """Load what the network starts from.

    Raises:
        SpecError: It can't be read, or does not fit.
    """
    assert use.start_from is not None
    options: Any = {"allow_missing": use.allow_missing, "allow_unused": use.allow_unused, "part": use.part, "into": use.into}
    try:
        return load_weights(module, use.start_from, **options)
    except ArtifactError as error:
        name = task if task in spec.networks else "*"
        raise SpecError([spec.problem(p.message, "networks", name, "start_from", fix=p.fix) for p in error.problems]) from error


def spec_branch(network: NetworkSpec, graph: Graph, module: nn.Module) -> Branch:
    """The branch of a network that was lowered from its spec."""
    return Branch.from_module(
        module,
        taps=None if network.taps == "default" else network.taps,
        example=example_inputs({node.name: node.type for node in graph.inputs if node.type is not None}),
        spec=network,
        rebuild=lambda: lower(network, graph),
    )


def bound(use: NetworkUse, task: str, spec: SearchSpec) -> NetworkSpec:
    """A task's network with its parameters bound: what the spec gives, and from the task its number of output channels."""
    values: dict[str, Any] = dict(use.parameters)
    channels = getattr(spec.task_pair.tasks[task], "out_channels", None)
    if "out_channels" in use.use.parameters and channels is not None:
        values.setdefault("out_channels", channels)
    return use.use.bind(values)


def copied(branch: Branch) -> Branch:
    """The same branch on a copy of its module."""
    made = Branch.from_module(
        copy_of(branch.module),
        taps=branch.requested,
        example=branch.example,
        output=branch.output,
        spec=branch.spec,
        rebuild=branch.rebuild,
    )
    return replace(made, weights=branch.weights)


def example_inputs(types: Mapping[str, ValueType], batch: int = 2) -> dict[str, Tensor]:
    """Inputs of these types to record and compare with: always the same random numbers."""
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}
    for name, value in types.items():
        shape = (batch, *value.shape)
        if isinstance(value, Mask):
            made[name] = torch.ones(shape, dtype=torch.bool)
        else:
            made[name] = torch.zeros(shape, dtype=torch.long) if isinstance(value, Ids) else torch.rand(shape, generator=generator)
    return made


def seed_of(*parts: object) -> int:
    """A seed that depends on all parts and nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
