"""The random number generators that training draws from: seeded for a phase, captured for a checkpoint, given back to the caller."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, *names: str) -> int:
    """A seed of 63 bits for a named purpose, the same on every machine."""
    digest = hashlib.sha256("/".join([str(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def seed_all(seed: int) -> None:
    """Seed torch (all devices), numpy and python."""
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    np.random.seed(seed % 2**32)
    random.seed(seed)


def capture(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of all generators: tensors, and the plain values beside them."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),  # pyright: ignore[reportUnknownMemberType]
        "python": torch.tensor(internal, dtype=torch.int64),
    }
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    return tensors, {"numpy": [name, position, has_gauss, cached], "python": [version, gauss]}


def restore(tensors: Mapping[str, Tensor], values: Mapping[str, Any], device: torch.device) -> None:
    """Put all generators into a state that ``capture`` returned; on a device of another kind its own generator keeps its seed."""
    torch.set_rng_state(tensors["torch"].cpu())
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"].cpu(), device)
    name, position, has_gauss, cached = values["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
    version, gauss = values["python"]
    random.setstate((version, tuple(int(value) for value in tensors["python"].numpy()), gauss))


@contextmanager
def given_back(device: torch.device) -> Generator[None, None, None]:
    """The caller's generators stand afterwards where they stood before."""
    tensors, values = capture(device)
    try:
        yield
    finally:
        restore(tensors, values, device)
