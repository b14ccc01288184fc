"""What is given from Python to record a module with: checked before anything runs, so that a mistake is told as one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from graphnas.compiler.inputs import precision_of
from graphnas.compiler.narrowing import is_mapping
from graphnas.errors import Problem, RecordError, suggest
from graphnas.ops.fitting import own_size
from graphnas.spec.messages import problems_of
from graphnas.spec.network import TapSpec


def taps_of(taps: Any) -> dict[str, TapSpec]:
    """Stage -> its taps.

    Raises:
        RecordError: They are no mapping, or one of them is not what a spec's ``taps:`` may hold: all that is wrong.
    """
    if not is_mapping(taps):
        raise RecordError(f"taps are stages with globs, got a {type(taps).__name__}", fix='taps={"s1": ["layer1.*"], "s2": ["layer2.*"]}')
    wanted: dict[str, TapSpec] = {}
    problems: list[Problem] = []
    for stage, tap in taps.items():
        try:
            wanted[str(stage)] = TapSpec.model_validate(tap)
        except ValidationError as error:
            found = problems_of(error, tap, None)
            problems += [Problem(p.message, p.where, ".".join(filter(None, (f"taps.{stage}", p.path))), p.fix) for p in found]
    if problems:
        raise RecordError(problems)
    return wanted


def require_module(module: Any) -> None:
    """Refuse what is no module, such as a name, or a class."""
    if not isinstance(module, nn.Module):
        raise RecordError(f"a branch is recorded from a torch.nn.Module, got a {type(module).__name__}", fix="give the module itself")


def arguments_of(module: nn.Module, example: Any) -> dict[str, Tensor]:
    """The inputs of a module by name.

    Raises:
        RecordError: The example holds something else than tensors, or its forward takes no arguments of these names.
    """
    parameters = inspect.signature(module.forward).parameters
    known = list(parameters)
    if isinstance(example, Tensor):
        if not known:
            raise RecordError(f"{type(module).__name__}.forward takes no argument", fix="give it an input")
        if (kind := parameters[known[0]].kind) in (kind.VAR_POSITIONAL, kind.POSITIONAL_ONLY):
            raise RecordError(
                f"{type(module).__name__}.forward takes its inputs without names, as {str(parameters[known[0]]).partition(':')[0]}",
                fix="give its inputs names: def forward(self, image)",
            )
        return {known[0]: example}
    if not is_mapping(example) or not all(isinstance(value, Tensor) for value in example.values()) or not example:
        raise RecordError(
            f"an example is a tensor, or tensors by the names of the forward's arguments, got a {type(example).__name__}",
            fix=f"example=torch.zeros(2, 3, 64, 64), or example={{{', '.join(f'{name!r}: ...' for name in known[:1])}}}",
        )
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in example:
        if name not in known and not takes_any:
            raise RecordError(f"{type(module).__name__}.forward takes no argument {name!r}", fix=suggest(name, known))
    return {str(name): value for name, value in example.items()}


def fitting_example(module: nn.Module, arguments: Mapping[str, Tensor]) -> str:
    """What to give instead of an example that a module fails on."""
    fix = "give an example that it takes"
    images = [value for value in arguments.values() if value.dim() == 4]
    dtype = precision_of(module)
    if dtype is not None and any(value.dtype != dtype for value in images):
        return f"{fix}: of {dtype}, as its parameters"
    size = own_size(module)
    if size is not None and any(tuple(value.shape[2:]) != size for value in images):
        return f"{fix}: it says that it is for images of [{size[0]}, {size[1]}] pixels"
    return fix
