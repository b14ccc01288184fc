"""``compile``: a search spec and its data -> the supernet, with everything checked and nothing trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphnas.compiler import Branch, Supernet, build
from graphnas.data import open_data
from graphnas.runs.check import check
from graphnas.runs.normalization import normalized
from graphnas.spec import SearchSpec


def compile(spec: SearchSpec, *, networks: Mapping[str, Branch] | None = None, data: Mapping[str, Any] | None = None) -> Supernet:  # noqa: A001
    """The supernet of a search, as ``search`` would train it.

    Args:
        spec: The search; the sizes of the inputs come from its data.
        networks: Task -> ``Branch`` that stands for the spec's network of that task; its module is shared.
        data: Source -> data set that stands for the spec's source of that name.
    Raises:
        GraphNASError: Data, networks or space that do not fit, or a constraint that can't be proven.
    """
    spec = normalized(spec, networks or {})
    opened = open_data(spec.task_pair, seed=spec.seed, tasks=tuple(spec.task_pair.tasks), datasets=data or {})
    net = build(spec, opened.input_types(), networks=networks)
    check(spec, net, opened)
    return net
