"""What a repository of the Hugging Face hub, or a folder like one, holds: a description in JSON and weights in safetensors.

Only these are ever fetched or read: no code of a repository, and no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from graphnas.ops.base import Statistics
from graphnas.ops.hub import ONCE, hub
from graphnas.ops.image_statistics import of_processor
from graphnas.ops.opaque import first_line

CONFIG = "config.json"
IMAGES = "preprocessor_config.json"
PROCESSORS = "processor_config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PARTS = "model-*-of-*.safetensors"
_T = TypeVar("_T")


class HubError(Exception):
    """Something of a repository can't be had; ``fix`` says what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class NoSuchFileError(HubError):
    """It is not there."""


def is_folder(model: str) -> bool:
    """Whether a model is named by a path, not as ``OWNER/NAME`` on the hub."""
    return model.startswith(("/", "./", "../", "~", "."))


def read_config(model: str, revision: str | None) -> dict[str, Any]:
    """The description of a network.

    Args:
        model: A folder, or a repository of the hub.
        revision: Branch, tag or commit of the repository.
    Raises:
        HubError: There is none, or it can't be fetched.
    """
    found = _read(_file(model)) if is_folder(model) else _fetched(model, CONFIG, revision)
    if not isinstance(found, dict) or not isinstance(cast("dict[str, Any]", found).get("model_type"), str):
        raise HubError(f"the {CONFIG} of {model} does not say which architecture it is", "architecture: NAME beside model")
    return dict(cast("dict[str, Any]", found))


def read_statistics(model: str, revision: str | None) -> Statistics | None:
    """Mean and deviation of the images that a network expects, by its image processor's description; ``None`` if there is none.

    Raises:
        HubError: It can't be fetched or read.
    """
    together = read_json(model, PROCESSORS, revision) or {}
    said = together.get("image_processor") or read_json(model, IMAGES, revision)
    return of_processor(cast("dict[str, Any]", said)) if isinstance(said, dict) else None


def read_json(model: str, name: str, revision: str | None) -> dict[str, Any] | None:
    """What a file of a folder or a repository says; ``None`` if it has no such file.

    Raises:
        HubError: It can't be fetched or read.
    """
    try:
        found = _read(Path(model) / name) if is_folder(model) else _fetched(model, name, revision)
    except NoSuchFileError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def weights_folder(model: str, revision: str | None) -> Path:
    """A folder with the weights of a network.

    Raises:
        HubError: There are none in safetensors, or they can't be fetched.
    """
    folder = Path(model) if is_folder(model) else Path(_asked(lambda: _snapshot(model, revision), model, "weights"))
    if not any((folder / name).is_file() for name in _WEIGHTS):
        script = f"from transformers import AutoModel as m; m.from_pretrained('{model}').save_pretrained('FOLDER')"
        raise HubError(
            f"{model} has no weights in safetensors, and pickles, which may run code, are never read",
            f'where you trust it: python -c "{script}", then model: ./FOLDER',
        )
    return folder


def _snapshot(model: str, revision: str | None) -> str:
    import huggingface_hub

    hub: Any = huggingface_hub
    return hub.snapshot_download(model, revision=revision, allow_patterns=[*_WEIGHTS, _PARTS])


@lru_cache(maxsize=64)
def _fetched(model: str, name: str, revision: str | None) -> Any:
    """What a file of a repository says."""
    import huggingface_hub

    hub: Any = huggingface_hub
    return _read(Path(_asked(lambda: hub.hf_hub_download(model, name, revision=revision), model, name)))


def _asked(fetch: Callable[[], _T], model: str, what: str) -> _T:
    """What the hub answers, its refusals in our words."""
    from huggingface_hub import errors

    unreachable: str | None = None
    try:
        with hub() as unreachable:
            return fetch()
    except errors.HFValidationError:
        raise HubError(f"{model!r} is no name of a repository", "OWNER/NAME as on the hub, or a folder: ./FOLDER") from None
    except errors.RepositoryNotFoundError:
        raise HubError(f"the hub has no repository {model!r} that everyone may read", "check the name: OWNER/NAME") from None
    except errors.RevisionNotFoundError:
        raise HubError(f"{model} has no such revision", "revision: main, or leave it out") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if unreachable is not None:
            raise HubError(f"the {what} of {model} can't be fetched: {unreachable}", f"{ONCE}; or {_without(what)}") from None
        raise HubError(f"the {what} of {model} can't be fetched: {_short(error)}", _without(what)) from None
    except errors.EntryNotFoundError:
        raise NoSuchFileError(f"{model} has no {what}", "name a repository with a network of transformers") from None
    except OSError as error:
        raise HubError(f"the {what} of {model} can't be fetched: {_short(error)}", _without(what)) from None


def _short(error: Exception) -> str:
    """The first sentence."""
    return first_line(error).partition(". ")[0].removesuffix(".")


def _without(what: str) -> str:
    if what == CONFIG:
        return "architecture: NAME and config: {...} need no connection"
    return "pretrained: false, or with it start_from: FILE.safetensors in the search's networks"


def _file(folder: str) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise HubError(f"{folder}: no such folder", "a folder that save_pretrained wrote, or OWNER/NAME on the hub")
    if not (path / CONFIG).is_file():
        raise HubError(f"{folder} holds no {CONFIG}", "a folder that save_pretrained wrote")
    return path / CONFIG


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoSuchFileError(f"there is no {path}", "check the path") from None
    except (OSError, ValueError) as error:
        raise HubError(f"{path} can't be read: {first_line(error)}", "fetch or copy it again") from None
