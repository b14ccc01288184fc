"""``Branch``: a user's network, recorded as deep as its taps need."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.meta import type_of
from graphnas.compiler.record import Call, Recording, record, run_log
from graphnas.compiler.taps import TapRequest, resolve_taps, tap_type
from graphnas.errors import RecordError, suggest
from graphnas.graph.graph import Graph, Node, Tap
from graphnas.graph.types import ValueType
from graphnas.spec.network import NetworkSpec, TapSpec

_DEFAULT_OUTPUTS = ("prediction", "logits", "out", "sample")  # names under which models are known to return their prediction


@dataclass(frozen=True, eq=False)
class Branch:
    """The single-task network of one task, recorded; the module itself stays the user's and is not changed.

    Args:
        module: The user's module, as given.
        recorded: Its graph; targets are relative to the module. One ``call_module`` node for every module that holds no tap below it.
        example: The inputs it was recorded with, by name, batch first.
        prediction: The node that holds the prediction.
        taps: In order of execution.
        tap_nodes: Name of each tap -> its node in ``recorded``.
        changed: Names of the taps whose value the network itself later changes in place.
        fixed_size: Whether the recording is only right at the example's sizes (apart from the batch).
        graph: The same as plain data.
        spec: The network spec that it was built from, if it was.
        output: Which of the module's outputs is the prediction, if it returns several.
        rebuild: Makes a fresh network of the same kind, if that is known how.
    """

    module: nn.Module
    recorded: fx.Graph
    example: Mapping[str, Tensor]
    prediction: fx.Node
    taps: tuple[Tap, ...]
    tap_nodes: Mapping[str, fx.Node]
    changed: frozenset[str]
    fixed_size: bool
    graph: Graph
    spec: NetworkSpec | None = None
    output: str | int | None = None
    rebuild: Callable[[], nn.Module] | None = None

    @staticmethod
    def from_module(
        module: nn.Module,
        *,
        taps: Mapping[str, Any],
        example: Tensor | Mapping[str, Tensor],
        output: str | int | None = None,
        spec: NetworkSpec | None = None,
        rebuild: Callable[[], nn.Module] | None = None,
    ) -> Branch:
        """Record a module.

        Args:
            module: Any module. Its buffers, mode and the random state are left as they were; its parameters are shared, not copied.
            taps: Stage -> globs of submodule names (or what a spec's ``taps:`` holds: ``{match, split, class, output, layout}``).
            example: The forward's first argument, (N, ...), or its arguments by name.
            output: Which of the outputs is the prediction, if the module returns several: a name, or an index.
            spec: The network spec that the module was built from; its lines are named in messages.
            rebuild: Makes a fresh module of the same kind; left out, a copy of this one is taken where one is needed.
        Returns:
            The branch, checked: bitwise equal to the module in eval and train mode, and with another batch size.
        Raises:
            RecordError: A tap that is not there, or a forward that a graph can't hold; names the line and why.
        """
        arguments = _arguments(module, example)
        with _untouched(module):
            module.eval()
            log = run_log(module, arguments)
            requests = resolve_taps(module, {stage: TapSpec.model_validate(tap) for stage, tap in taps.items()}, log, spec)
            ancestors = frozenset(_ancestors(request.name for request in requests))
            recording = record(module, arguments, ancestors=ancestors)
        with _untouched(module):
            module.train()
            trained = record(module, _larger(arguments) if _batch(arguments) == 1 else arguments, ancestors=ancestors)
        _require_same(module, recording.graph, trained.graph)
        fixed_size = _verify(module, recording.graph, arguments)
        tap_nodes = {request.name: _tap_node(recording, request, log) for request in requests}
        _require_distinct(tap_nodes, requests)
        names = _names(recording.graph)
        found = tuple(
            Tap(request.stage, request.index, request.name, names[tap_nodes[request.name]], tap_type(tap_nodes[request.name], request), request.where)
            for request in requests
        )  # fmt: skip
        recorded = recording.graph
        prediction = _prediction(recorded, output, module)
        return Branch(
            module, recorded, arguments, prediction, found, tap_nodes,
            (recording.changed | trained.changed) & tap_nodes.keys(), fixed_size,
            _graph(module, recorded, names, found, prediction), spec, output, rebuild,
        )  # fmt: skip

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the forward's order."""
        return tuple(str(node.target) for node in self.recorded.nodes if node.op == "placeholder")

    @property
    def ancestors(self) -> frozenset[str]:
        """Paths of the modules that were looked into, ``""`` for the module itself."""
        return frozenset(_ancestors(self.tap_nodes))

    def prediction_of(self, returned: Any) -> Tensor:
        """The prediction in what the module returns."""
        if isinstance(returned, Tensor):
            return returned
        parts = _parts(returned)
        found = parts[_chosen(parts, self.output)]
        assert isinstance(found, Tensor)
        return found

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one forward of one sample, as torch's flop counter counts them."""
        from graphnas.compiler.macs import count_macs

        with _untouched(self.module):
            return count_macs(self.module.eval(), self.example)


def _arguments(module: nn.Module, example: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    known = list(inspect.signature(module.forward).parameters)
    if isinstance(example, Tensor):
        if not known:
            raise RecordError(f"{type(module).__name__}.forward takes no argument", fix="give it an input")
        return {known[0]: example}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(module.forward).parameters.values())
    for name in example:
        if name not in known and not takes_any:
            raise RecordError(f"{type(module).__name__}.forward takes no argument {name!r}", fix=suggest(name, known))
    return dict(example)


def _ancestors(names: Any) -> set[str]:
    found = {""}
    for name in names:
        parts = name.split(".")
        found.update(".".join(parts[:i]) for i in range(1, len(parts)))
    return found


def _batch(arguments: Mapping[str, Tensor]) -> int:
    return next(iter(arguments.values())).shape[0]


def _larger(arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same inputs with one more sample."""
    return {name: torch.cat([value, value[:1]]) for name, value in arguments.items()}


def _resized(arguments: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """One sample of the same images, 32 pixels larger each way; ``None`` where no input is an image."""
    if not any(value.dim() == 4 for value in arguments.values()):
        return None
    return {
        name: torch.nn.functional.pad(value[:1], (0, 32, 0, 32)) if value.dim() == 4 else value[:1]
        for name, value in arguments.items()
    }


@contextlib.contextmanager
def _untouched(module: nn.Module) -> Iterator[None]:
    """Leave buffers, modes, and the random state as they were."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    buffers = [
        (submodule, name, buffer, buffer.detach().clone())
        for submodule in module.modules()
        for name, buffer in submodule._buffers.items()
        if buffer is not None
    ]
    try:
        with torch.random.fork_rng(devices=_devices(module)):
            yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode
        with torch.no_grad():
            for submodule, name, buffer, value in buffers:
                submodule._buffers[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _devices(module: nn.Module) -> list[int]:
    return sorted({p.device.index for p in module.parameters() if p.device.type == "cuda" and p.device.index is not None})


def shape_of(graph: fx.Graph) -> list[Any]:
    """What a graph computes, apart from names: each node's operation, target and arguments, nodes by position."""
    order = {node: i for i, node in enumerate(graph.nodes)}

    def plain(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return ("node", order[value])
        if isinstance(value, (tuple, list)):
            return type(value).__name__, [plain(part) for part in value]
        if isinstance(value, Mapping):
            return {key: plain(part) for key, part in value.items()}
        return ("slice", plain(value.start), plain(value.stop), plain(value.step)) if isinstance(value, slice) else value

    return [(node.op, node.target if node.op != "output" else "", plain(tuple(node.args)), plain(dict(node.kwargs))) for node in graph.nodes]


def _require_same(module: nn.Module, evaluated: fx.Graph, trained: fx.Graph) -> None:
    first, second = shape_of(evaluated), shape_of(trained)
    for one, other in zip(first, second, strict=False):
        if one != other:
            raise RecordError(
                f"{type(module).__name__} takes another way in train mode than in eval mode: {_words(one)} against {_words(other)}",
                fix="move the difference into a submodule that has no taps inside",
            )
    if len(first) != len(second):
        longer = max(first, second, key=len)
        raise RecordError(
            f"{type(module).__name__} takes another way in train mode than in eval mode: only one has {_words(longer[min(len(first), len(second))])}",
            fix="move the difference into a submodule that has no taps inside",
        )


def _words(entry: Any) -> str:
    return f"{entry[0]} {getattr(entry[1], '__name__', entry[1])}"


def _verify(module: nn.Module, graph: fx.Graph, arguments: Mapping[str, Tensor]) -> bool:
    """Compare the recording with the module: eval with one more sample, train with one seed. Returns whether other sizes go wrong."""
    replayed = fx.GraphModule(module, graph)
    for training in (False, True):
        given = _larger(arguments)
        with _untouched(module):
            module.train(training)
            replayed.train(training)
            expected = _run(module, given)
        if expected is None:  # the module itself can't do this batch size
            given = dict(arguments)
            with _untouched(module):
                expected = _run(module.train(training), given)
        with _untouched(module):
            module.train(training)
            replayed.train(training)
            found = _run(replayed, given)
        if not _equal(expected, found):
            raise RecordError(
                f"the recording of {type(module).__name__} differs from the module in {'train' if training else 'eval'} mode"
                f" with {_batch(given)} samples: its forward depends on something that a graph can't hold",
                fix="choose taps nearer to the top of the module",
            )
    other = _resized(arguments)
    if other is None:
        return True
    with _untouched(module):
        module.eval()
        replayed.eval()
        expected = _run(module, other)
        return expected is None or not _equal(expected, _run(replayed, other))


def _run(module: nn.Module, arguments: Mapping[str, Tensor]) -> Any:
    """The result of one run with a fixed seed; ``None`` where it fails."""
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            return module(**arguments)
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError):
        return None


def _equal(first: Any, second: Any) -> bool:
    one, other = leaves(first), leaves(second)
    return len(one) == len(other) and all(
        torch.equal(a, b) or (a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True))
        for a, b in zip(one, other, strict=True)
    )


def leaves(value: Any) -> list[Tensor]:
    """The tensors in what a module returned."""
    if isinstance(value, Mapping):
        value = list(value.values())  # also the outputs of Hugging Face models
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [leaf for part in value for leaf in leaves(part)]
    return [value] if isinstance(value, Tensor) else []


def _tap_node(recording: Recording, request: TapRequest, log: Sequence[Call]) -> fx.Node:
    if request.select is not None:
        return _selected(recording, request)
    node = recording.values.get(request.name)
    if node is None:
        [value] = [call.value for call in log if call.path == request.name]
        parts = ", ".join(str(key) for key in value) if isinstance(value, Mapping) else f"0 to {len(value) - 1}" if isinstance(value, Sequence) else ""
        raise RecordError(
            f"tap {request.name!r} returns a {type(value).__name__}, not a tensor",
            where=request.where,
            fix=f"name one of its parts: {{match: {request.name}, output: KEY}} with KEY {parts}" if parts else "tap a submodule that returns a tensor",
        )  # fmt: skip
    return node


def _require_distinct(tap_nodes: Mapping[str, fx.Node], requests: Sequence[TapRequest]) -> None:
    seen: dict[fx.Node, str] = {}
    for request in requests:
        if (other := seen.setdefault(tap_nodes[request.name], request.name)) != request.name:
            raise RecordError(f"taps {other!r} and {request.name!r} are the same value", where=request.where, fix="name one of them")


def _selected(recording: Recording, request: TapRequest) -> fx.Node:
    import operator

    for node in recording.graph.nodes:
        if node.op == "call_function" and node.target in (operator.getitem, getattr) and len(node.args) == 2:
            made, key = node.args
            if isinstance(made, fx.Node) and made.target == request.name and key == request.select and type_of(node) is not None:
                return node
    raise RecordError(
        f"tap {request.name!r} has no output {request.select!r} that the network reads", where=request.where, fix="name a part that is a tensor and is read"
    )


def _prediction(graph: fx.Graph, output: str | int | None, module: nn.Module) -> fx.Node:
    [returned] = graph.output_node().args
    if isinstance(returned, fx.Node):
        parts = {0: returned} if type_of(returned) is not None else dict(returned.kwargs)  # a class of outputs, built from keyword arguments
    else:
        parts = _parts(returned)
    tensors = {key: part for key, part in parts.items() if isinstance(part, fx.Node) and type_of(part) is not None}
    chosen = _chosen(tensors, output)
    if chosen is None:
        wanted = "" if output is None else f"has no output {output!r}; it "
        raise RecordError(
            f"{type(module).__name__} {wanted}returns {len(tensors)} tensors: {', '.join(map(str, tensors))}",
            fix="say which is the prediction: output=" + (repr(next(iter(tensors))) if tensors else "NAME"),
        )
    return tensors[chosen]


def _parts(returned: Any) -> dict[Any, Any]:
    """The named, or numbered, parts of what a module returns."""
    if isinstance(returned, Mapping):
        return dict(returned)
    if hasattr(returned, "__dataclass_fields__"):
        return {name: getattr(returned, name) for name in returned.__dataclass_fields__}
    return dict(enumerate(returned)) if isinstance(returned, (tuple, list)) else {}


def _chosen(parts: Mapping[Any, Any], output: str | int | None) -> Any:
    """The key of the prediction; ``None`` if it is not clear."""
    tensors = [key for key, part in parts.items() if isinstance(part, (Tensor, fx.Node))]
    if output is not None:
        return output if output in tensors else None
    named = [name for name in _DEFAULT_OUTPUTS if name in tensors]
    return tensors[0] if len(tensors) == 1 else named[0] if named else None


def _names(graph: fx.Graph) -> dict[fx.Node, str]:
    """A name of each node in the typed graph: the submodule's path if it is called once, else the FX name."""
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    return {
        node: str(node.target) if node.op == "placeholder" or (node.op == "call_module" and calls[str(node.target)] == 1) else f"%{node.name}"
        for node in graph.nodes
        if node.op != "output"
    }


def _graph(module: nn.Module, graph: fx.Graph, names: Mapping[fx.Node, str], taps: tuple[Tap, ...], prediction: fx.Node) -> Graph:
    counted: set[int] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "output":
            continue
        parameters, op = 0, "input" if node.op == "placeholder" else str(getattr(node.target, "__name__", node.target))
        if node.op == "call_module":
            submodule = module.get_submodule(str(node.target))
            op = type(submodule).__name__
            parameters = sum(p.numel() for p in submodule.parameters() if id(p) not in counted and not counted.add(id(p)))
        elif node.op == "get_attr":
            op = "parameter"
        nodes.append(Node(names[node], op, tuple(dict.fromkeys(names[i] for i in node.all_input_nodes)), _value_type(node), parameters))
    return Graph(tuple(nodes), {"prediction": names[prediction]}, taps)


def _value_type(node: fx.Node) -> ValueType | None:
    return type_of(node)
