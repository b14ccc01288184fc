"""A network by a name on the command line -> the module, without weights, and inputs to run it with.

The name is that of a library's network (``timm:resnet18``, ``torchvision:vgg16``, ``smp:Unet``; a plain ``resnet18`` is looked up in timm,
then in torchvision), of a registered network, or a network spec: a file, or one that comes with graphnas.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from graphnas import registry
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.compiler.narrowing import is_plain_dict
from graphnas.errors import GraphNASError, Problem, SpecError, Where, nearest, suggest
from graphnas.graph.types import Ids, Image, TypePattern, ValueType, parse_type
from graphnas.ops.fitting import fitting_size, own_size
from graphnas.ops.opaque import Opaque, example, first_line, untouched_random_state, without_published_weights
from graphnas.spec import load_spec
from graphnas.spec.messages import problems_of
from graphnas.spec.network import NetworkSpec
from graphnas.spec.overrides import Override
from graphnas.spec.presets import presets

PLAIN = ("timm", "torchvision")
"""The libraries that a name without one is looked up in."""
_SIZE, _LENGTH, _SAMPLES = 224, 16, 2
_SPEC = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Model:
    """A network to be looked at.

    Args:
        label: What it is called.
        module: In eval mode, on the meta device where it can be.
        arguments: Inputs by name, batch first.
        spec: The spec that it was built from, if it was.
    """

    label: str
    module: nn.Module
    arguments: Mapping[str, Tensor]
    spec: NetworkSpec | None = None


def open_model(
    name: str, settings: Sequence[Override] = (), inputs: Mapping[str, ValueType] | None = None, size: int | None = None
) -> Model:
    """Build the network of a name; nothing is fetched.

    Args:
        name: As above.
        settings: Arguments of the library's network, or parameters of the spec.
        inputs: Types of inputs, by name; others are what the network says it takes.
        size: Height and width of images, where ``inputs`` does not say.
    Raises:
        GraphNASError: No such network, settings or inputs that it does not take.
    """
    with without_published_weights():
        library, _, own = name.partition(":")
        if name.endswith(_SPEC) or os.path.exists(name):
            return _of_spec(name, settings, inputs or {}, size)
        if own:
            kind, field = _library(library, own)
            return _of_operation(kind, {"op": library, field: own}, settings, inputs or {}, size)
        for library in PLAIN:
            kind = registry.operations.get(library)
            if name in kind.known():
                return _of_operation(kind, {"op": library, "model": name}, settings, inputs or {}, size)
        if name in registry.networks.names():
            return _of_operation(registry.operations.get(name), {"op": name}, settings, inputs or {}, size)
        if name in presets("network"):
            return _of_spec(name, settings, inputs or {}, size)
    libraries = [model for library in PLAIN for model in registry.operations.get(library).known()]
    near = nearest(name, [*libraries, *registry.networks.names(), *presets("network")])
    fix = f"did you mean {near!r}?" if near is not None else "timm:NAME, torchvision:NAME, a registered network, or a network spec"
    raise GraphNASError(f"unknown network {name!r}", where=Where("graphnas taps"), fix=fix)


def _library(name: str, model: str) -> tuple[type[Opaque], str]:
    """The operation of a library, and the field that its network's name goes into."""
    known: dict[str, str] = {}
    for operation in registry.operations.names():
        kind = registry.operations.get(operation)
        fields = [field for field in ("architecture", "model") if field in kind.model_fields] if issubclass(kind, Opaque) else []
        if fields:  # a name with a slash in it is that of a repository or a folder
            known[operation] = "model" if "model" in fields and ("/" in model or "architecture" not in fields) else fields[0]
    if name not in known:
        raise GraphNASError(f"unknown library {name!r}", where=Where("graphnas taps"), fix=suggest(name, known))
    return registry.operations.get(name), known[name]


# -- a library's network


def _of_operation(
    kind: type[Opaque], fields: Mapping[str, Any], settings: Sequence[Override], inputs: Mapping[str, ValueType], size: int | None
) -> Model:
    given = _nested(fields, settings)
    try:
        operation = kind.model_validate(given)
    except ValidationError as error:
        problems = problems_of(error, given, None)
        raise SpecError(Problem(p.message, _place(p, settings), fix=p.fix) for p in problems) from None
    with untouched_random_state():
        try:
            with torch.device("meta"):
                module = operation.module(pretrained=False).eval()
            return _tried(operation.label, module, inputs, size, "meta")
        except GraphNASError:
            raise
        except Exception:  # noqa: BLE001 - whatever a third-party module does there, the real run decides
            module = operation.module(pretrained=False).eval()
    try:
        return _tried(operation.label, module, inputs, size, "cpu")
    except GraphNASError:
        raise
    except Exception as error:
        types = _inputs(module, inputs, size)
        words = ", ".join(f"{name}: {value}" for name, value in types.items())
        message = f"{operation.label} does not take {words}: {first_line(error)}"
        raise GraphNASError(message, where=Where("graphnas taps"), fix=_other_inputs(module, types)) from error


def _nested(fields: Mapping[str, Any], settings: Sequence[Override]) -> dict[str, Any]:
    made = dict(fields)
    for setting in settings:
        *outer, last = setting.parts
        inner: dict[str, Any] = made
        for part in outer:
            below: Any = inner.setdefault(part, {})
            if not is_plain_dict(below):
                raise GraphNASError(f"{part!r} is no mapping", where=setting.where, fix=f"--set {part}=VALUE")
            inner = below
        inner[last] = setting.value
    return made


def _place(problem: Problem, settings: Sequence[Override]) -> Where:
    path = f"{problem.path}."
    return next((s.where for s in settings if path.startswith(f"{s.name}.") or f"{s.name}.".startswith(path)), Where("graphnas taps"))


def _tried(label: str, module: nn.Module, inputs: Mapping[str, ValueType], size: int | None, device: str) -> Model:
    arguments = {name: example(value, _SAMPLES, device) for name, value in _inputs(module, inputs, size).items()}
    with torch.no_grad():
        module(**arguments)
    return Model(label, module, arguments)


def _other_inputs(module: nn.Module, given: Mapping[str, ValueType]) -> str:
    """What to give instead of inputs that a network does not take."""
    usual = _inputs(module, {}, None)
    if usual != given and _takes(module, usual):
        words = ", ".join(f"{name}: {value}" for name, value in usual.items())
        return f"it takes {words}, which is the default"
    fix = fitting_size(lambda others: _takes(module, dict(zip(given, others, strict=True))), list(given.values()))
    if fix is not None:
        return f"--size {fix.partition('[')[2].partition(',')[0]}"
    return "--input NAME=TYPE for each of its inputs, such as --input image=3x224x224"


def _takes(module: nn.Module, inputs: Mapping[str, ValueType]) -> bool:
    try:
        with torch.no_grad():
            module(**{name: example(value, _SAMPLES) for name, value in inputs.items()})
    except Exception:  # noqa: BLE001 - third-party code
        return False
    return True


def _inputs(module: nn.Module, given: Mapping[str, ValueType], size: int | None) -> dict[str, ValueType]:
    """The inputs to run a module with: those that are given, or its first one by what it says of itself."""
    names = list(inspect.signature(module.forward).parameters)
    main = str(getattr(module, "main_input_name", names[0] if names else "x"))
    if not given:
        return {main: Ids(_LENGTH) if main == "input_ids" else _image(module, size)}
    if len(given) == 1 and (only := next(iter(given))) not in names:
        return {main: given[only]}  # `image`, whatever the forward calls it
    for name in given:
        if name not in names:
            raise GraphNASError(f"the network reads no {name!r}", where=Where(f"--input {name}"), fix=suggest(name, names))
    return dict(given)


def _image(module: nn.Module, size: int | None) -> Image:
    """The images that a network says it was made for: timm's ``default_cfg``, Hugging Face's ``config``."""
    told: Any = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    channels, *_ = told.get("input_size", (getattr(getattr(module, "config", None), "num_channels", 3),))
    rows, columns = (size, size) if size is not None else own_size(module) or (_SIZE, _SIZE)
    return Image(int(getattr(module, "in_chans", channels)), int(rows), int(columns))


# -- a network spec


def _of_spec(name: str, settings: Sequence[Override], inputs: Mapping[str, ValueType], size: int | None) -> Model:
    spec: NetworkSpec = load_spec(name, kind="network")
    values = {setting.name: setting.value for setting in settings}
    wrong = {parameter: (message, fix) for parameter, message, fix in spec.wrong_parameters(values)}
    if wrong:
        raise SpecError(Problem(wrong[s.name][0], s.where, fix=wrong[s.name][1]) for s in settings if s.name in wrong)
    samples = {parameter: declared.sample for parameter, declared in spec.parameters.items()}
    network = spec.bind({**samples, **values})
    for given in inputs:
        if given not in network.inputs:
            raise GraphNASError(f"the network reads no {given!r}", where=Where(f"--input {given}"), fix=suggest(given, network.inputs))
    types = {given: inputs.get(given) or _typed(parse_type(text), size) for given, text in network.inputs.items()}
    graph = infer(network, types)
    with untouched_random_state():
        module = lower(network, graph).eval()
    return Model(name, module, {given: example(value, _SAMPLES) for given, value in types.items()}, network)


def _typed(pattern: TypePattern, size: int | None) -> ValueType:
    """The type of an input as a spec writes it, with sizes for those that it only names."""
    named = (size or _SIZE) if pattern.kind == "image" else _LENGTH
    return pattern.bind([named if fixed is None else fixed for fixed in pattern.sizes])


def read_input(text: str) -> tuple[str, ValueType]:
    """``NAME=3x224x224`` or ``NAME=ids[16]`` -> name and type; three sizes are an image's, two tokens', one is a vector's.

    Raises:
        GraphNASError: It is neither.
    """
    name, _, written = (part.strip() for part in text.partition("="))
    sizes = written.split("x")
    kinds = {3: "image", 2: "tokens", 1: "vector"}
    if all(size.isdigit() for size in sizes) and len(sizes) in kinds:
        written = f"{kinds[len(sizes)]}[{', '.join(sizes)}]"
    try:
        pattern = parse_type(written)
        return name, pattern.bind([size or 0 for size in pattern.sizes])
    except ValueError:
        message = f"expected NAME=TYPE with sizes that are numbers, got {text!r}"
        raise GraphNASError(message, where=Where("--input"), fix="--input image=3x224x224, or --input ids=ids[16]") from None
