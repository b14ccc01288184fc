"""``normalize: backbone``: a search's images are normalized as the published weights of its networks expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from graphnas.compiler import Branch
from graphnas.compiler.build import bound
from graphnas.compiler.infer import copies
from graphnas.errors import SpecError
from graphnas.ops import hf_hub
from graphnas.ops.base import Statistics, TypeRuleError
from graphnas.ops.hf_hub import HubError
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
    expected = _all_expected(spec, networks, wanted)
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


def _all_expected(spec: SearchSpec, networks: Mapping[str, Branch], wanted: list[str]) -> dict[str, frozenset[Statistics]]:
    found: dict[str, frozenset[Statistics]] = {}
    reasons: dict[str, None] = {}
    for task in spec.task_pair.tasks:
        try:
            found[task] = _expected(spec, task, networks.get(task))
        except (TypeRuleError, HubError) as error:
            reasons[f"how the network of {task!r} expects its images to be normalized can't be found out: {error}"] = None
    if reasons:
        raise SpecError([spec.task_pair.problem(reason, "inputs", name, "normalize", fix=_FIX) for name in wanted for reason in reasons])
    return found


def _expected(spec: SearchSpec, task: str, branch: Branch | None) -> frozenset[Statistics]:
    """What the network of a task expects: of a spec's by its operations, of a module by what its library leaves in it."""
    if branch is not None:
        return frozenset(found for module in branch.module.modules() for found in _left_in(module))
    use = spec.network_of(task)
    if use is None:
        return frozenset()
    return frozenset(found for node in copies(bound(use, task, spec)) for found in node.operation.image_statistics)


def _left_in(module: Any) -> Iterator[Statistics]:
    """The data config that timm leaves in a module; what is said where transformers loaded it from, a folder or a repository."""
    about = getattr(module, "pretrained_cfg", None)
    if isinstance(about, Mapping) and "mean" in about and "std" in about:
        config = cast("Mapping[str, Any]", about)
        yield tuple(config["mean"]), tuple(config["std"])
    loaded = (
        getattr(getattr(module, "config", None), "_name_or_path", None) if type(module).__module__.startswith("transformers.") else None
    )
    if isinstance(loaded, str) and loaded:
        found = hf_hub.read_statistics(str(Path(loaded).resolve()) if Path(loaded).is_dir() else loaded, None)
        if found is not None:
            yield found


def _written(found: Statistics) -> str:
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in found)
    return f"{{mean: [{mean}], std: [{std}]}}"
