"""Train a network for one task with every label you have; ship the network you already had.

Names are imported when first asked for (PEP 562), so that ``graphnas --help`` does not import torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "graphnas.spec": (
        "load_spec",
        "parse_spec",
        "dump_spec",
        "to_yaml",
        "json_schema",
        "NetworkSpec",
        "SearchSpaceSpec",
        "TaskPairSpec",
        "SearchSpec",
    ),
    "graphnas.compiler": ("weave", "Branch", "Supernet", "tap_values", "penalty"),
    "graphnas.compiler.weights": ("load_weights", "read_weights", "LoadedWeights"),
    "graphnas.graph.links": ("Link",),
    "graphnas.prune": ("prune", "Pruned", "Certificate"),
    "graphnas.export": ("save", "load"),
    "graphnas.runs": ("compile", "evaluate", "predict", "SearchResult"),
    "graphnas.report": ("search",),
    "graphnas.ops.register": ("register_operation", "register_network"),
    "graphnas.plugins": ("register_gate", "register_penalty", "register_task_type", "register_layout", "register_balance"),
    "graphnas.size_limits": ("limits",),
    "graphnas.errors": (
        "GraphNASError",
        "SpecError",
        "RecordError",
        "DataError",
        "PruneError",
        "ArtifactError",
        "RunError",
        "Interrupted",
        "Problem",
        "Where",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from graphnas.compiler import Branch as Branch
    from graphnas.compiler import Supernet as Supernet
    from graphnas.compiler import penalty as penalty
    from graphnas.compiler import tap_values as tap_values
    from graphnas.compiler import weave as weave
    from graphnas.compiler.weights import LoadedWeights as LoadedWeights
    from graphnas.compiler.weights import load_weights as load_weights
    from graphnas.compiler.weights import read_weights as read_weights
    from graphnas.errors import ArtifactError as ArtifactError
    from graphnas.errors import DataError as DataError
    from graphnas.errors import GraphNASError as GraphNASError
    from graphnas.errors import Interrupted as Interrupted
    from graphnas.errors import Problem as Problem
    from graphnas.errors import PruneError as PruneError
    from graphnas.errors import RecordError as RecordError
    from graphnas.errors import RunError as RunError
    from graphnas.errors import SpecError as SpecError
    from graphnas.errors import Where as Where
    from graphnas.export import load as load
    from graphnas.export import save as save
    from graphnas.graph.links import Link as Link
    from graphnas.ops.register import register_network as register_network
    from graphnas.ops.register import register_operation as register_operation
    from graphnas.plugins import register_balance as register_balance
    from graphnas.plugins import register_gate as register_gate
    from graphnas.plugins import register_layout as register_layout
    from graphnas.plugins import register_penalty as register_penalty
    from graphnas.plugins import register_task_type as register_task_type
    from graphnas.prune import Certificate as Certificate
    from graphnas.prune import Pruned as Pruned
    from graphnas.prune import prune as prune
    from graphnas.report import search as search
    from graphnas.runs import SearchResult as SearchResult
    from graphnas.runs import compile as compile
    from graphnas.runs import evaluate as evaluate
    from graphnas.runs import predict as predict
    from graphnas.size_limits import limits as limits
    from graphnas.spec import NetworkSpec as NetworkSpec
    from graphnas.spec import SearchSpaceSpec as SearchSpaceSpec
    from graphnas.spec import SearchSpec as SearchSpec
    from graphnas.spec import TaskPairSpec as TaskPairSpec
    from graphnas.spec import dump_spec as dump_spec
    from graphnas.spec import json_schema as json_schema
    from graphnas.spec import load_spec as load_spec
    from graphnas.spec import parse_spec as parse_spec
    from graphnas.spec import to_yaml as to_yaml


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'graphnas' has no attribute {name!r}")
    if name in _ALSO_PACKAGES:
        return importlib.import_module(f"graphnas.{name}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallablePackage(ModuleType):
    """A subpackage that shares its name with a function: ``gn.prune`` is the package, ``gn.prune(net)`` calls the function."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_HOME[name]), name)(*args, **options)


_ALSO_PACKAGES = ("prune", "search")


class _Graphnas(ModuleType):
    """The import system sets a subpackage as an attribute of this module, whoever imports it and whenever; those two become callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ALSO_PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Graphnas
