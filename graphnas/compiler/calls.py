"""What runs when a module runs: calls of submodules and of torch functions in their forwards, and the names of what these make.

A submodule's value bears the submodule's path. The value of a function bears the path of the module whose forward calls it and the
function's name, the second of a call of the module with ``_1``, and so on: ``layer3.1.add``, ``blocks.4.add_1``. Operators are named as
the functions they stand for, and what works in place as what does not: ``+``, ``+=`` and ``torch.add`` are all ``add``.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from graphnas.compiler import intercept
from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_sequence, is_tuple
from graphnas.compiler.torch_typed import paths_of, sizes_of
from graphnas.graph.types import Other, ValueType, type_of_shape

_OPERATORS = {"rdiv": "div", "truediv": "div", "rsub": "sub", "rpow": "pow", "rfloordiv": "floordiv", "rmatmul": "matmul"}


@dataclass(frozen=True)
class Call:
    """One call of a submodule, or of a torch function that a module's forward calls.

    Args:
        path: The submodule's path, or the value's name.
        type: The type of what it returned, if that is a tensor; of one that has not one value a sample, ``Other`` with all sizes.
        kind: The class of what it returned.
        parts: Key -> type of the tensors in it, if it returned several values.
        function: Whether it is a function's.
        reads: Positions in the log of the calls that returned what it was given; to a submodule, not what it was given in a list.
    """

    path: str
    type: ValueType | None
    kind: str
    parts: Mapping[int | str, ValueType]
    function: bool = False
    reads: tuple[int, ...] = ()

    def part(self, key: int | str | None) -> ValueType | None:
        """The type of a part of the result; of the whole, for ``None``."""
        return self.type if key is None else self.parts.get(key)


class ValueNames:
    """Names the values of functions while a module runs: told when a submodule's forward begins and ends.

    Args:
        paths: Of all submodules; a name that one of them has is passed over.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._running: list[tuple[str, Counter[str]]] = [("", Counter())]

    def enter(self, path: str) -> None:
        self._running.append((path, Counter()))

    def leave(self) -> None:
        self._running.pop()

    def next(self, function: str) -> str:
        """The name of the value that a function has just made in the innermost forward."""
        path, counts = self._running[-1]
        base = _plain_name(function)
        while True:
            last = f"{base}_{counts[base]}" if counts[base] else base
            counts[base] += 1
            if (name := f"{path}.{last}" if path else last) not in self._paths:
                return name


def _plain_name(function: str) -> str:
    name = function.strip("_") if function.startswith("__") else function.removesuffix("_") or function
    return _OPERATORS.get(name, name)


def run_log(module: nn.Module, arguments: Mapping[str, Any]) -> list[Call]:
    """Every call of one run, in order of return: what a tap's glob is matched with."""
    log = _Log(module, next((value.shape[0] for value in arguments.values() if isinstance(value, Tensor)), 0))
    with intercept.module_calls(log.call, module), intercept.autograd_functions(log.apply), torch.no_grad(), log:
        module(**arguments)
    return log.calls


class _Log(TorchFunctionMode):
    def __init__(self, module: nn.Module, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.paths = {id(submodule): path for path, submodule in paths_of(module) if path}
        self.names = ValueNames(self.paths.values())
        self.calls: list[Call] = []
        self.makers: dict[int, tuple[weakref.ref[Tensor], tuple[int, ...]]] = {}
        self.paused = False

    def call(self, original: Callable[..., Any], called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self.paths.get(id(called))
        if path is None or self.paused:
            return original(called, *args, **kwargs)
        reads = self.reads(*args, *kwargs.values())
        self.names.enter(path)
        value = original(called, *args, **kwargs)
        self.names.leave()
        self.note(path, value, reads, function=False)
        return value

    def apply(self, original: Callable[..., Any], function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A custom autograd function is one call, as it is to a recorder; but not checkpointing, for what is inside to have a name."""
        if self.paused or function.__module__ == "torch.utils.checkpoint":
            return original(*args, **kwargs)
        reads = self.reads(*tensors_in((args, kwargs)))
        self.paused = True
        try:
            value = original(*args, **kwargs)
        finally:
            self.paused = False
        return self.named(function.__name__, value, reads)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        reads = self.reads(*tensors_in((args, kwargs)))
        name = getattr(func, "__name__", str(func))
        return self.named(func.__self__.__name__ if name == "__get__" else name, func(*args, **kwargs), reads)

    def named(self, function: str, value: Any, reads: tuple[int, ...]) -> Any:
        if holds_tensors(value):
            self.note(self.names.next(function), value, reads, function=True)
        return value

    def note(self, path: str, value: Any, reads: tuple[int, ...], *, function: bool) -> None:
        position = len(self.calls)
        parts = tensor_parts(value)
        self.calls.append(
            Call(
                path,
                self.type(value) if isinstance(value, Tensor) else None,
                type(value).__name__,
                {key: self.type(part) for key, part in parts.items()},
                function,
                reads,
            )
        )
        for tensor in [value] if isinstance(value, Tensor) else parts.values():
            known = () if function else self.made_by(tensor)  # a module hands on what functions inside it made
            self.makers[id(tensor)] = weakref.ref(tensor), (*known, position)

    def type(self, value: Tensor) -> ValueType:
        """The type of a value; one that does not hold one part a sample, such as windows, is of none that has a name."""
        sizes = sizes_of(value)
        return (type_of_value(value) if sizes[:1] == (self.samples,) else None) or Other(sizes)

    def reads(self, *given: Any) -> tuple[int, ...]:
        return tuple(position for value in given if isinstance(value, Tensor) for position in self.made_by(value))

    def made_by(self, tensor: Tensor) -> tuple[int, ...]:
        made, positions = self.makers.get(id(tensor), (None, ()))
        return positions if made is not None and made() is tensor else ()


def type_of_value(value: Any) -> ValueType | None:
    """The type of a value of a run, batch first; ``None`` if it is no tensor."""
    return type_of_shape(sizes_of(value)[1:], floating=value.dtype.is_floating_point) if isinstance(value, Tensor) else None


def tensor_parts(value: Any) -> dict[int | str, Tensor]:
    """The tensors that stand directly in a tuple, list, mapping or dataclass, by key."""
    parts: Any = {}
    if is_mapping(value):
        parts = value
    elif (named := fields_of(value)) is not None:
        parts = named
    elif is_tuple(value) or is_list(value):
        parts = dict(enumerate(value))
    return {key: part for key, part in parts.items() if isinstance(part, Tensor)}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, at any depth."""
    if isinstance(value, Tensor):
        yield value
    elif type(value) in (tuple, list):  # first, as it is nearly always
        for part in value:
            yield from tensors_in(part)
    elif is_mapping(value) or is_sequence(value):
        for part in value.values() if is_mapping(value) else value:
            yield from tensors_in(part)


def holds_tensors(value: Any) -> bool:
    """Whether a value is or holds a tensor; sizes and answers about types do not."""
    return next(tensors_in(value), None) is not None
