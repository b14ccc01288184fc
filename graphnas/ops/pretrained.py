"""``timm`` and ``torchvision``: networks of those libraries, by name."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import timm
import torchvision  # pyright: ignore[reportMissingTypeStubs]
from pydantic import Field
from torch import Tensor, nn

from graphnas.errors import suggest
from graphnas.ops.base import Statistics
from graphnas.ops.library import ELSEWHERE, ByName, note
from graphnas.schema import Text, problem_at


class _Named(ByName, ABC):
    model: Text = Field(examples=["resnet18"])
    """The library's name of the network."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def label(self) -> str:
        return f"{self.library()}'s {self.model}"

    @classmethod
    def library(cls) -> str:
        return str(cls.model_fields["op"].default)

    def _require_names(self) -> None:
        known = self.known()
        if self.model not in known:
            raise problem_at(("model",), f"{self.library()} has no model {self.model!r}", suggest(self.model, known), self.model)

    @classmethod
    def known(cls) -> Sequence[str]:
        """Every name that ``model`` may be."""
        raise NotImplementedError


class Timm(_Named):
    """A network of timm; further fields are those of its ``create_model``, such as ``num_classes`` or ``img_size``."""

    op: Literal["timm"] = "timm"
    forbidden: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"), ELSEWHERE),
        **dict.fromkeys(("scriptable", "exportable", "no_jit"), "leave it out"),
        "features_only": "leave it out, and read values inside by their names",
    }

    def is_published(self) -> bool:
        return timm.is_model_pretrained(self.model)

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        about = timm.get_pretrained_cfg(self.model)
        return frozenset() if about is None else frozenset({(tuple(about.mean), tuple(about.std))})

    @classmethod
    def make(cls, names: tuple[str, ...], arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        module: Any = timm.create_model(*names, pretrained=pretrained, **arguments)
        about: Mapping[str, Any] = module.pretrained_cfg if pretrained else {}
        if pretrained and about.get("num_classes") != getattr(module, "num_classes", None):  # then timm makes the classifier anew
            heads = about.get("classifier") or ()
            prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
            note(name for name in module.state_dict() if name.startswith(prefixes))
        return module

    @classmethod
    def builder(cls, names: tuple[str, ...]) -> Callable[..., Any]:
        return timm.model_entrypoint(names[0].partition(".")[0])

    @classmethod
    def known(cls) -> Sequence[str]:
        return [*timm.list_models(), *timm.list_pretrained()]  # the latter with the weights' tag: resnet18.a1_in1k


class Torchvision(_Named):
    """A network of torchvision; further fields are those of its builder, such as ``num_classes``."""

    op: Literal["torchvision"] = "torchvision"
    from_hub: ClassVar[bool] = False
    forbidden: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("weights", "weights_backbone"), ELSEWHERE),
        **dict.fromkeys(("progress", "quantize"), "leave it out"),
    }

    @property
    def arguments(self) -> dict[str, Any]:
        """Those given, and those without which the published weights would not do what they do in torchvision."""
        if self.pretrained and self.model in ("googlenet", "inception_v3"):
            return {"transform_input": True, **self.given}  # they expect colors scaled otherwise, and scale them on their own
        if self.pretrained and self.model.startswith("vit_"):
            return {"image_size": _published(self.model).meta["min_size"][0], **self.given}
        return self.given

    def is_published(self) -> bool:
        try:
            return _published(self.model) is not None
        except (AttributeError, ValueError):  # of some there are none
            return False

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        about: Any = _published(self.model).transforms() if self.is_published() else None
        return frozenset({(tuple(about.mean), tuple(about.std))}) if hasattr(about, "mean") else frozenset()

    @classmethod
    def make(cls, names: tuple[str, ...], arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        [model] = names
        builder = cls.builder(names)
        no_weights = {name: None for name in ("weights", "weights_backbone") if name in inspect.signature(builder).parameters}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on how some older networks will be initialized
            module: nn.Module = builder(**no_weights, **arguments)
        if pretrained:
            weights = _published(model).get_state_dict(progress=False, check_hash=True, weights_only=True)
            _load(module, weights, new_head="num_classes" in arguments)
        return module

    @classmethod
    def builder(cls, names: tuple[str, ...]) -> Callable[..., Any]:
        return torchvision.models.get_model_builder(names[0])

    @classmethod
    def known(cls) -> Sequence[str]:
        return torchvision.models.list_models()


def _published(model: str) -> Any:
    """The weights that torchvision takes if asked for its default."""
    models: Any = torchvision.models
    return models.get_model_weights(model).DEFAULT


def _load(module: nn.Module, weights: Mapping[str, Tensor], *, new_head: bool) -> None:
    """Load published weights.

    Args:
        module: Without the auxiliary classifiers that the weights may have.
        weights: By torchvision's names.
        new_head: Whether the last layers may be of other sizes: they stay as they are.
    Raises:
        RuntimeError: Anything else that does not fit.
    """
    own = module.state_dict()
    fitting = {
        name: value
        for name, value in weights.items()
        if (name in own or not name.startswith("aux")) and not (new_head and name in own and own[name].shape != value.shape)
    }
    told: Any = module.load_state_dict(fitting, strict=False)
    missing: list[str] = told.missing_keys
    note(name for name in missing if name in weights)
    wrong = [*(name for name in missing if name not in weights), *told.unexpected_keys]
    if wrong:
        raise RuntimeError(f"{len(wrong)} names that do not fit: {', '.join(wrong[:5])}")
