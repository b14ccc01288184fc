"""Transformers' corners that ``huggingface`` needs: which networks and heads there are, how one is described, made, and loaded.

The library is imported when a function here is first called, never with graphnas.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Generator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from graphnas.ops.optional import required

NO_HEAD = "none"
_SETTINGS = frozenset(  # of every description, and none of them is of the network itself
    {
        "self",
        "transformers_version",
        "architectures",
        "output_hidden_states",
        "return_dict",
        "dtype",
        "id2label",
        "label2id",
        "problem_type",
    }
    | {"chunk_size_feed_forward", "is_encoder_decoder"}
)
_DROPPED = _SETTINGS | {"torch_dtype", "auto_map", "quantization_config", "_name_or_path", "output_attentions", "torchscript"}


def library() -> Any:
    """The package.

    Raises:
        ValidationError: It is not installed.
    """
    return required("transformers", op="huggingface", package="transformers", extra="hf", least="5.10")


@lru_cache(maxsize=1)
def heads() -> dict[str, Mapping[str, tuple[str, ...]]]:
    """Head -> architecture -> the classes that have it: ``image_classification``, as ``AutoModelForImageClassification`` finds it."""
    found = {NO_HEAD: _classes("AutoModel")}
    for name in dir(library()):
        if name.startswith("AutoModelFor"):
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removeprefix("AutoModelFor"))
            found[words.lower()] = _classes(name)
    return found


def _classes(auto: str) -> Mapping[str, tuple[str, ...]]:
    names: Any = getattr(library(), auto)._model_mapping._model_mapping
    return {architecture: (names_,) if isinstance(names_, str) else tuple(names_) for architecture, names_ in names.items()}


def architectures() -> list[str]:
    """The names of all networks."""
    return [name for name in _configurations() if name in heads()[NO_HEAD]]


def _configurations() -> Mapping[str, Any]:
    library()
    from transformers.models.auto import configuration_auto

    auto: Any = configuration_auto
    return auto.CONFIG_MAPPING


def described(config: Mapping[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """What a repository says of its network: architecture, head (``None`` if ``heads`` does not know it), fields of the description."""
    architecture = str(config["model_type"])
    named = {str(name) for name in config.get("architectures") or ()}
    head = next((head for head, classes in heads().items() if named & set(classes.get(architecture, ()))), None)
    return architecture, head if named else NO_HEAD, _fields(architecture, config)


def _fields(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A published description in today's fields, without those that have their default."""
    kind: Any = _configurations()[architecture]
    with quiet():
        found, default = kind.from_dict(_plain({**config, "use_pretrained_backbone": False}, top=True)).to_dict(), kind().to_dict()
    fields = {name: _plain(found[name]) for name in fields_of(architecture) if name in found and found[name] != default.get(name)}
    if isinstance(config.get("id2label"), Mapping):
        fields["num_labels"] = len(config["id2label"])  # their names do not matter to the network
    return fields


def _plain(value: Any, *, top: bool = False) -> Any:
    """The same without what is not of the network itself, at any depth; a description that is inside another keeps its architecture."""
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        kept = {name: part for name, part in fields.items() if name not in _DROPPED and not name.startswith("_")}
        return {name: _plain(part) for name, part in kept.items() if top is False or name != "model_type"}
    return [_plain(part) for part in cast("list[Any]", value)] if isinstance(value, (list, tuple)) else value


def fields_of(architecture: str) -> list[str]:
    """The fields of an architecture's description."""
    kind: Any = _configurations()[architecture]
    known = [name for name in inspect.signature(kind.__init__).parameters if name not in _SETTINGS]
    of_backbones = [name.removeprefix("_") for name in known if name in ("_out_features", "_out_indices")]
    aliases = [name for name in getattr(kind, "attribute_map", {}) if name not in known]
    return [*(name for name in known if not name.startswith("_")), *of_backbones, *aliases, "num_labels", "attn_implementation"]


def configuration(architecture: str, fields: Mapping[str, Any]) -> Any:
    """The description of a network.

    Raises:
        Exception: Whatever the library says of a field.
    """
    with quiet():
        return _configurations()[architecture](**fields)


def class_of(architecture: str, head: str, named: str | None = None) -> Any:
    """The class of a network: of several the first, or the one that is named."""
    names = heads()[head][architecture]
    return getattr(library(), named if named in names else names[0])


def made(kind: Any, config: Any) -> nn.Module:
    """A network of this class with random weights."""
    with quiet():
        return kind(config)


def loaded(kind: Any, config: Any, folder: Path) -> tuple[nn.Module, list[str]]:
    """A network of this class with weights from a folder, and the names that stay random: those of whole parts, as a new head.

    Raises:
        RuntimeError: The weights of a part fit only in part.
    """
    with quiet():
        module, told = kind.from_pretrained(
            str(folder), config=config, use_safetensors=True, trust_remote_code=False, local_files_only=True,
            dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True,
        )  # fmt: skip
    other = {str(name): f"{name} {list(theirs)} for {list(ours)}" for name, theirs, ours in told["mismatched_keys"]}
    new = [str(name) for name in module.state_dict() if name in {*told["missing_keys"], *other}]
    base = f"{getattr(kind, 'base_model_prefix', '')}."
    parts = {name: name.removeprefix(base).partition(".")[0] for name in module.state_dict()}
    whole = {part for part in parts.values() if all(name in new for name in parts if parts[name] == part)}
    wrong = [other.get(name, f"{name} missing") for name in new if parts[name] not in whole]
    if wrong or len(new) == len(parts):
        raise RuntimeError("; ".join(wrong[:5]) + ("; ..." if len(wrong) > 5 else "") if wrong else "none of its names is in them")
    return module.train(), new


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Without progress bars, and without the library's remarks on what it makes and loads."""
    from transformers.utils import logging

    log: Any = logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(50)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
