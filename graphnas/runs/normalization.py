"""``normalize: backbone``: a search's images are normalized as the published weights of its networks expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from graphnas.compiler import Branch
from graphnas.compiler.build import bound
from graphnas.compiler.infer import copies
from graphnas.errors import SpecError
from graphnas.ops.base import Statistics
from graphnas.spec import SearchSpec
from graphnas.spec.task_pair import Normalization

_FIX = "normalize: imagenet, or {mean: [...], std: [...]}"


def normalized(spec: SearchSpec, networks: Mapping[str, Branch]) -> SearchSpec:
    """The same search with numbers instead of ``backbone``.

    Args:
        spec: The search.
        networks: Task -> branch that stands for the spec's network.
    Raises:
        SpecError: No network says what it expects, or several expect different things: one image has one normalization.
    """
    pair = spec.task_pair
    wanted = [name for name, found in pair.inputs.items() if found.normalize == "backbone"]
    if not wanted:
        return spec
    expected = {task: _expected(spec, task, networks.get(task)) for task in pair.tasks}
    choices = {found for each in expected.values() for found in each}
    if len(choices) != 1:
        message = "no network says how it expects its images to be normalized"
        if choices:
            said = [f"{task} {_written(found)}" for task, each in expected.items() for found in sorted(each)]
            message = f"the networks expect images to be normalized in different ways: {'; '.join(said)}"
        raise SpecError([pair.problem(message, "inputs", name, "normalize", fix=_FIX) for name in wanted])
    [(mean, std)] = choices
    inputs = {
        name: found.model_copy(update={"normalize": Normalization(mean=mean, std=std)}) if name in wanted else found
        for name, found in pair.inputs.items()
    }
    return spec.model_copy(update={"task_pair": pair.model_copy(update={"inputs": inputs})})


def _expected(spec: SearchSpec, task: str, branch: Branch | None) -> frozenset[Statistics]:
    """What the network of a task expects: of a spec's by its operations, of a module by what timm leaves in its own."""
    if branch is not None:
        configs: list[Any] = [getattr(module, "pretrained_cfg", None) for module in branch.module.modules()]
        found = [cast("Mapping[str, Any]", config) for config in configs if isinstance(config, Mapping)]
        return frozenset((tuple(config["mean"]), tuple(config["std"])) for config in found if "mean" in config and "std" in config)
    use = spec.network_of(task)
    if use is None:
        return frozenset()
    return frozenset(found for node in copies(bound(use, task, spec)) for found in node.operation.image_statistics)


def _written(found: Statistics) -> str:
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in found)
    return f"{{mean: [{mean}], std: [{std}]}}"
