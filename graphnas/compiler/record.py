"""Record one real run of a module as a graph: ``nn.Module`` x example inputs -> ``torch.fx.Graph``.

The forward of every *ancestor* of a wanted value runs as the user wrote it; each module below becomes one ``call_module`` node, and each
torch function that ancestor code calls becomes a node of its own. Values are recognized by the identity of their tensors, sizes by an
``int`` that records its arithmetic (so the batch size stays dynamic), and an ancestor's ``training`` by a flag that is read again at run
time. All Python just works, since it is run, not traced; what would be baked in silently (a branch on data, ``no_grad``, autocast) is
refused with its source line.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from graphnas.compiler import intercept
from graphnas.compiler.caches import without_cache
from graphnas.compiler.calls import ValueNames, holds_tensors, tensor_parts
from graphnas.compiler.numbers import RecordedFlag, Value, plain
from graphnas.compiler.refusal import Refusal
from graphnas.compiler.torch_typed import has_hooks, is_tensor_method, paths_of, version_of, why_opaque
from graphnas.compiler.user_code import failed_line, running_line
from graphnas.compiler.values import Values

__all__ = ["Recording", "record"]

_DATA_DEPENDENT = {
    "__bool__", "__int__", "__float__", "__index__", "__contains__", "__complex__",
    "item", "tolist", "numpy", "is_nonzero", "equal", "allclose",
}  # fmt: skip
_MOVE = "move the statement into a submodule that has no taps inside"
_SIZES = {"size", "numel", "nelement", "dim", "ndimension", "stride", "storage_offset", "__len__", "element_size"}


@dataclass
class Recording:
    """What a run leaves behind.

    Args:
        graph: The run; targets are relative to the module, the output is the forward's own.
        values: Path of each submodule at or above the recorded level, and name of each value there -> the node of its (last) result, for
            every result that is a tensor.
        parts: Such a path or name, and the key of a part of its result -> the node of that part, where something reads it.
        changed: Those among them whose tensor something later changed in place; the key is ``None`` for a whole result.
    """

    graph: fx.Graph
    values: dict[str, fx.Node]
    parts: dict[tuple[str, int | str], fx.Node]
    changed: frozenset[tuple[str, int | str | None]]


def record(module: nn.Module, arguments: Mapping[str, Any], *, ancestors: frozenset[str]) -> Recording:
    """Record one run.

    Args:
        module: The module; runs in the mode that it is in. Buffers may change, as in any run.
        arguments: Keyword arguments of its forward; tensors among them become placeholders of that name.
        ancestors: Paths of the modules to look into (``""`` is the module itself); the others become one node each.
    Raises:
        Refusal: Something that a graph can't hold; names the module, the source line and why.
    """
    return _Recorder(module, ancestors).run(arguments)


def refuse_opaque(path: str, module: nn.Module) -> None:
    """Refuse to take a forward apart around which something happens that a graph would lose."""
    why = why_opaque(module) or (("has hooks, and its forward would be taken apart", "remove the hooks") if has_hooks(module) else None)
    if why is not None:
        raise Refusal(f"{path or 'the module'} ({type(module).__name__}) {why[0]}", path=path, otherwise=why[1])


def _paths(module: nn.Module) -> dict[int, str]:
    return {id(submodule): path for path, submodule in paths_of(module)}


class _Recorder(TorchFunctionMode):
    def __init__(self, module: nn.Module, ancestors: frozenset[str]) -> None:
        super().__init__()
        self.module = module
        self.values = Values(module, self.refusal)
        self.graph = self.values.graph
        self.scope = self.graph.scope
        self.paths = _paths(module)
        self.ancestors = ancestors
        self.paused = False
        self.refused: Refusal | None = None
        self.names = ValueNames(self.paths.values())
        self.results: dict[tuple[str, int | str | None], tuple[Value, Tensor, int]] = {}

    # -- the run

    def run(self, arguments: Mapping[str, Any]) -> Recording:
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                self.values.keep(value, self.graph.placeholder(name))
        flagged = [(path, submodule) for path, submodule in paths_of(self.module) if path in self.ancestors]
        for path, submodule in flagged:
            refuse_opaque(path, submodule)
        modes = [(submodule, submodule.training) for _, submodule in flagged]
        result: Any = None
        try:
            for path, submodule in flagged:
                submodule.training = RecordedFlag(submodule.training, self.values, path)  # pyright: ignore[reportAttributeAccessIssue]
            with self.listening(modes[0][1]):
                result = self.module(**arguments)
        except Exception as error:
            if self.refused is None:
                raise self.failure(error) from error
        finally:
            for submodule, mode in modes:
                submodule.training = mode
        if self.refused is not None:  # also where code of the user's caught it
            raise self.refused
        self.graph.output(self.values.as_output(result))
        return self.recording()

    def recording(self) -> Recording:
        changed = frozenset(key for key, (_, tensor, version) in self.results.items() if version_of(tensor) != version)
        made = {key: value.node for key, (value, _, _) in self.results.items() if value.node is not None}
        whole = {path: node for (path, key), node in made.items() if key is None}
        return Recording(self.graph, whole, {(path, key): node for (path, key), node in made.items() if key is not None}, changed)

    @contextlib.contextmanager
    def listening(self, training: bool) -> Generator[None]:
        with (
            intercept.module_calls(self.call, self.module), intercept.autograd_functions(self.apply), intercept.regions(self.enter),
            intercept.grad_mode(lambda: training and not self.paused), torch.no_grad(), self,
        ):  # fmt: skip
            yield

    def call(self, original: Callable[..., Any], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self.paths.get(id(module))
        if self.paused or path is None:
            return original(module, *args, **kwargs)
        if path in self.ancestors:
            self.scope.append(path)
            self.names.enter(path)
            value = original(module, *args, **kwargs)
            self.names.leave()
            self.scope.pop()
        else:
            value = self.noted(lambda *nodes: self.graph.call_module(path, *nodes), original, args, kwargs, module)
        self.log(path, value)
        return value

    def apply(self, original: Callable[..., Any], function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A custom autograd function in ancestor code is one node, so that its backward is kept."""
        if self.paused:
            return original(*args, **kwargs)
        if function.__module__ == "torch.utils.checkpoint":
            self.enter("activation checkpointing")
        value = self.noted(lambda *nodes: self.graph.call_function(intercept.applied(function), *nodes), original, args, kwargs)
        return self.named(function.__name__, value)

    def noted(
        self, make: Callable[..., fx.Node], function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *first: Any
    ) -> Any:
        """Call something that is one node as a whole; ``first`` are arguments that the node does not have."""
        nodes, before = (self.values.as_node(args), self.values.as_node(kwargs)), self.values.versions(args, kwargs)
        self.paused = True
        try:
            value = function(*first, *plain(args), **plain(kwargs))
        finally:
            self.paused = False
        made = self.values.remember(value, self.values.noted(make(*nodes), value, before))
        self.values.note_caches()
        return made

    def log(self, path: str, value: Any) -> None:
        self.values.node_of(value)  # made here, where its maker returns it
        for key, part in {None: value, **tensor_parts(value)}.items():
            if isinstance(part, Tensor) and (known := self.values.known.get(id(part))) is not None:
                self.results[path, key] = known, part, version_of(part)

    def named(self, function: str, value: Any) -> Any:
        if holds_tensors(value):
            self.log(self.names.next(function), value)
        return value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # a property: x.shape
            return self.read(func.__self__.__name__, func, args)
        if name == "_set_grad_enabled":
            self.enter("a no_grad or enable_grad region")
        if name in _DATA_DEPENDENT:
            raise self.refusal(
                f"data-dependent Tensor.{name}()" if name != "equal" else "data-dependent torch.equal()", data_dependent=True
            )
        before = self.values.versions(args, kwargs)
        value = func(*plain(args), **plain(kwargs))
        if name in _SIZES:
            return self.values.sizes(value, lambda: self.function(func, name, args, kwargs))
        if not holds_tensors(value) and all(version_of(tensor) == version for tensor, version in before):
            return value  # is_floating_point(), promote_types(), ...: a fact of the types, not of the data
        node = self.values.noted(self.function(func, name, args, kwargs), value, before)
        return self.named(name, self.values.remember(value, node))

    def read(self, name: str, func: Any, args: Any) -> Any:
        value = func(*args)

        def make() -> fx.Node:
            return self.graph.call_function(getattr, (self.values.as_node(args[0]), name))

        if name in ("shape", "ndim"):
            return self.values.sizes(value, make)
        if isinstance(value, torch.device):
            self.values.device(value, make)
            return value
        return self.named(name, self.values.remember(value, make())) if isinstance(value, Tensor) else value  # x.T; dtypes are facts

    def function(self, func: Any, name: str, args: Any, kwargs: Any) -> fx.Node:
        nodes = self.values.as_node(args), self.values.as_node(kwargs)
        if name in ("__getitem__", "__setitem__"):
            return self.graph.call_function(getattr(operator, name.strip("_")), *nodes)
        if getattr(torch.Tensor, name, None) is func or is_tensor_method(func):
            return self.graph.call_method(name, *nodes)
        return self.graph.call_function(func, *nodes)

    # -- refusals

    def enter(self, region: str) -> None:
        """A region begins whose meaning would be lost: refused, unless a module below the recorded level has it."""
        if self.paused:
            return
        if region == "activation checkpointing":
            raise self.refusal(f"{region}, which a graph can't hold", otherwise=_without_checkpoints(self.module))
        raise self.refusal(f"{region}, which a graph can't hold", otherwise="move it into a submodule below the taps' parents")

    def refusal(self, why: str, *, otherwise: str = _MOVE, data_dependent: bool = False) -> Refusal:
        path = self.scope[-1]
        if "Cache, which" in why:  # of keys and values, which Hugging Face models hand from layer to layer
            otherwise = without_cache(self.module)
        line = running_line(_Recorder.run.__code__, self.module.get_submodule(path))
        found = Refusal(
            f"{path or type(self.module).__name__}: {why} at {line}", path=path, otherwise=otherwise, data_dependent=data_dependent
        )
        self.refused = self.refused or found
        return found

    def failure(self, error: Exception) -> Refusal:
        """What stands for an exception that the module does not raise when it runs by itself."""
        path = self.scope[-1]
        line = failed_line(error, self.module.get_submodule(path))
        return Refusal(
            f"{path or type(self.module).__name__}: {type(error).__name__} while it was recorded ({_first_line(error)}) at {line}",
            path=path,
            otherwise=_MOVE,
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["without a message"])[0]


def _without_checkpoints(module: nn.Module) -> str:
    """How checkpointing is switched off, by the ways of the libraries."""
    if hasattr(module, "set_grad_checkpointing"):
        return "switch it off: set_grad_checkpointing(False)"
    for name in ("activation_checkpointing_disable", "gradient_checkpointing_disable"):
        if hasattr(module, name):
            return f"switch it off: {name}()"
    return "switch it off in the modules above the taps"
