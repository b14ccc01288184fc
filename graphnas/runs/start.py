"""Weights that a branch starts from: an artifact, a safetensors file, or the same task's network trained alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from graphnas.compiler import Supernet
from graphnas.errors import Problem, SpecError, suggest
from graphnas.graph.globs import matches
from graphnas.spec import SearchSpec


def start_from_files(net: Supernet, spec: SearchSpec) -> None:
    """Load ``networks.TASK.start_from`` of every branch that has one.

    Raises:
        SpecError: A file is missing or damaged, or its names or shapes do not fit; all that is wrong, at the spec's lines.
    """
    problems: list[Problem] = []
    for task in net.tasks:
        name = task if task in spec.networks else "*"
        use = spec.networks.get(name)
        if use is None or use.start_from is None:
            continue
        try:
            state = load_file(weights_file(Path(use.start_from)))
        except FileNotFoundError as error:
            problems.append(spec.problem(f"there is no file {error.filename or use.start_from}", "networks", name, "start_from"))
            continue
        except (SafetensorError, OSError) as error:
            problems.append(spec.problem(f"{use.start_from} can't be read: {error}", "networks", name, "start_from"))
            continue
        wrong = load_branch(net, task, state, use.allow_missing)
        problems += [spec.problem(message, "networks", name, "start_from", fix=fix) for message, fix in wrong]
    if problems:
        raise SpecError(problems)


def weights_file(path: Path) -> Path:
    """The safetensors file of a path: itself, that of an artifact, or that of a run's artifact.

    Raises:
        FileNotFoundError: There is none.
    """
    for candidate in (path, path / "model.safetensors", path / "artifact" / "model.safetensors"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(2, "no such file", str(path))


def load_branch(net: Supernet, task: str, state: Mapping[str, Tensor], allow_missing: Sequence[str] = ()) -> list[tuple[str, str | None]]:
    """Copy a state dict into a branch; its parameters keep their identity.

    Args:
        net: The supernet.
        task: The branch.
        state: Names as in the branch's own network.
        allow_missing: Globs of names that may be missing on either side or differ in shape (another head).
    Returns:
        What does not fit, each with a fix; nothing was copied then.
    """
    own = branch_of(net, task).state_dict()
    skipped = {name for name in [*own, *state] if any(matches(glob, name) for glob in allow_missing)}
    wrong: list[tuple[str, str | None]] = []
    missing = [name for name in own if name not in state and name not in skipped]
    if missing:
        wrong.append((f"weights of {task!r} are missing: {_some(missing)}", f"allow_missing: [{missing[0]}]"))
    unknown = [name for name in state if name not in own and name not in skipped]
    if unknown:
        wrong.append((f"the network of {task!r} has no {_some(unknown)}", suggest(unknown[0], own)))
    for name in own.keys() & state.keys() - skipped:
        if own[name].shape != state[name].shape:
            shapes = f"{list(state[name].shape)} in the file, {list(own[name].shape)} in the network"
            wrong.append((f"{name} of {task!r} differs in shape: {shapes}", f"allow_missing: [{name}]"))
    if not wrong:
        with torch.no_grad():
            for name in own.keys() & state.keys():
                if own[name].shape == state[name].shape:
                    own[name].copy_(state[name])
    return wrong


def branch_of(net: Supernet, task: str) -> nn.Module:
    """The user's network of a task, as it stands in the supernet."""
    return net.get_submodule(f"branches.{task}")


def _some(names: Sequence[str]) -> str:
    """The first of many."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
