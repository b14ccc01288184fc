"""``smp``: encoder-decoder networks of segmentation_models_pytorch (the extra ``smp``)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import timm
from pydantic import Field, model_validator
from torch import nn

from graphnas.errors import suggest
from graphnas.ops import hf_hub
from graphnas.ops.base import Statistics, TypeRuleError
from graphnas.ops.image_statistics import of_encoder
from graphnas.ops.library import ELSEWHERE, ByName, built_anywhere, parameters_of
from graphnas.ops.optional import required
from graphnas.schema import Text, problem_at

_OF_TIMM = "tu-"  # how smp marks encoders that are timm's


class Smp(ByName):
    """A network of segmentation_models_pytorch; further fields are those of its class, such as ``classes`` or ``in_channels``."""

    op: Literal["smp"] = "smp"
    architecture: Text = Field(examples=["Unet"])
    """The library's class: Unet, FPN, DeepLabV3Plus, Segformer, UPerNet, DPT, ..."""
    encoder: Text = Field(examples=["resnet34", "tu-convnext_tiny"])
    """The library's name of the encoder; tu-NAME is timm's network NAME."""
    forbidden: ClassVar[Mapping[str, str]] = {
        "encoder_name": "encoder: NAME",
        "encoder_weights": ELSEWHERE,
        "activation": "leave it out: losses and metrics of a task read logits",
    }

    @model_validator(mode="before")
    @classmethod
    def _installed(cls, value: Any) -> Any:
        _library()
        return value

    @property
    def names(self) -> tuple[str, ...]:
        return (self.architecture, self.encoder)

    @property
    def label(self) -> str:
        return f"smp's {self.architecture} with {self.encoder}"

    def is_published(self) -> bool:
        return _weights(self.encoder) is not None

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        if self.encoder.startswith(_OF_TIMM):
            about = timm.get_pretrained_cfg(self.encoder.removeprefix(_OF_TIMM)) if self.is_published() else None
            return frozenset() if about is None else frozenset({(tuple(about.mean), tuple(about.std))})
        found = _published_statistics(self.encoder)
        return frozenset() if found is None else frozenset({found})

    @classmethod
    def make(cls, names: tuple[str, ...], arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        encoder = names[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on names of encoders that are going to change
            return cls.builder(names)(encoder_name=encoder, encoder_weights=_weights(encoder) if pretrained else None, **arguments)

    @classmethod
    def builder(cls, names: tuple[str, ...]) -> Callable[..., Any]:
        return _architectures()[names[0]]

    @classmethod
    def accepted(cls, names: tuple[str, ...]) -> list[str]:
        inside = getattr(getattr(built_anywhere(lambda: cls.make(names, {}, pretrained=False)), "encoder", None), "model", None)
        of_timm = parameters_of(type(inside).__init__) if names[1].startswith(_OF_TIMM) and inside is not None else []
        return list(dict.fromkeys([*super().accepted(names), *of_timm]))

    @classmethod
    def takes_anything(cls, names: tuple[str, ...], made: nn.Module) -> bool:
        return "kwargs" in inspect.signature(cls.builder(names)).parameters

    def _require_names(self) -> None:
        architectures = _architectures()
        if self.architecture not in architectures:
            fix = suggest(self.architecture, architectures)
            raise problem_at(("architecture",), f"smp has no architecture {self.architecture!r}", fix, self.architecture)
        known = _encoders()
        if self.encoder not in known:
            like = [name for name in known if name.startswith(_OF_TIMM) == self.encoder.startswith(_OF_TIMM)]
            raise problem_at(("encoder",), f"smp has no encoder {self.encoder!r}", suggest(self.encoder, like), self.encoder)


def _library() -> Any:
    return required("segmentation_models_pytorch", op="smp", package="segmentation-models-pytorch", extra="smp", least="0.5")


def _architectures() -> dict[str, Callable[..., Any]]:
    return {made.__name__: made for made in _library().MODEL_ARCHITECTURES_MAPPING.values()}


def _encoders() -> Sequence[str]:
    known: list[str] = _library().encoders.get_encoder_names()
    return [*known, *(f"{_OF_TIMM}{name}" for name in (*timm.list_models(), *timm.list_pretrained()))]


def _weights(encoder: str) -> str | bool | None:
    """What the library calls the encoder's published weights, the first where there are several; ``None`` if there are none."""
    if encoder.startswith(_OF_TIMM):
        return True if timm.is_model_pretrained(encoder.removeprefix(_OF_TIMM)) else None
    return next(iter(_library().encoders.encoders[encoder]["pretrained_settings"]), None)


def _published_statistics(encoder: str) -> Statistics | None:
    """What the repository of the encoder's published weights says about images; the library's own function reads the same file."""
    settings = _library().encoders.encoders[encoder]["pretrained_settings"].get(_weights(encoder))
    if settings is None:
        return None
    try:
        said = hf_hub.read_json(settings["repo_id"], hf_hub.CONFIG, settings["revision"])
    except hf_hub.HubError as error:
        raise TypeRuleError(str(error)) from None
    return None if said is None else of_encoder(said)
