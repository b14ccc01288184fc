"""``timm`` and ``torchvision``: networks of those libraries, by name."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import timm
import torch
import torchvision  # pyright: ignore[reportMissingTypeStubs]
from pydantic import ConfigDict, Field, model_validator
from torch import nn

from graphnas.errors import suggest
from graphnas.ops.base import Statistics
from graphnas.ops.opaque import Opaque, first_line, untouched_random_state
from graphnas.schema import Flag, Text, problem_at

_FORBIDDEN = frozenset(  # they read files, fetch from elsewhere, or change what the network returns
    {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "scriptable", "exportable", "no_jit", "features_only"}
    | {"weights", "weights_backbone", "progress", "quantize"}
)


class _Pretrained(Opaque, ABC):
    """A network of a library; further fields are arguments of the library's own."""

    model_config = ConfigDict(extra="allow")

    model: Text = Field(examples=["resnet18"])
    """The library's name of the network."""
    pretrained: Flag = False
    """Start from the library's published weights, which are downloaded once."""

    @model_validator(mode="after")
    def _accepted(self) -> _Pretrained:
        known = self._names()
        if self.model not in known:
            raise problem_at(("model",), f"{self._library()} has no model {self.model!r}", suggest(self.model, known), self.model)
        failure = _failure(type(self), self.model, json.dumps(self.arguments, sort_keys=True))
        if failure is not None:
            field, message, fix = failure
            raise problem_at((field,) if field else (), message, fix)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes on to the library."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def label(self) -> str:
        return f"{self._library()}'s {self.model}"

    def module(self, *, pretrained: bool) -> nn.Module:
        return self.make(self.model, self.arguments, pretrained=pretrained and self.pretrained)

    @classmethod
    @abstractmethod
    def make(cls, model: str, arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        """The network of this name."""

    @classmethod
    @abstractmethod
    def builder(cls, model: str) -> Callable[..., Any]:
        """The library's function that makes it."""

    @classmethod
    @abstractmethod
    def _names(cls) -> Sequence[str]:
        """Every name that ``model`` may be."""

    @classmethod
    def _library(cls) -> str:
        return str(cls.model_fields["op"].default)


class Timm(_Pretrained):
    """A network of timm; further fields are those of its ``create_model``, such as ``num_classes`` or ``img_size``."""

    op: Literal["timm"] = "timm"

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        about = timm.get_pretrained_cfg(self.model)
        return frozenset() if about is None else frozenset({(tuple(about.mean), tuple(about.std))})

    @classmethod
    def make(cls, model: str, arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        return timm.create_model(model, pretrained=pretrained, **arguments)

    @classmethod
    def builder(cls, model: str) -> Callable[..., Any]:
        return timm.model_entrypoint(model.partition(".")[0])

    @classmethod
    def _names(cls) -> Sequence[str]:
        return [*timm.list_models(), *timm.list_pretrained()]  # the latter with the weights' tag: resnet18.a1_in1k


class Torchvision(_Pretrained):
    """A network of torchvision; further fields are those of its builder, such as ``num_classes``."""

    op: Literal["torchvision"] = "torchvision"

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        try:
            weights: Any = torchvision.models
            about = weights.get_model_weights(self.model).DEFAULT.transforms()
        except (AttributeError, ValueError):  # of some there are none
            return frozenset()
        return frozenset({(tuple(about.mean), tuple(about.std))}) if hasattr(about, "mean") else frozenset()

    @classmethod
    def make(cls, model: str, arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        builder = cls.builder(model)
        no_weights = {name: None for name in ("weights", "weights_backbone") if name in inspect.signature(builder).parameters}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on how some older networks will be initialized
            module: nn.Module = builder(**no_weights, **arguments)
        if pretrained:
            published: Any = torchvision.models
            weights = published.get_model_weights(model).DEFAULT
            module.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
        return module

    @classmethod
    def builder(cls, model: str) -> Callable[..., Any]:
        return torchvision.models.get_model_builder(model)

    @classmethod
    def _names(cls) -> Sequence[str]:
        return torchvision.models.list_models()


@lru_cache(maxsize=256)
def _failure(kind: type[_Pretrained], model: str, arguments_json: str) -> tuple[str | None, str, str | None] | None:
    """Why the library can't make this network: field, message and fix; ``None`` if it can."""
    arguments: dict[str, Any] = json.loads(arguments_json)
    label = f"{kind.model_fields['op'].default}'s {model}"
    for name in arguments:
        if name in _FORBIDDEN:
            return name, f"{label} takes no {name!r} here", "pretrained: true, or start_from of the search"
    try:
        module = _build_anywhere(lambda: kind.make(model, arguments, pretrained=False))
    except Exception as error:  # noqa: BLE001 - a library may raise anything about its arguments
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unexpected is None:
            return None, f"{label} can't be made: {first_line(error)}", None
        return unexpected[1], f"{label} takes no {unexpected[1]!r}", suggest(unexpected[1], _accepted_names(kind, model))
    if inspect.signature(type(module).__init__).parameters.get("kwargs") is None:
        return None
    accepted = _accepted_names(kind, model)  # a class that takes anything in silence
    unknown = next((name for name in arguments if name not in accepted), None)
    return None if unknown is None else (unknown, f"{label} takes no {unknown!r}", suggest(unknown, accepted))


def _build_anywhere(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        with torch.device("meta"):
            return make()
    except TypeError:
        raise
    except Exception:  # noqa: BLE001 - a network whose code needs real numbers
        with untouched_random_state():
            return make()


def _accepted_names(kind: type[_Pretrained], model: str) -> list[str]:
    builder = kind.builder(model)
    made = _build_anywhere(lambda: kind.make(model, {}, pretrained=False))
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    signatures = [inspect.signature(builder), inspect.signature(type(made).__init__)]
    names = [p.name for signature in signatures for p in signature.parameters.values() if p.kind in kinds and p.name != "self"]
    own = [name for name in kind.model_fields if name != "op"]
    return [name for name in dict.fromkeys([*own, *names]) if name not in _FORBIDDEN]
