"""``huggingface``: networks of transformers (the extra ``hf``), by a repository of the hub, a folder, or an architecture and its numbers.

A network that is named by its repository is described by the repository's ``config.json``. That description goes into the spec when it is
read, so that an artifact can be built again without a connection, and does not change when the repository does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, model_validator
from torch import nn

from graphnas.errors import suggest
from graphnas.graph.types import Ids, Mask, ValueType
from graphnas.ops import hf_hub, hf_library
from graphnas.ops.base import Statistics, TypeRuleError
from graphnas.ops.hf_hub import HubError
from graphnas.ops.library import Published, built_anywhere, note, parameters_of
from graphnas.ops.opaque import first_line
from graphnas.schema import CLOSED, Text, absolute, error_at, problem_at, refuse

_FORBIDDEN = {  # of a description, at any depth
    **dict.fromkeys(("auto_map", "trust_remote_code", "custom_pipelines"), "leave it out: no code of a repository is run"),
    **dict.fromkeys(("name_or_path", "_name_or_path"), "model: OWNER/NAME"),
    **dict.fromkeys(("return_dict", "torchscript", "output_attentions", "output_hidden_states"), "leave it out; values inside have names"),
    **dict.fromkeys(("dtype", "torch_dtype", "quantization_config"), "leave it out; the runtime of a search has a precision"),
}
_EXAMPLE = "model: google/vit-base-patch16-224"


class HuggingFace(Published):
    """A network of Hugging Face's transformers."""

    op: Literal["huggingface"] = "huggingface"
    from_hub: ClassVar[bool] = False  # ``hf_hub`` asks for all that is of it
    model: Text | None = Field(default=None, examples=["google/vit-base-patch16-224"])
    """A repository of the hub, or a folder that save_pretrained wrote (./FOLDER): its description, and with pretrained its weights."""
    revision: Text | None = Field(default=None, examples=["main"])
    """Branch, tag or commit of the repository; main, if left out."""
    architecture: Text | None = Field(default=None, examples=["vit"])
    """The library's name of the architecture (its model_type); of the repository, if left out."""
    head: Text | None = Field(default=None, examples=["image_classification"])
    """What it is for: semantic_segmentation, depth_estimation, ... as the library's AutoModelFor...; none for the plain network.

    Left out, that of the repository; none for an architecture."""
    config: dict[Text, Any] = Field(default={}, examples=[{"hidden_size": 64, "num_hidden_layers": 4}])
    """Fields of the description, such as num_labels or image_size; the others are the repository's, or the architecture's defaults."""

    @model_validator(mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        hf_library.library()
        if not isinstance(value, Mapping):
            return value
        fields = dict(cast("Mapping[str, Any]", value))
        model, given = fields.get("model"), fields.get("config", {})
        if not isinstance(model, str):
            return fields
        if hf_hub.is_folder(model):
            model = fields["model"] = absolute(model)
        if fields.get("architecture") is None and isinstance(given, Mapping):
            if CLOSED.get():
                raise problem_at(
                    ("model",), f"the description of {model} is outside of what is read", "architecture and config beside it", model
                )
            try:
                architecture, head, config = hf_library.described(hf_hub.read_config(model, fields.get("revision")))
            except HubError as error:
                raise problem_at(("model",), str(error), error.fix, model) from None
            if head is None and fields.get("head") is None:
                raise problem_at(("model",), f"what {model} is for is no head that is known", "head: none", model)
            fields |= {
                "architecture": architecture,
                "head": fields.get("head") or head,
                "config": _merged(config, cast("Mapping[str, Any]", given)),
            }
        return fields

    @model_validator(mode="after")
    def _accepted(self) -> HuggingFace:
        if self.architecture is None:
            raise problem_at((), "no network is named", f"architecture: vit, or {_EXAMPLE}")
        if self.model is None and (self.pretrained or self.revision is not None):
            field = "pretrained" if self.pretrained else "revision"
            raise problem_at((field,), f"an architecture alone has no {'published weights' if self.pretrained else field}", _EXAMPLE)
        known = hf_library.architectures()
        if self.architecture not in known:
            fix = suggest(self.architecture, known)
            raise problem_at(("architecture",), f"transformers has no architecture {self.architecture!r}", fix, self.architecture)
        self._require_head()
        refuse(
            error_at(("config", *path), message, fix, key=True) for path, message, fix in _wrong(self.architecture, self.config, self.label)
        )
        failure = _failure(self.label, self.architecture, self._head, json.dumps(self.config, sort_keys=True))
        if failure is not None:
            raise problem_at(*failure)
        return self

    def _require_head(self) -> None:
        heads = hf_library.heads()
        own = [head for head, classes in heads.items() if self.architecture in classes]
        if self._head not in heads:
            raise problem_at(("head",), f"transformers has no head {self._head!r}", suggest(self._head, own), self._head)
        if self._head not in own:
            raise problem_at(("head",), f"{self.label} has no head {self._head!r}", f"one of {', '.join(own)}", self._head)

    @property
    def label(self) -> str:
        return f"transformers' {self.architecture}"

    @property
    def _head(self) -> str:
        return self.head if self.head is not None else hf_library.NO_HEAD

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        try:
            found = hf_hub.read_statistics(self.model, self.revision) if self.model is not None else None
        except HubError as error:
            raise TypeRuleError(str(error)) from None
        return frozenset() if found is None else frozenset({found})

    def argument_names(self, inputs: Sequence[ValueType]) -> tuple[str, ...] | None:
        assert self.architecture is not None
        kind = hf_library.class_of(self.architecture, self._head)
        if isinstance(self.inputs, Mapping):
            known = parameters_of(kind.forward)
            for name in self.inputs:
                if name not in known:
                    raise TypeRuleError(f"{self.label} reads no {name!r}", fix=suggest(name, known))
            return tuple(self.inputs)
        names = [str(kind.main_input_name)]
        for value in inputs[1:]:
            names.append("attention_mask" if isinstance(value, Mask) else "token_type_ids" if isinstance(value, Ids) else "?")
            if names[-1] == "?" or names.count(names[-1]) > 1:
                raise TypeRuleError(
                    f"as what does {self.label} read the {value}?", fix=f"name them: inputs: {{{names[0]}: VALUE, NAME: VALUE}}"
                )
        return tuple(names)

    def module(self, *, pretrained: bool) -> nn.Module:
        assert self.architecture is not None
        config = hf_library.configuration(self.architecture, self.config)
        kind = hf_library.class_of(self.architecture, self._head)
        if not (pretrained and self.pretrained):
            return hf_library.made(kind, config)
        assert self.model is not None
        try:
            module, new = hf_library.loaded(kind, config, hf_hub.weights_folder(self.model, self.revision))
        except HubError as error:
            raise TypeRuleError(str(error), field="pretrained", fix=error.fix) from None
        note(new)
        return module


@lru_cache(maxsize=256)
def _failure(label: str, architecture: str, head: str, fields_json: str) -> tuple[tuple[str, ...], str] | None:
    """Why the library can't make this network: the field and the message; ``None`` if it can."""
    try:
        config = hf_library.configuration(architecture, json.loads(fields_json))
        built_anywhere(lambda: hf_library.made(hf_library.class_of(architecture, head), config))
    except Exception as error:  # noqa: BLE001 - a library may raise anything about its arguments
        said = first_line(error)
        field = re.search(r"Field '(\w+)' (expected .*)", said)
        return (("config",), f"{label} can't be made: {said}") if field is None else (("config", field[1]), field[2])
    return None


def _wrong(architecture: str, config: Mapping[str, Any], label: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(path, what is wrong, fix) of fields that the description does not have, or may not."""
    known = hf_library.fields_of(architecture)
    for path, name, value in _names(config):
        if name in _FORBIDDEN:
            yield path, f"{label} takes no {name!r} here", _FORBIDDEN[name]
        elif name == "use_pretrained_backbone" and value:
            yield path, f"{label} fetches no backbone of its own", "use_pretrained_backbone: false"
        elif len(path) == 1 and name not in known:
            yield path, f"{label} takes no {name!r}", suggest(name, known)


def _names(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    for name, value in config.items():
        yield (*above, name), name, value
        if isinstance(value, Mapping):
            yield from _names(cast("Mapping[str, Any]", value), (*above, name))


def _merged(published: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The published description with what is given over it, also inside nested ones."""
    made = dict(published)
    for name, value in given.items():
        old = made.get(name)
        made[name] = (
            _merged(cast("Mapping[str, Any]", old), cast("Mapping[str, Any]", value))
            if isinstance(old, Mapping) and isinstance(value, Mapping)
            else value
        )
    return made
