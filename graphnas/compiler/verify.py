"""Is a recording right? It is compared with the module itself, bit for bit, and the module is left as it was."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from graphnas.compiler import intercept
from graphnas.compiler.caches import cached, is_cache
from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_sequence, is_slice, is_tuple
from graphnas.compiler.record import Recording
from graphnas.compiler.refusal import Difference
from graphnas.compiler.torch_typed import is_uninitialized, own_buffers, paths_of, random_state_kept, seed


def batch_of(arguments: Mapping[str, Tensor]) -> int:
    return next(iter(arguments.values())).shape[0]


def larger(arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same inputs with one more sample."""
    return {name: torch.cat([value, value[:1]]) for name, value in arguments.items()}


_SIDE = 160  # pixels; of larger images a part tells as much about a recording, at a fraction of the cost


def has_large_images(arguments: Mapping[str, Tensor]) -> bool:
    return any(value.dim() == 4 and min(value.shape[2:]) > _SIDE for value in arguments.values())


def cropped(arguments: Mapping[str, Tensor], rows: int, columns: int) -> dict[str, Tensor]:
    """The same samples with a part of each image."""
    return {name: value[:, :, :rows, :columns] if value.dim() == 4 else value for name, value in arguments.items()}


def _first(arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[:1] for name, value in arguments.items()}


def _parts(arguments: Mapping[str, Tensor]) -> list[list[dict[str, Tensor]]]:
    """Parts of large images, of one sample, as in ``_other_sizes``; none of small ones."""
    if not has_large_images(arguments):
        return []
    return [[cropped(_first(arguments), rows, columns) for rows, columns in ((96, 64), (64, 96), (77, 61))]]


def _other_sizes(arguments: Mapping[str, Tensor]) -> list[list[dict[str, Tensor]]]:
    """One sample of the same images at other sizes; none where no input is an image.

    In groups: the first that the module takes any of tells enough. Each has a wide image, a tall one, and one of odd sides.
    """
    image = next((value for value in arguments.values() if value.dim() == 4), None)
    if image is None:
        return []
    rows, columns = image.shape[2:]
    sizes = (64 + _at_least(rows - columns), 32), (32, 64 + _at_least(columns - rows)), (13, 7)
    return [*_parts(arguments), [_padded(arguments, right, down) for right, down in sizes]]


def _at_least(pixels: int) -> int:
    """The least multiple of 32, which networks divide images by."""
    return max(-(-pixels // 32), 0) * 32


def _padded(arguments: Mapping[str, Tensor], right: int, down: int) -> dict[str, Tensor]:
    return {name: F.pad(value, (0, right, 0, down)) if value.dim() == 4 else value for name, value in _first(arguments).items()}


@contextlib.contextmanager
def untouched(module: nn.Module) -> Generator[None]:
    """Leave buffers, modes, plain attributes (a window that a smaller image made smaller), and the random state as they were."""
    plain = [(vars(submodule), _plain_attributes(submodule)) for submodule in module.modules()]
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    buffers = [
        (submodule, name, buffer, buffer.detach().clone())
        for submodule in module.modules()
        for name, buffer in own_buffers(submodule).items()
        if buffer is not None
    ]
    try:
        with random_state_kept(_devices(module)), warnings.catch_warnings():
            # what is compared needs no gradients, and what a module below has checkpointed need not say so
            warnings.filterwarnings("ignore", message="None of the inputs have requires_grad=True")
            yield
    finally:
        for attributes, kept in plain:
            for name, value in kept.items():
                if attributes.get(name) is not value:
                    attributes[name] = value
        for submodule, mode in modes:
            if submodule.training is not mode:  # setting an attribute of a module takes its time
                submodule.training = mode
        with torch.no_grad():
            for submodule, name, buffer, value in buffers:
                own_buffers(submodule)[name] = buffer
                if buffer.is_meta or not torch.equal(buffer, value):
                    buffer.copy_(value)


_OF_MODULES = frozenset(vars(nn.Module()))  # what torch itself keeps in every module, the mode included


def _plain_attributes(module: nn.Module) -> dict[str, object]:
    """Numbers, words and tuples that a module holds, apart from its mode."""
    return {
        name: value for name, value in vars(module).items() if name not in _OF_MODULES and isinstance(value, (bool, int, float, str, tuple))
    }


def _devices(module: nn.Module) -> list[int]:
    if not torch.cuda.is_initialized():
        return []
    return sorted({parameter.device.index for parameter in module.parameters() if parameter.is_cuda})


def materialize(module: nn.Module, arguments: Mapping[str, Tensor]) -> None:
    """Let lazy modules take the shapes of these inputs, by one run in eval mode; the random state stays as it was."""
    if is_uninitialized(module):
        modes = [(submodule, submodule.training) for submodule in module.modules()]
        with random_state_kept(), torch.no_grad():
            module.eval()(**arguments)
        for submodule, mode in modes:
            submodule.training = mode


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


def verify(
    module: nn.Module, graph: fx.Graph, arguments: Mapping[str, Tensor], part: Mapping[str, Tensor] | None = None
) -> tuple[bool, bool]:
    """Compare a recording with the module: eval with one more sample, train with one seed.

    Args:
        module: Left as it was.
        graph: Its recording.
        arguments: Its inputs by name.
        part: A part of them on which it does the same. It is compared with in their place, unless the size of the images makes a
            difference.
    Returns:
        Whether other image sizes, and whether autocast, make the recording give other results than the module.

    Raises:
        Difference: They differ as they are.
    """
    replayed = fx.GraphModule(module, graph)
    with untouched(module):
        if not _agree(module, replayed, part):
            _compare_in_both_modes(module, replayed, arguments)
            part = None
        module.eval()
        replayed.eval()
        fixed_size = any(_first_answers(module, replayed, _other_sizes(arguments)))
        if fixed_size and part is not None:
            _compare_in_both_modes(module, replayed, arguments)
            module.eval()
            replayed.eval()
        with _autocast(arguments):
            answers = [] if fixed_size else _first_answers(module, replayed, _parts(arguments))
            if answers and not any(answers):
                return fixed_size, False
            return fixed_size, _differs(module, replayed, arguments) is True


def require_same(module: nn.Module, graph: fx.Graph, arguments: Mapping[str, Tensor]) -> None:
    """Compare a recording with the module in both modes, at this size of images alone.

    Raises:
        Difference: They differ.
    """
    replayed = fx.GraphModule(module, graph)
    with untouched(module):
        _compare_in_both_modes(module, replayed, arguments)


def _agree(module: nn.Module, replayed: nn.Module, part: Mapping[str, Tensor] | None) -> bool:
    """Whether they were compared on a part of the images, and do not differ there."""
    if part is None:
        return False
    try:
        _compare_in_both_modes(module, replayed, part)
    except Difference:  # of something baked in that is another at this size: the whole images decide
        return False
    return True


def _compare_in_both_modes(module: nn.Module, replayed: nn.Module, arguments: Mapping[str, Tensor]) -> None:
    for training in (False, True):
        module.train(training)
        replayed.train(training)
        _compare(module, replayed, arguments, "train" if training else "eval")


def _first_answers(module: nn.Module, replayed: nn.Module, groups: Iterable[Iterable[dict[str, Tensor]]]) -> list[bool]:
    """Whether the recording differs on the inputs of the first group that the module takes any of; empty if it takes none."""
    for group in groups:
        answers = [answer for given in group if (answer := _differs(module, replayed, given)) is not None]
        if answers:
            return answers
    return []


def _autocast(arguments: Mapping[str, Tensor]) -> torch.autocast:
    return torch.autocast(next(iter(arguments.values())).device.type, dtype=torch.bfloat16)


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
            raise Difference(
                f"{type(module).__name__} assigns a new tensor to its buffer {name!r}, which a graph can't hold",
                path=name.rpartition(".")[0],
                otherwise=f"change it in place: self.{name.rpartition('.')[2]}.copy_(...)",
            )
    if not _equal(expected, found):
        raise Difference(
            f"the recording of {type(module).__name__} differs from the module in {mode} mode"
            f" with {batch_of(given)} samples: its forward depends on something that a graph can't hold",
            path="",
            otherwise="move what it depends on into a submodule that has no taps inside",
        )


def first_difference(module: nn.Module, recordings: Mapping[bool, Recording], arguments: Mapping[str, Tensor]) -> str:
    """Path of the innermost module, the first to return, whose value differs in a recording from what it is in the module.

    Args:
        module: The module.
        recordings: In eval mode and in train mode.
        arguments: Inputs of both.
    """
    for training, recording in recordings.items():
        module.train(training)
        for given in (larger(arguments), arguments):
            with untouched(module):
                expected = _values_of(module, given, recording.values)
            with untouched(module):
                found = _replayed_values(module, given, recording)
            for path, value in expected.items():
                if path not in found or not _equal(value, found[path]):
                    return path
    return ""


def _values_of(module: nn.Module, arguments: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """The values of these submodules in one run, as they were made, in order."""
    paths = {id(submodule): path for path, submodule in paths_of(module) if path in wanted}
    found: dict[str, Tensor] = {}

    def call(original: Callable[..., Any], called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = original(called, *args, **kwargs)
        if id(called) in paths and isinstance(value, Tensor):
            found[paths[id(called)]] = value.clone()
        return value

    with intercept.module_calls(call, module):
        _run(module, arguments, number=1)
    return found


def _replayed_values(module: nn.Module, arguments: Mapping[str, Tensor], recording: Recording) -> dict[str, Tensor]:
    """The same as a recording has them."""
    names: dict[fx.Node, list[str]] = {}
    for name, node in recording.values.items():
        names.setdefault(node, []).append(name)
    found: dict[str, Tensor] = {}

    class Watched(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                found.update(dict.fromkeys(names.get(n, ()), value.clone()))
            return value

    replayed = fx.GraphModule(module, recording.graph).train(module.training)
    seed(1)
    with torch.no_grad(), contextlib.suppress(*_FAILURES):
        Watched(replayed).run(*(arguments[str(node.target)] for node in recording.graph.find_nodes(op="placeholder")))
    return found


def _differs(module: nn.Module, replayed: nn.Module, arguments: Mapping[str, Tensor]) -> bool | None:
    """Whether the recording gives something else on these inputs; ``None`` where the module does not take them."""
    with untouched(module):
        expected = _run(module, arguments)
        return None if expected is None else not _equal(expected, _run(replayed, arguments))


def failure(module: nn.Module, arguments: Mapping[str, Tensor], *, training: bool) -> Exception | None:
    """What the module raises by itself, if it does."""
    with untouched(module), torch.no_grad():
        module.train(training)
        seed(0)
        try:
            module(**arguments)
        except Exception as error:  # noqa: BLE001 - whatever a module of the user's raises
            return error
    return None


def _run(module: nn.Module, arguments: Mapping[str, Tensor], number: int = 0) -> Any:
    """The result of one run with this seed; ``None`` where it fails."""
    seed(number)
    try:
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # fx prints there what a graph raises
            return module(**arguments)
    except _FAILURES:
        return None


_FAILURES = (RuntimeError, ValueError, AssertionError, IndexError, TypeError, NotImplementedError, KeyError, AttributeError)


def _copied_buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().clone() for name, buffer in module.named_buffers()}


def _equal(first: Any, second: Any) -> bool:
    one, other = leaves(first), leaves(second)
    return len(one) == len(other) and all(
        a.dtype == b.dtype and (torch.equal(a, b) or (a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)))
        for a, b in zip(one, other, strict=True)
    )


def leaves(value: Any) -> list[Tensor]:
    """The tensors in what a module returned."""
    if isinstance(value, Tensor):
        return [value]
    if is_cache(value):
        return cached(value)
    parts: Iterable[Any] = ()
    if is_mapping(value):  # also the outputs of Hugging Face models
        parts = value.values()
    elif (named := fields_of(value)) is not None:
        parts = named.values()
    elif is_sequence(value):
        parts = value
    return [leaf for part in parts for leaf in leaves(part)]
