"""Networks of libraries: by name, with arguments that are checked, and with the weights that the library publishes."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, model_validator
from torch import nn

from graphnas.errors import listed, suggest
from graphnas.graph.types import ValueType
from graphnas.ops.base import TypeRuleError
from graphnas.ops.hub import ONCE, hub
from graphnas.ops.opaque import Opaque, first_line, published_weights_wanted, untouched_random_state
from graphnas.schema import Flag, problem_at

_NEW: ContextVar[list[str] | None] = ContextVar("new", default=None)
_REPORT: ContextVar[list[str] | None] = ContextVar("report", default=None)
ELSEWHERE = "pretrained: true, or start_from of the search"
"""What to write instead of an argument that reads weights."""


def note(new: Iterable[str]) -> None:
    """Note names for which the published weights had nothing, such as those of a new head."""
    if (names := _NEW.get()) is not None:
        names.extend(new)


@contextlib.contextmanager
def reported() -> Generator[list[str]]:
    """A line on each set of published weights that is loaded inside."""
    lines: list[str] = []
    token = _REPORT.set(lines)
    try:
        yield lines
    finally:
        _REPORT.reset(token)


class Published(Opaque, ABC):
    """A network whose weights a library publishes."""

    from_hub: ClassVar[bool] = True
    pretrained: Flag = False
    """Start from the library's published weights, which are downloaded once."""

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        if not self.pretrained or not published_weights_wanted():
            return self.module(pretrained=False)
        new: list[str] = []
        token = _NEW.set(new)
        unreachable: str | None = None
        try:
            with hub() if self.from_hub else contextlib.nullcontext() as unreachable:
                module = self.module(pretrained=True)
        except TypeRuleError:
            raise
        except OSError as error:  # no connection, no such file, a server that refuses
            message = f"the published weights of {self.label} can't be fetched: {unreachable or first_line(error)}"
            fix = f"{ONCE}; or pretrained: false" if unreachable else "pretrained: false"
        except Exception as error:  # noqa: BLE001 - whatever a library says of weights that do not fit
            message, fix = f"the published weights of {self.label} can't be loaded: {first_line(error)}", "pretrained: false"
        else:
            if (report := _REPORT.get()) is not None:
                report.append(f"published weights of {self.label}" + (f"; new: {listed(new)}" if new else ""))
            return module
        finally:
            _NEW.reset(token)
        raise TypeRuleError(message, field="pretrained", fix=f"{fix}, or with it start_from: FILE.safetensors in the search's networks")


class ByName(Published, ABC):
    """A network that one or two names choose; further fields are arguments of the library's own."""

    model_config = ConfigDict(extra="allow")
    forbidden: ClassVar[Mapping[str, str]]
    """Arguments that read files, fetch from elsewhere, or change what is returned -> what to write instead."""

    @model_validator(mode="after")
    def _accepted(self) -> ByName:
        self._require_names()
        for name in self.arguments:
            if name in self.forbidden:
                raise problem_at((name,), f"{self.label} takes no {name!r} here", self.forbidden[name])
        failure = _failure(type(self), self.names, json.dumps(self.arguments, sort_keys=True))
        if failure is not None:
            field, message, fix = failure
            raise problem_at((field,) if field else (), f"{self.label} {message}", fix)
        if self.pretrained and not self.is_published():
            raise problem_at(("pretrained",), f"there are no published weights of {self.label}", "pretrained: false")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The further fields."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes on to the library, whether weights are wanted or not."""
        return self.given

    def module(self, *, pretrained: bool) -> nn.Module:
        return self.make(self.names, self.arguments, pretrained=pretrained and self.pretrained)

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What chooses the network."""

    @abstractmethod
    def is_published(self) -> bool:
        """Whether the library has weights of it."""

    @classmethod
    @abstractmethod
    def make(cls, names: tuple[str, ...], arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        """The network of these names."""

    @classmethod
    @abstractmethod
    def builder(cls, names: tuple[str, ...]) -> Callable[..., Any]:
        """The library's function or class that makes it."""

    @abstractmethod
    def _require_names(self) -> None:
        """Refuse names that the library does not know."""

    @classmethod
    def accepted(cls, names: tuple[str, ...]) -> list[str]:
        """Every field that this network takes."""
        made = built_anywhere(lambda: cls.make(names, {}, pretrained=False))
        known = [*parameters_of(cls.builder(names)), *parameters_of(type(made).__init__)]
        own = [name for name in cls.model_fields if name not in ("op", "inputs", "repeat")]
        return [name for name in dict.fromkeys([*own, *known]) if name not in cls.forbidden]

    @classmethod
    def takes_anything(cls, names: tuple[str, ...], made: nn.Module) -> bool:
        """Whether arguments that it does not know may have been taken in silence."""
        return "kwargs" in inspect.signature(type(made).__init__).parameters


@lru_cache(maxsize=256)
def _failure(kind: type[ByName], names: tuple[str, ...], arguments_json: str) -> tuple[str | None, str, str | None] | None:
    """Why the library can't make this network: field, message and fix; ``None`` if it can."""
    arguments: dict[str, Any] = json.loads(arguments_json)
    try:
        made = built_anywhere(lambda: kind.make(names, arguments, pretrained=False))
    except Exception as error:  # noqa: BLE001 - a library may raise anything about its arguments
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unexpected is None:
            return None, f"can't be made: {first_line(error)}", None
        return unexpected[1], f"takes no {unexpected[1]!r}", suggest(unexpected[1], kind.accepted(names))
    if not kind.takes_anything(names, made):
        return None
    accepted = kind.accepted(names)
    unknown = next((name for name in arguments if name not in accepted), None)
    return None if unknown is None else (unknown, f"takes no {unknown!r}", suggest(unknown, accepted))


def built_anywhere(make: Callable[[], nn.Module]) -> nn.Module:
    try:
        with torch.device("meta"):
            return make()
    except TypeError:
        raise
    except Exception:  # noqa: BLE001 - a network whose code needs real numbers
        with untouched_random_state():
            return make()


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names that a function takes its arguments by."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds and p.name != "self"]
