"""Decoded samples on disk, for data sets that take long to decode and do not fit into memory.

A file's name is a hash of all that its content depends on: path, size and time of the files that were read, what inputs and tasks say, the
transforms that are not random, the code that decodes, and the versions of the libraries that do. So nothing is ever out of date; what is no
longer asked for stays until somebody deletes the folder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import safetensors
from safetensors.torch import load, save
from torch import Tensor

CacheKind = Literal["auto", "memory", "disk", "none"]
LIBRARIES = ("torch", "torchvision", "pillow", "numpy")
PACKAGES = ("data", "tasks")


@dataclass(frozen=True)
class Loading:
    """How samples are loaded; no result depends on it.

    Args:
        cache: What is done with decoded samples. auto: kept in memory, up to 1 GiB a process; memory: all; disk: kept in files; none.
        cache_folder: Where on disk; a folder of the user's, if left out.
        pin_memory: Whether batches lie in pinned memory, from which a CUDA device takes them while it computes.
    """

    cache: CacheKind = "auto"
    cache_folder: str | None = None
    pin_memory: bool = False


def home_folder() -> str:
    """Where a user's caches lie."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "graphnas")


def default_folder() -> str:
    """Where a user's decoded samples lie."""
    return os.path.join(home_folder(), "samples")


class DiskCache:
    """A folder of decoded samples, which several processes may use at once.

    Args:
        folder: Made when the first sample is written.
        recipe: All that decoding depends on beside the files.
    """

    def __init__(self, folder: str, recipe: Iterable[str]) -> None:
        self._folder = Path(folder)
        self._recipe = "\n".join((*_libraries(), *recipe))

    def name(self, stamps: Iterable[str]) -> str:
        """The name of what these files decode to."""
        return hashlib.sha256("\n".join((self._recipe, *stamps)).encode()).hexdigest()

    def read(self, name: str) -> dict[str, Tensor] | None:
        """What was written; ``None`` if nothing was, or if it is damaged."""
        try:
            return load(self._path(name).read_bytes())
        except (OSError, ValueError, safetensors.SafetensorError):
            return None

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep it; a file is there as a whole or not at all. A disk that is full keeps nothing, and that is no error."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, new = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(save({key: tensor.contiguous() for key, tensor in tensors.items()}))
                os.replace(new, path)
            except OSError:
                os.unlink(new)
        except OSError:
            return

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / f"{name}.safetensors"


@cache
def _libraries() -> tuple[str, ...]:
    return tuple(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)


@cache
def code_of(modules: frozenset[str]) -> str:
    """A hash of the code of these modules, and of all that decodes in graphnas.

    Args:
        modules: Names of imported modules, such as those of a plugin's task type.
    """
    here = Path(__file__).parents[1]
    files = {str(file) for package in PACKAGES for file in (here / package).glob("*.py")}
    files |= {file for name in modules if (file := getattr(sys.modules.get(name), "__file__", None)) is not None}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
