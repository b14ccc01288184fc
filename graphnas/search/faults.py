"""What can go wrong in an update, in words that name the step, what it was about, and what to do."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from traceback import walk_tb

import torch
from torch import nn

from graphnas.compiler.torch_typed import paths_of
from graphnas.data import Batch
from graphnas.errors import RunError
from graphnas.search.step import NotFinite

LOWER = "lower training.optimizers.weights.lr or set training.clip_gradient"
MORE_SAMPLES = "two samples or more in every batch (training.batch_size, labeled samples), or larger images"
ONE_VALUE = "Expected more than 1 value per channel"
"""What torch's batch norms say then."""
LARGEST_SHARE = 0.01
"""Of a phase's updates may be left out."""
ALWAYS_ALLOWED = 3
"""So many updates may be left out of the shortest phase too."""


def may_leave_out(count: int, steps: int) -> bool:
    """Whether a phase of so many updates may leave out so many of them."""
    return count <= max(ALWAYS_ALLOWED, int(LARGEST_SHARE * steps))


def explained(error: NotFinite, network: nn.Module, batches: Sequence[Batch]) -> tuple[str, str]:
    """What is not finite, on which samples, and where it comes from if that can be told: damaged data, or a weight that exploded.

    Returns:
        What is wrong, and the fix.
    """
    text = f"{error.what} is {error.value}" + (f" on {', '.join(error.ids)}" if error.ids else "")
    damaged = list(dict.fromkeys(found for batch in batches for found in _damaged(batch)))
    if damaged:
        return f"{text}; not finite: {', '.join(damaged)}", "mend these samples"
    exploded = not_finite(network)
    return (text if exploded is None else f"{text}; {exploded} is not finite"), LOWER


def not_finite(network: nn.Module) -> str | None:
    """The name of the first parameter that holds something else than finite numbers."""
    return next((name for name, parameter in network.named_parameters() if not bool(torch.isfinite(parameter).all())), None)


def _damaged(batch: Batch) -> Iterable[str]:
    """``input 'image' of rooms/0012`` for every value of a batch that is not finite."""
    for name, values in batch.inputs.items():
        for row in _rows(values):
            yield f"input {name!r} of {batch.ids[row]}"
    for name, values in batch.targets.items():
        for row in _rows(values):
            yield f"label {name!r} of {batch.ids[int(batch.rows[name][row])]}"


def _rows(values: torch.Tensor) -> list[int]:
    finite = torch.isfinite(values).flatten(1).all(dim=1) if values.dim() > 1 else torch.isfinite(values)
    return [int(row) for row in torch.nonzero(~finite)[:, 0]]


@contextmanager
def memory_explained(place: str) -> Generator[None]:
    """Tell a lack of memory as what it is.

    Args:
        place: The phase and step.
    Raises:
        RunError: There is too little memory, or what torch.compile made fails; names the settings that do without.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(place, error) from error
    except RuntimeError as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            said = " ".join(str(error).split())[:200]
            raise RunError(f"{place}: torch.compile fails: {said}", fix="runtime: {compile: false}") from error
        if "CUDAGraphs" in str(error):
            raise RunError(f"{place}: CUDA graphs fail: {' '.join(str(error).split())[:200]}", fix="runtime: {compile: true}") from error
        if "can't allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        raise _out_of_memory(place, error) from error


def _out_of_memory(place: str, error: BaseException) -> RunError:
    said = " ".join(str(error).split())[:200] or "no memory is left"
    return RunError(
        f"{place}: out of memory: {said}",
        fix="go on with --set runtime.precision=bfloat16 --resume, or start again with a lower training.batch_size or auxiliary_batch_size",
    )


@contextmanager
def one_value_explained(place: str, network: nn.Module) -> Generator[None]:
    """Tell what a batch norm says of a batch in which each of its channels has one value.

    Args:
        place: The phase and step.
        network: What runs.
    Raises:
        RunError: Names the batch norm, and what to set.
    """
    try:
        yield
    except ValueError as error:
        if ONE_VALUE not in str(error):
            raise
        message = f"{place}: {_batch_norm(error, network)} sees one value a channel in this batch of one sample"
        raise RunError(message, fix=MORE_SAMPLES) from error


def _batch_norm(error: BaseException, network: nn.Module) -> str:
    """The batch norm that raised an error, by name where it has one in this network."""
    names = {id(module): name for name, module in paths_of(network)}
    running = [frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__)]
    named = [f"{names[id(module)]} ({type(module).__name__})" for module in running if id(module) in names and module is not network]
    return named[-1] if named else "a batch norm"
