"""Record one real run of a module as a graph: ``nn.Module`` x example inputs -> ``torch.fx.Graph``.

The forward of every *ancestor* of a wanted value runs as the user wrote it; each module below becomes one ``call_module`` node, and each
torch function that ancestor code calls becomes a node of its own. Values are recognized by the identity of their tensors, sizes by an
``int`` that records its arithmetic (so the batch size stays dynamic), and an ancestor's ``training`` by a flag that is read again at run
time. All Python just works, since it is run, not traced; what would be baked in silently (a branch on data, ``no_grad``, autocast) is
refused with its source line.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from graphnas.compiler import intercept
from graphnas.compiler.meta import set_changed_inputs, set_type
from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_namedtuple, is_sequence, is_slice, is_tuple
from graphnas.compiler.numbers import RecordedFlag, RecordedFloat, RecordedInt, Value, plain
from graphnas.compiler.torch_typed import has_hooks, is_tensor_method, paths_of, sizes_of, version_of
from graphnas.compiler.user_code import running_line
from graphnas.errors import RecordError
from graphnas.graph.types import ValueType, type_of_shape

__all__ = ["Call", "Recording", "record", "run_log"]

_CONSTANTS = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(...))
_DATA_DEPENDENT = {
    "__bool__", "__int__", "__float__", "__index__", "__contains__", "__complex__",
    "item", "tolist", "numpy", "is_nonzero", "equal", "allclose",
}  # fmt: skip
_SIZES = {"size", "numel", "nelement", "dim", "ndimension", "stride", "storage_offset", "__len__", "element_size"}


@dataclass(frozen=True)
class Call:
    """One call of a submodule: its path, and the value it returned."""

    path: str
    value: Any


@dataclass
class Recording:
    """What a run leaves behind.

    Args:
        graph: The run; targets are relative to the module, the output is the forward's own.
        calls: The submodule calls at or above the recorded level, in order of return.
        values: Path of each such submodule -> the node of its (last) result, for every result that is a tensor.
        changed: Paths whose tensor something later changed in place.
    """

    graph: fx.Graph
    calls: list[Call]
    values: dict[str, fx.Node]
    changed: frozenset[str]


def run_log(module: nn.Module, arguments: Mapping[str, Any]) -> list[Call]:
    """Every submodule call of one run, in order of return: what a tap's glob is matched with."""
    log: list[Call] = []
    paths = _paths(module)

    def call(original: Callable[..., Any], called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = original(called, *args, **kwargs)
        if (path := paths.get(id(called))) is not None:
            log.append(Call(path, value))
        return value

    with intercept.module_calls(call), torch.no_grad():
        module(**arguments)
    return log


def record(module: nn.Module, arguments: Mapping[str, Any], *, ancestors: frozenset[str]) -> Recording:
    """Record one run.

    Args:
        module: The module; runs in the mode that it is in. Buffers may change, as in any run.
        arguments: Keyword arguments of its forward; tensors among them become placeholders of that name.
        ancestors: Paths of the modules to look into (``""`` is the module itself); the others become one node each.
    Raises:
        RecordError: Something that a graph can't hold; names the module, the source line and why.
    """
    return _Recorder(module, ancestors).run(arguments)


def _paths(module: nn.Module) -> dict[int, str]:
    return {id(submodule): path for path, submodule in paths_of(module)}


class _Recorder(TorchFunctionMode):
    def __init__(self, module: nn.Module, ancestors: frozenset[str]) -> None:
        super().__init__()
        self.module = module
        self.graph = fx.Graph()
        self.paths = _paths(module)
        self.ancestors = ancestors
        self.values: dict[int, Value] = {}
        self.scope: list[str] = [""]
        self.paused = False
        self.calls: list[Call] = []
        self.results: dict[str, tuple[fx.Node, Tensor, int]] = {}
        self.state = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}

    # -- the run

    def run(self, arguments: Mapping[str, Any]) -> Recording:
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                self.keep(value, self.graph.placeholder(name))
        flagged = [(path, submodule) for path, submodule in paths_of(self.module) if path in self.ancestors]
        for path, submodule in flagged:
            self.refuse_hooks(path, submodule)
        modes = [(submodule, submodule.training) for _, submodule in flagged]
        try:
            for path, submodule in flagged:
                submodule.training = RecordedFlag(submodule.training, self, path)  # pyright: ignore[reportAttributeAccessIssue]
            with (
                intercept.module_calls(self.call), intercept.autograd_functions(self.apply), intercept.regions(self.enter), torch.no_grad(),
                self,
            ):  # fmt: skip
                result = self.module(**arguments)
        finally:
            for submodule, mode in modes:
                submodule.training = mode
        self.graph.output(self.as_output(result))
        changed = frozenset(path for path, (_, tensor, version) in self.results.items() if version_of(tensor) != version)
        return Recording(self.graph, self.calls, {path: node for path, (node, _, _) in self.results.items()}, changed)

    def call(self, original: Callable[..., Any], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self.paths.get(id(module))
        if self.paused or path is None:
            return original(module, *args, **kwargs)
        if path in self.ancestors:
            self.scope.append(path)
            value = original(module, *args, **kwargs)
            self.scope.pop()
        else:
            nodes, before = (self.as_node(args), self.as_node(kwargs)), self.versions(args, kwargs)
            value = self.unrecorded(original, (module, *args), kwargs)
            value = self.remember(value, self.changing(self.graph.call_module(path, *nodes), before))
        self.log(path, value)
        return value

    def apply(self, original: Callable[..., Any], function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A custom autograd function in ancestor code is one node, so that its backward is kept."""
        if self.paused:
            return original(*args, **kwargs)
        if function.__module__ == "torch.utils.checkpoint":
            raise self.refusal("activation checkpointing, which a graph can't hold", "switch it off for the modules above the taps")
        nodes, before = (self.as_node(args), self.as_node(kwargs)), self.versions(args, kwargs)
        value = self.unrecorded(original, args, kwargs)
        return self.remember(value, self.changing(self.graph.call_function(intercept.applied(function), *nodes), before))

    def enter(self, region: str) -> None:
        if not self.paused:
            raise self.region_refusal(f"an {region} region")

    def unrecorded(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call something that is one node as a whole."""
        self.paused = True
        try:
            return function(*plain(args), **plain(kwargs))
        finally:
            self.paused = False

    def log(self, path: str, value: Any) -> None:
        self.calls.append(Call(path, value))
        if isinstance(value, Tensor) and (known := self.values.get(id(value))) is not None:
            self.results[path] = (known.resolve(), value, version_of(value))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # a property: x.shape
            return self.read(func.__self__.__name__, func, args)
        if name == "_set_grad_enabled":
            raise self.region_refusal("a no_grad or enable_grad region")
        if name in _DATA_DEPENDENT:
            raise self.refusal(f"data-dependent Tensor.{name}()" if name != "equal" else "data-dependent torch.equal()")
        before = self.versions(args, kwargs)
        value = func(*plain(args), **plain(kwargs))
        if name in _SIZES:
            return self.sizes(value, lambda: self.function(func, name, args, kwargs))
        if not _holds_tensors(value) and all(version_of(tensor) == version for tensor, version in before):
            return value  # is_floating_point(), promote_types(), ...: a fact of the types, not of the data
        return self.remember(value, self.changing(self.function(func, name, args, kwargs), before))

    def read(self, name: str, func: Any, args: Any) -> Any:
        value = func(*args)

        def make() -> fx.Node:
            return self.graph.call_function(getattr, (self.as_node(args[0]), name))

        if name in ("shape", "ndim"):
            return self.sizes(value, make)
        if isinstance(value, torch.device):
            self.values[id(value)] = Value(make=make, keep=value)
            return value
        return self.remember(value, make()) if isinstance(value, Tensor) else value  # x.T, x.mT, x.real; dtypes are facts

    def function(self, func: Any, name: str, args: Any, kwargs: Any) -> fx.Node:
        if name in ("__getitem__", "__setitem__"):
            return self.graph.call_function(getattr(operator, name.strip("_")), self.as_node(args), self.as_node(kwargs))
        if getattr(torch.Tensor, name, None) is func or is_tensor_method(func):
            return self.graph.call_method(name, self.as_node(args), self.as_node(kwargs))
        return self.graph.call_function(func, self.as_node(args), self.as_node(kwargs))

    # -- what is changed in place

    def versions(self, *arguments: Any) -> list[tuple[Tensor, int]]:
        return [(tensor, version_of(tensor)) for tensor in _tensors(arguments)]

    def changing(self, node: fx.Node, before: list[tuple[Tensor, int]]) -> fx.Node:
        """The node, with a note of those of its inputs that its run changed."""
        changed = {self.tensor(tensor) for tensor, version in before if version_of(tensor) != version}
        if changed:
            set_changed_inputs(node, [i for i, read in enumerate(node.all_input_nodes) if read in changed])
        return node

    # -- values -> nodes

    def keep(self, value: Any, node: fx.Node) -> None:
        if isinstance(value, Tensor):
            set_type(node, _type(value))
        self.values[id(value)] = Value(node, version=version_of(value) if isinstance(value, Tensor) else 0, keep=value)

    def remember(self, value: Any, node: fx.Node) -> Any:
        """Note that ``node`` makes ``value``; returns what the run goes on with."""
        if isinstance(value, Tensor):
            known = self.values.get(id(value))
            if id(value) in self.state or (known is not None and known.version == version_of(value)):
                # A function that handed its input back (dropout in eval mode): another object, so that both can be told apart.
                self.paused, paused = True, self.paused
                value = torch.ops.aten.alias.default(value)
                self.paused = paused
            self.keep(value, node)
            return value
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return RecordedInt(value, lambda: node, self)
        if is_tuple(value) or is_list(value):
            parts = [self.part(part, node, operator.getitem, i) for i, part in enumerate(value)]
            if type(value) in (tuple, list):
                return type(value)(parts)
            return type(value)(*parts) if is_namedtuple(value) else value
        if is_mapping(value):
            for key, part in value.items():
                self.part(part, node, operator.getitem, key)
        elif (named := fields_of(value)) is not None:
            for name, part in named.items():
                self.part(part, node, getattr, name)
        return value

    def part(self, value: Any, node: fx.Node, get: Callable[..., Any], key: Any) -> Any:

        def make() -> fx.Node:
            return self.graph.call_function(get, (node, key))

        if isinstance(value, Tensor):
            self.values[id(value)] = Value(make=self.typed(make, value), version=version_of(value), keep=value)
            return value
        if (is_tuple(value) or is_list(value) or is_mapping(value)) and _holds_tensors(value):
            return self.remember(value, make())
        return RecordedInt(value, make, self) if type(value) is int else value

    def typed(self, make: Callable[[], fx.Node], value: Tensor) -> Callable[[], fx.Node]:
        def made() -> fx.Node:
            node = make()
            set_type(node, _type(value))
            return node

        return made

    def sizes(self, value: Any, make: Callable[[], fx.Node]) -> Any:
        """A size or a tuple of them, recorded when it is used."""
        if is_tuple(value):
            whole = Value(make=make)
            ints = [RecordedInt(size, self.item(whole, i), self) for i, size in enumerate(value)]
            return torch.Size(ints) if isinstance(value, torch.Size) else tuple(ints)
        return RecordedInt(value, make, self)

    def item(self, whole: Value, index: int) -> Callable[[], fx.Node]:
        return lambda: self.graph.call_function(operator.getitem, (whole.resolve(), index))

    def as_node(self, value: Any) -> Any:
        """An argument of the run as an argument of a node."""
        if isinstance(value, (RecordedInt, RecordedFloat, RecordedFlag)):
            return value.resolve()
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, torch.device):
            known = self.values.get(id(value))
            return known.resolve() if known is not None and known.keep is value else value
        if isinstance(value, _CONSTANTS):
            return value
        if is_slice(value):
            return slice(self.as_node(value.start), self.as_node(value.stop), self.as_node(value.step))
        if is_tuple(value):
            parts = [self.as_node(part) for part in value]
            return type(value)(*parts) if is_namedtuple(value) else tuple(parts)
        if is_list(value):
            return [self.as_node(part) for part in value]
        if is_mapping(value):
            return {key: self.as_node(part) for key, part in value.items()}
        raise self.refusal(f"an argument of type {type(value).__name__}, which a graph can't hold")

    def tensor(self, value: Tensor) -> fx.Node:
        known = self.values.get(id(value))
        if known is None:
            name = self.state.get(id(value)) or self.attribute(value)
            if name is None:
                raise self.refusal("a tensor made by code that can't be recorded (a scripted function, numpy, another thread)")
            known = self.values[id(value)] = Value(self.graph.create_node("get_attr", name, (), {}), keep=value)
            known.version = version_of(value)
            set_type(known.resolve(), _type(value))
        return known.resolve()

    def attribute(self, value: Tensor) -> str | None:
        """A plain tensor attribute of an ancestor, neither parameter nor buffer."""
        for path, submodule in paths_of(self.module):
            for name, attribute in vars(submodule).items():
                if attribute is value:
                    return f"{path}.{name}" if path else name
        return None

    def as_output(self, value: Any) -> Any:
        if (named := fields_of(value)) is not None:  # also the outputs of Hugging Face models, which are dicts as well
            parts = {name: self.as_node(part) for name, part in named.items() if part is not None}
            return self.graph.call_function(value.__class__, (), parts)
        if is_mapping(value) and type(value) is not dict:
            return self.graph.call_function(dict, (), {str(k): self.as_node(v) for k, v in value.items()})
        return self.as_node(value)

    # -- refusals

    def refuse_hooks(self, path: str, module: nn.Module) -> None:
        if has_hooks(module):
            raise RecordError(
                f"{path or 'the module'} ({type(module).__name__}) has hooks, and its forward would be taken apart",
                fix="remove the hooks, or choose taps that are not inside it",
            )

    def refusal(self, why: str, fix: str | None = None) -> RecordError:
        module = self.scope[-1] or type(self.module).__name__
        line = running_line(_Recorder.run.__code__, self.module.get_submodule(self.scope[-1]))
        return RecordError(
            f"{module}: {why} at {line}",
            fix=fix or f"choose taps outside of {module}, or move the statement into a submodule without taps",
        )

    def region_refusal(self, region: str) -> RecordError:
        return self.refusal(f"{region}, which a graph can't hold", "move it into a submodule below the taps' parents")


def _type(value: Tensor) -> ValueType:
    return type_of_shape(sizes_of(value)[1:], floating=value.dtype.is_floating_point)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, at any depth."""
    if isinstance(value, Tensor):
        yield value
    elif is_mapping(value) or is_sequence(value):
        for part in value.values() if is_mapping(value) else value:
            yield from _tensors(part)


def _holds_tensors(value: Any) -> bool:
    return next(_tensors(value), None) is not None
