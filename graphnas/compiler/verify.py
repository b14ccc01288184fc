"""Is a recording right? It is compared with the module itself, bit for bit, and the module is left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_sequence, is_slice, is_tuple
from graphnas.compiler.torch_typed import own_buffers, random_state_kept, seed
from graphnas.errors import RecordError


def batch_of(arguments: Mapping[str, Tensor]) -> int:
    return next(iter(arguments.values())).shape[0]


def larger(arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same inputs with one more sample."""
    return {name: torch.cat([value, value[:1]]) for name, value in arguments.items()}


def _resized(arguments: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """One sample of the same images at larger sizes, once wider and once taller; none where no input is an image."""
    if not any(value.dim() == 4 for value in arguments.values()):
        return []
    return [
        {
            name: torch.nn.functional.pad(value[:1], (0, right, 0, down)) if value.dim() == 4 else value[:1]
            for name, value in arguments.items()
        }
        for right, down in ((64, 32), (32, 64))
    ]


@contextlib.contextmanager
def untouched(module: nn.Module) -> Generator[None]:
    """Leave buffers, modes, and the random state as they were."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    buffers = [
        (submodule, name, buffer, buffer.detach().clone())
        for submodule in module.modules()
        for name, buffer in own_buffers(submodule).items()
        if buffer is not None
    ]
    try:
        with random_state_kept(_devices(module)):
            yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode
        with torch.no_grad():
            for submodule, name, buffer, value in buffers:
                own_buffers(submodule)[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _devices(module: nn.Module) -> list[int]:
    return sorted({parameter.device.index for parameter in module.parameters() if parameter.is_cuda})


def shape_of(graph: fx.Graph) -> list[Any]:
    """What a graph computes, apart from names: each node's operation, target and arguments, nodes by position."""
    order = {node: i for i, node in enumerate(graph.nodes)}

    def plain(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return ("node", order[value])
        if is_tuple(value) or is_list(value):
            return type(value).__name__, [plain(part) for part in value]
        if is_mapping(value):
            return {key: plain(part) for key, part in value.items()}
        return ("slice", plain(value.start), plain(value.stop), plain(value.step)) if is_slice(value) else value

    return [
        (node.op, node.target if node.op != "output" else "", plain(tuple(node.args)), plain(dict(node.kwargs))) for node in graph.nodes
    ]


def require_same(module: nn.Module, evaluated: fx.Graph, trained: fx.Graph) -> None:
    first, second = shape_of(evaluated), shape_of(trained)
    for one, other in zip(first, second, strict=False):
        if one != other:
            raise RecordError(
                f"{type(module).__name__} takes another way in train mode than in eval mode: {_words(one)} against {_words(other)}",
                fix="move the difference into a submodule that has no taps inside",
            )
    if len(first) != len(second):
        longer = max(first, second, key=len)
        more = _words(longer[min(len(first), len(second))])
        raise RecordError(
            f"{type(module).__name__} takes another way in train mode than in eval mode: only one has {more}",
            fix="move the difference into a submodule that has no taps inside",
        )


def _words(entry: Any) -> str:
    return f"{entry[0]} {getattr(entry[1], '__name__', entry[1])}".strip()


def verify(module: nn.Module, graph: fx.Graph, arguments: Mapping[str, Tensor]) -> bool:
    """Compare the recording with the module: eval with one more sample, train with one seed. Returns whether other sizes go wrong."""
    replayed = fx.GraphModule(module, graph)
    with untouched(module):
        for training in (False, True):
            module.train(training)
            replayed.train(training)
            _compare(module, replayed, arguments, "train" if training else "eval")
        module.eval()
        replayed.eval()
        return any(_differs(module, replayed, other) for other in _resized(arguments))


def _compare(module: nn.Module, replayed: nn.Module, arguments: Mapping[str, Tensor], mode: str) -> None:
    """Require the same result, and the same buffers afterwards, with one more sample (if the module takes it) and one seed."""
    number = int(mode == "train")  # two seeds: what Python's own random numbers decide is likely to differ
    for given in (larger(arguments), arguments):
        with untouched(module):
            expected = _run(module, given, number)
            state = _copied_buffers(module)
        if expected is not None:
            break
    with untouched(module):
        found = _run(replayed, given, number)
        after = _copied_buffers(module)
    for name, value in after.items():
        if not _equal(value, state.get(name)):
            raise RecordError(
                f"{type(module).__name__} assigns a new tensor to its buffer {name!r}, which a graph can't hold",
                fix=f"change it in place (self.{name.rpartition('.')[2]}.copy_(...)), or choose taps outside of the module that has it",
            )
    if not _equal(expected, found):
        raise RecordError(
            f"the recording of {type(module).__name__} differs from the module in {mode} mode"
            f" with {batch_of(given)} samples: its forward depends on something that a graph can't hold",
            fix="choose taps nearer to the top of the module",
        )


def _differs(module: nn.Module, replayed: nn.Module, arguments: Mapping[str, Tensor]) -> bool:
    """Whether the module takes these inputs, and the recording gives something else."""
    with untouched(module):
        expected = _run(module, arguments)
        return expected is not None and not _equal(expected, _run(replayed, arguments))


def _run(module: nn.Module, arguments: Mapping[str, Tensor], number: int = 0) -> Any:
    """The result of one run with this seed; ``None`` where it fails."""
    seed(number)
    try:
        with torch.no_grad():
            return module(**arguments)
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError):
        return None


def _copied_buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().clone() for name, buffer in module.named_buffers()}


def _equal(first: Any, second: Any) -> bool:
    one, other = leaves(first), leaves(second)
    return len(one) == len(other) and all(
        torch.equal(a, b) or (a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True))
        for a, b in zip(one, other, strict=True)
    )


def leaves(value: Any) -> list[Tensor]:
    """The tensors in what a module returned."""
    if isinstance(value, Tensor):
        return [value]
    parts: Iterable[Any] = ()
    if is_mapping(value):  # also the outputs of Hugging Face models
        parts = value.values()
    elif (named := fields_of(value)) is not None:
        parts = named.values()
    elif is_sequence(value):
        parts = value
    return [leaf for part in parts for leaf in leaves(part)]
