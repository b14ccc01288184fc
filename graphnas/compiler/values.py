"""What a recorded run computes with: Python objects -> the nodes that make them, found by the identity of the objects."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.caches import cached, empty_like, is_cache
from graphnas.compiler.calls import holds_tensors, tensors_in, type_of_value
from graphnas.compiler.meta import set_changed_inputs, set_scope, set_shared_inputs, set_type
from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_namedtuple, is_plain_dict, is_slice, is_tuple
from graphnas.compiler.numbers import RecordedFlag, RecordedFloat, RecordedInt, Value
from graphnas.compiler.torch_typed import alias_of, paths_of, storage_of, version_of
from graphnas.errors import RecordError

_CONSTANTS = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(...))
_OF_MODULES = frozenset(vars(nn.Module()))  # what torch itself keeps in every module


class ScopedGraph(fx.Graph):
    """A graph whose nodes note which module's forward made them, and which modules' ``training`` was asked for just before."""

    def __init__(self) -> None:
        super().__init__()
        self.scope = [""]
        self.asked: list[str] = []

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        set_scope(node, self.scope[-1], self.asked)
        self.asked = []
        return node


class Values:
    """The values of one run.

    Args:
        module: The module that runs; its parameters and buffers are known from the start.
        refuse: Makes the error for something that a graph can't hold.
    """

    def __init__(self, module: nn.Module, refuse: Callable[[str], RecordError]) -> None:
        self.module = module
        self.refuse = refuse
        self.graph = ScopedGraph()
        self.known: dict[int, Value] = {}
        self.caches: dict[int, list[int]] = {}  # what is in each, by identity, since a module below the recorded level last ran
        self.state = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}

    def asked(self, path: str) -> None:
        """The run looks at the ``training`` of this ancestor."""
        self.graph.asked.append(path)

    def node_of(self, value: Any) -> fx.Node | None:
        """The node of a tensor of the run, if it is one."""
        known = self.known.get(id(value)) if isinstance(value, Tensor) else None
        return None if known is None else known.resolve()

    # -- values in

    def keep(self, value: Any, node: fx.Node) -> None:
        if isinstance(value, Tensor):
            set_type(node, type_of_value(value))
        self.known[id(value)] = Value(node, version=version_of(value) if isinstance(value, Tensor) else 0, keep=value)

    def device(self, value: torch.device, make: Callable[[], fx.Node]) -> None:
        self.known[id(value)] = Value(make=make, keep=value)

    def remember(self, value: Any, node: fx.Node) -> Any:
        """Note that ``node`` makes ``value``; returns what the run goes on with."""
        if isinstance(value, Tensor):
            known = self.known.get(id(value))
            if id(value) in self.state or (known is not None and known.version == version_of(value)):
                value = alias_of(value)  # a function handed its input back (dropout in eval mode): another object tells both apart
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
            self.known[id(value)] = Value(make=self.typed(make, value), version=version_of(value), keep=value)
            return value
        if (is_tuple(value) or is_list(value) or is_mapping(value)) and holds_tensors(value):
            return self.remember(value, make())
        if is_cache(value) and id(value) not in self.known:
            self.known[id(value)] = Value(make=make, keep=value)
            self.caches[id(value)] = []
        return RecordedInt(value, make, self) if type(value) is int else value

    def typed(self, make: Callable[[], fx.Node], value: Tensor) -> Callable[[], fx.Node]:
        def made() -> fx.Node:
            node = make()
            set_type(node, type_of_value(value))
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

    # -- what is changed in place, and what shares memory

    def versions(self, *arguments: Any) -> list[tuple[Tensor, int]]:
        return [(tensor, version_of(tensor)) for tensor in tensors_in(arguments)]

    def noted(self, node: fx.Node, value: Any, before: list[tuple[Tensor, int]]) -> fx.Node:
        """The node, with notes of those of its inputs that its run changed, and of those that share memory with its value."""
        changed = {self.tensor(tensor) for tensor, version in before if version_of(tensor) != version}
        if changed:
            set_changed_inputs(node, [i for i, read in enumerate(node.all_input_nodes) if read in changed])
        made = {storage_of(tensor) for tensor in tensors_in(value)} - {None}
        shared = {self.tensor(tensor) for tensor, _ in before if storage_of(tensor) in made} if made else set[fx.Node]()
        if shared:
            set_shared_inputs(node, [i for i, read in enumerate(node.all_input_nodes) if read in shared])
        return node

    # -- nodes out

    def as_node(self, value: Any) -> Any:
        """An argument of the run as an argument of a node."""
        if isinstance(value, (RecordedInt, RecordedFloat, RecordedFlag)):
            return value.resolve()
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, torch.device):
            known = self.known.get(id(value))
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
        if is_cache(value):
            return self.cache(value)
        raise self.refuse(f"a value of type {type(value).__name__}, which a graph can't hold")

    def cache(self, value: Any) -> fx.Node:
        """A cache that the run has made, and that only modules below the recorded level have filled."""
        known = self.known.get(id(value))
        if known is None and not cached(value):
            known = self.known[id(value)] = Value(self.graph.call_function(empty_like(value)), keep=value)
            self.caches[id(value)] = []
        if known is None or [id(tensor) for tensor in cached(value)] != self.caches[id(value)]:
            raise self.refuse(f"a {type(value).__name__}, which a graph can't fill")
        return known.resolve()

    def note_caches(self) -> None:
        """A module below the recorded level has run, and may have filled caches."""
        for key in self.caches:
            self.caches[key] = [id(tensor) for tensor in cached(self.known[key].keep)]

    def tensor(self, value: Tensor) -> fx.Node:
        known = self.known.get(id(value))
        if known is None:
            name, *keys = self.attribute(value)
            node = self.graph.create_node("get_attr", name, (), {})
            for key in keys:
                node = self.graph.call_function(operator.getitem, (node, key))
            known = self.known[id(value)] = Value(node, keep=value)
            known.version = version_of(value)
            set_type(known.resolve(), type_of_value(value))
        return known.resolve()

    def attribute(self, value: Tensor) -> tuple[Any, ...]:
        """The name of a parameter, a buffer or a plain attribute that is this tensor, or of one that holds it and the keys to it there."""
        if (name := self.state.get(id(value))) is not None:
            return (name,)
        for path, submodule in paths_of(self.module):
            for name, attribute in tensor_attributes(submodule).items():
                if (keys := _keys_to(value, attribute)) is not None:
                    return f"{path}.{name}" if path else name, *keys
        raise self.refuse("a tensor made by code that can't be recorded (a scripted function, numpy, another thread)")

    def as_output(self, value: Any) -> Any:
        """What the module returns; objects of classes are built again at run time, at any depth."""
        if (named := fields_of(value)) is not None:  # also the outputs of Hugging Face models, which are dicts as well
            parts = {name: self.as_output(part) for name, part in named.items() if part is not None}
            return self.graph.call_function(value.__class__, (), parts)
        if is_plain_dict(value):
            return {key: self.as_output(part) for key, part in value.items()}
        if is_mapping(value):
            kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
            return self.graph.call_function(kind, ({str(key): self.as_output(part) for key, part in value.items()},))
        if is_tuple(value) and not isinstance(value, torch.Size):
            parts = [self.as_output(part) for part in value]
            return type(value)(*parts) if is_namedtuple(value) else tuple(parts)
        return [self.as_output(part) for part in value] if is_list(value) else self.as_node(value)


def tensor_attributes(module: nn.Module) -> dict[str, Any]:
    """The plain attributes of a module that are tensors or hold some: neither parameters nor buffers nor submodules."""
    return {name: value for name, value in vars(module).items() if name not in _OF_MODULES and holds_tensors(value)}


def _keys_to(wanted: Tensor, value: Any) -> tuple[Any, ...] | None:
    """Where a tensor is in lists, tuples and mappings; nowhere at all, where it is this very value; ``None`` if it is not there."""
    if value is wanted:
        return ()
    if is_mapping(value) or is_list(value) or is_tuple(value):
        for key, part in value.items() if is_mapping(value) else enumerate(value):
            if (keys := _keys_to(wanted, part)) is not None and isinstance(key, (str, int)):
                return (key, *keys)
    return None
