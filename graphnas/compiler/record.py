"""Record one real run of a module as a graph: ``nn.Module`` x example inputs -> ``torch.fx.Graph``.

The forward of every *ancestor* of a wanted value runs as the user wrote it; each module below becomes one ``call_module`` node, and each torch
function that ancestor code calls becomes a node of its own. Values are recognised by the identity of their tensors, sizes by an ``int`` that
records its arithmetic (so the batch size stays dynamic), and an ancestor's ``training`` by a flag that is read again at run time. All Python just works,
since it is run, not traced; what would be baked in silently (a branch on data, ``no_grad``, autocast) is refused with its source line.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from graphnas.compiler.meta import set_type
from graphnas.compiler.numbers import RecordedFlag, RecordedFloat, RecordedInt, Value, plain
from graphnas.errors import RecordError
from graphnas.graph.types import ValueType, type_of_shape

__all__ = ["Call", "Recording", "record", "run_log"]

_CONSTANTS = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(...))
_READS = {"shape", "device", "dtype", "ndim", "is_cuda", "requires_grad", "layout", "is_leaf", "grad_fn", "names", "is_sparse", "is_quantized", "is_meta", "is_nested", "is_mkldnn", "is_cpu", "is_mps", "is_xpu"}  # fmt: skip
_DATA_DEPENDENT = {"__bool__", "__int__", "__float__", "__index__", "__contains__", "__complex__", "item", "tolist", "numpy", "is_nonzero", "equal", "allclose"}  # fmt: skip
_SIZES = {"size", "numel", "nelement", "dim", "ndimension", "stride", "storage_offset", "__len__", "element_size"}
_REGIONS = {
    "_set_grad_enabled": "a no_grad or enable_grad region",
    "_enter_autocast": "an autocast region",
    "_exit_autocast": "an autocast region",
    "_enter_inference_mode": "an inference_mode region",
}


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

    with _patched_calls(call), torch.no_grad():
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
    return {id(submodule): name for name, submodule in module.named_modules()}


@contextlib.contextmanager
def _patched_calls(call: Callable[..., Any]) -> Iterator[None]:
    """Let ``call(original, module, args, kwargs)`` stand in for every module call."""
    original = nn.Module.__call__

    def patched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return call(original, self, args, kwargs)

    nn.Module.__call__ = patched
    try:
        yield
    finally:
        nn.Module.__call__ = original


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
        flagged = [(path, submodule) for path, submodule in self.module.named_modules() if path in self.ancestors]
        for path, submodule in flagged:
            self.refuse_hooks(path, submodule)
        modes = [(submodule, submodule.training) for _, submodule in flagged]
        try:
            for path, submodule in flagged:
                submodule.training = RecordedFlag(submodule.training, self, path)  # pyright: ignore[reportAttributeAccessIssue]
            with _patched_calls(self.call), _patched_autograd_functions(self), torch.no_grad(), self:
                result = self.module(**arguments)
        finally:
            for submodule, mode in modes:
                submodule.training = mode
        self.graph.output(self.as_output(result))
        changed = frozenset(path for path, (_, tensor, version) in self.results.items() if tensor._version != version)
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
            nodes = self.as_node(args), self.as_node(kwargs)
            self.paused = True
            try:
                value = original(module, *plain(args), **plain(kwargs))
            finally:
                self.paused = False
            node = self.graph.call_module(path, *nodes)
            value = self.remember(value, node)
        self.log(path, value)
        return value

    def log(self, path: str, value: Any) -> None:
        self.calls.append(Call(path, value))
        if isinstance(value, Tensor) and (known := self.values.get(id(value))) is not None:
            self.results[path] = (known.resolve(), value, value._version)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # a property: x.shape
            return self.read(func.__self__.__name__, func, args)
        if name in _REGIONS:
            raise self.refusal(f"{_REGIONS[name]}, which a graph can't hold", "move it into a submodule below the taps' parents")
        if name in _DATA_DEPENDENT:
            raise self.refusal(f"data-dependent Tensor.{name}()" if name != "equal" else "data-dependent torch.equal()")
        value = func(*plain(args), **plain(kwargs))
        if name in _SIZES:
            return self.sizes(value, lambda: self.function(func, name, args, kwargs))
        if not _holds_tensors(value):
            return value  # is_floating_point(), promote_types(), ...: a fact of the types, not of the data
        return self.remember(value, self.function(func, name, args, kwargs))

    def read(self, name: str, func: Any, args: Any) -> Any:
        value = func(*args)
        make = lambda: self.graph.call_function(getattr, (self.as_node(args[0]), name))  # noqa: E731
        if name in ("shape", "ndim"):
            return self.sizes(value, make)
        if isinstance(value, torch.device):
            self.values[id(value)] = Value(make=make, keep=value)
            return value
        return self.remember(value, make()) if isinstance(value, Tensor) else value  # x.T, x.mT, x.real; dtypes are facts

    def function(self, func: Any, name: str, args: Any, kwargs: Any) -> fx.Node:
        if name == "__getitem__":
            return self.graph.call_function(operator.getitem, self.as_node(args), self.as_node(kwargs))
        if getattr(torch.Tensor, name, None) is func or isinstance(getattr(func, "__objclass__", None), type(torch._C.TensorBase)):
            return self.graph.call_method(name, self.as_node(args), self.as_node(kwargs))
        return self.graph.call_function(func, self.as_node(args), self.as_node(kwargs))

    # -- values -> nodes

    def keep(self, value: Any, node: fx.Node) -> None:
        if isinstance(value, Tensor):
            set_type(node, _type(value))
        self.values[id(value)] = Value(node, version=value._version if isinstance(value, Tensor) else 0, keep=value)

    def remember(self, value: Any, node: fx.Node) -> Any:
        """Note that ``node`` makes ``value``; returns what the run goes on with."""
        if isinstance(value, Tensor):
            known = self.values.get(id(value))
            if id(value) in self.state or (known is not None and known.version == value._version):
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
        if isinstance(value, (tuple, list)):
            parts = [self.part(part, node, operator.getitem, i) for i, part in enumerate(value)]
            if type(value) in (tuple, list):
                return type(value)(parts)
            return type(value)(*parts) if hasattr(value, "_fields") else value
        if isinstance(value, Mapping):
            for key, part in value.items():
                self.part(part, node, operator.getitem, key)
        elif is_dataclass(value):
            for described in fields(value):
                self.part(getattr(value, described.name), node, getattr, described.name)
        return value

    def part(self, value: Any, node: fx.Node, get: Callable[..., Any], key: Any) -> Any:
        make = lambda: self.graph.call_function(get, (node, key))  # noqa: E731
        if isinstance(value, Tensor):
            self.values[id(value)] = Value(make=self.typed(make, value), version=value._version, keep=value)
            return value
        if isinstance(value, (tuple, list, Mapping)) and _holds_tensors(value):
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
        if isinstance(value, tuple):
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
        if isinstance(value, slice):
            return slice(self.as_node(value.start), self.as_node(value.stop), self.as_node(value.step))
        if isinstance(value, tuple):
            parts = [self.as_node(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, list):
            return [self.as_node(part) for part in value]
        if isinstance(value, Mapping):
            return {key: self.as_node(part) for key, part in value.items()}
        raise self.refusal(f"an argument of type {type(value).__name__}, which a graph can't hold")

    def tensor(self, value: Tensor) -> fx.Node:
        known = self.values.get(id(value))
        if known is None:
            name = self.state.get(id(value)) or self.attribute(value)
            if name is None:
                raise self.refusal("a tensor made by code that can't be recorded (a scripted function, numpy, another thread)")
            known = self.values[id(value)] = Value(self.graph.create_node("get_attr", name, (), {}), keep=value)
            known.version = value._version
            set_type(known.resolve(), _type(value))
        return known.resolve()

    def attribute(self, value: Tensor) -> str | None:
        """A plain tensor attribute of an ancestor, neither parameter nor buffer."""
        for path, submodule in self.module.named_modules():
            for name, attribute in vars(submodule).items():
                if attribute is value:
                    return f"{path}.{name}" if path else name
        return None

    def as_output(self, value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):  # also the outputs of Hugging Face models, which are dicts as well
            kept = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) is not None}
            return self.graph.call_function(type(value), (), {name: self.as_node(part) for name, part in kept.items()})
        if isinstance(value, Mapping) and type(value) is not dict:
            return self.graph.call_function(dict, (), {str(k): self.as_node(v) for k, v in value.items()})
        return self.as_node(value)

    # -- refusals

    def refuse_hooks(self, path: str, module: nn.Module) -> None:
        hooks = [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks]
        if any(hooks):
            raise RecordError(
                f"{path or 'the module'} ({type(module).__name__}) has hooks, and its forward would be taken apart",
                fix="remove the hooks, or choose taps that are not inside it",
            )

    def refusal(self, why: str, fix: str | None = None) -> RecordError:
        frame = sys._getframe(1)
        own = (__file__, torch.__path__[0])
        while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
            frame = frame.f_back
        file, line = frame.f_code.co_filename, frame.f_lineno
        text = linecache.getline(file, line).strip()
        module = self.scope[-1] or type(self.module).__name__
        return RecordError(
            f"{module}: {why} at {file}:{line} in {frame.f_code.co_name}" + (f": {text}" if text else ""),
            fix=fix or f"choose taps outside of {module}, or move the statement into a submodule without taps",
        )


@functools.cache
def _applied(function: Any) -> Callable[..., Any]:
    """``function.apply`` as a plain function, the same one each time: generated code can name it."""

    def apply(*args: Any, **kwargs: Any) -> Any:
        return function.apply(*args, **kwargs)

    apply.__name__ = apply.__qualname__ = f"{function.__name__}_apply"
    apply.__module__ = function.__module__
    return apply


@contextlib.contextmanager
def _patched_autograd_functions(recorder: _Recorder) -> Iterator[None]:
    """Record ``torch.autograd.Function.apply`` in ancestor code as one node, so that its backward is kept."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        bound = original.__get__(None, cls)
        if recorder.paused:
            return bound(*args, **kwargs)
        if cls.__module__ == "torch.utils.checkpoint":
            raise recorder.refusal("activation checkpointing, which a graph can't hold", "switch it off for the modules above the taps")
        nodes = recorder.as_node(args), recorder.as_node(kwargs)
        recorder.paused = True
        try:
            value = bound(*plain(args), **plain(kwargs))
        finally:
            recorder.paused = False
        return recorder.remember(value, recorder.graph.call_function(_applied(cls), *nodes))

    torch.autograd.Function.apply = classmethod(apply)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


def _type(value: Tensor) -> ValueType:
    return type_of_shape(value.shape[1:], floating=value.dtype.is_floating_point)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if isinstance(value, Mapping):
        return any(_holds_tensors(part) for part in value.values())
    return isinstance(value, Sequence) and not isinstance(value, str) and any(_holds_tensors(part) for part in value)
