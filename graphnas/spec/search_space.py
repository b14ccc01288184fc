"""``search_space``: which links are candidates, what they may do, and what must be true when the search has converged."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

from annotated_types import Gt, Le
from pydantic import AllowInfNan, BeforeValidator, Field, Strict, field_validator, model_validator

from graphnas.errors import Problem, suggest
from graphnas.gates.base import GateFunction, Penalty
from graphnas.ops.base import LinkOperation
from graphnas.registry import balances, gates, link_operations, penalties
from graphnas.schema import (
    Flag,
    Named,
    NonNegativeInt,
    NonNegativeNumber,
    PositiveInt,
    PositiveNumber,
    Spec,
    Text,
    described,
    error_at,
    gathered,
    problem,
    refuse,
)
from graphnas.spec.document import Document
from graphnas.spec.link_checks import contradictions, name_of, not_plain, not_shared, sigmoid
from graphnas.spec.place import Path_

ROLES = ("primary", "auxiliary", "any")
"""What a rule may say instead of a task's name; any is every task."""
TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
Combine = Literal["add", "mix", "replace"]


class RandomChoice(Spec):
    """A choice by chance that depends on its seed and the links' names alone: the same links on any machine."""

    telling: ClassVar[str | None] = "fraction"
    fraction: Annotated[float, Strict(), AllowInfNan(False), Gt(0), Le(1)] = Field(examples=[0.5])
    """Share of the links that all other conditions allow, rounded; one link at least."""
    seed: NonNegativeInt = 0
    """Another one chooses other links."""


class Condition(Spec):
    """Between which positions a rule's links run."""

    same_stage: Flag = True
    """Only within stages of the same name; if false, from earlier stages too."""
    max_gap: NonNegativeInt | None = Field(default=None, examples=[2])
    """Largest number of taps that a link may skip forward within a stage; any, if left out."""
    at: Literal["every", "stage_end"] = "every"
    """Every tap, or only the last of each stage."""
    same_resolution: Flag = False
    """Only between taps of equal height and width; of tokens counts the patch grid, and where there is none the length."""
    max_links_per_tap: PositiveInt | None = Field(default=None, examples=[1])
    """How many links of the rule may end at one tap: the nearest sources by position, over all tasks; any number, if left out."""
    random: RandomChoice | None = Field(default=None, examples=[0.5, {"fraction": 0.5, "seed": 1}])
    """Only some of the links, chosen by chance; all, if left out."""


class LinkRule(Spec):
    """One kind of candidate link."""

    direction: Text = Field(examples=["auxiliary -> primary"])
    """SOURCE -> DESTINATION, each a role (primary, auxiliary, or any for every task) or a task's name."""
    where: Condition = Condition()
    """Between which positions."""
    operations: tuple[Annotated[LinkOperation, Named(link_operations, "op")], ...] = Field(
        min_length=1, examples=[[{"op": "conv1x1", "initial": 0}]]
    )
    """Candidate operations; their sum is weighted by the gates."""
    gate: Annotated[GateFunction, Named(gates, "function", default="sigmoid")] = Field(default_factory=sigmoid, examples=["sigmoid"])
    """How architecture parameters become weights of the operations; sigmoid, if left out."""
    penalty: Annotated[Penalty, Named(penalties, "type")] | None = Field(default=None, examples=[{"type": "l1", "strength": 10}])
    """What drives the gates; nothing, if left out."""
    converges_to: Literal["zero", "free", "binary"] = Field(examples=["zero"])
    """What the gates must be in the end: zero (the link is gone at inference), binary (0 or 1), or free."""
    combine: Combine | None = Field(default=None, examples=["mix"])
    """How what arrives combines with the destination's own value; as the destination's fusion says, if left out."""
    tolerance: NonNegativeNumber = 1e-3
    """Largest contribution (gate times gain, relative to what was sent) that counts as zero."""
    max_links: PositiveInt = 100_000
    """How many links the rule may create."""

    @field_validator("direction")
    @classmethod
    def _two_ends(cls, value: str) -> str:
        ends = [end.strip() for end in value.split("->")]
        if len(ends) != 2 or not all(TASK_NAME.fullmatch(end) for end in ends):
            raise problem(f"expected SOURCE -> DESTINATION, got {value!r}", "auxiliary -> primary")
        if ends[0] == ends[1] and ends[0] not in ("auxiliary", "any"):
            raise problem(f"a link joins two tasks, got {value!r}", "auxiliary -> primary")
        for end in ends:  # a task may be called anything, but hardly a misspelt role
            meant = difflib.get_close_matches(end, ("primary", "auxiliary"), n=1, cutoff=0.8)
            if meant and not end.startswith(meant[0]):
                raise problem(f"unknown role {end!r}", f"did you mean {meant[0]!r}?")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> LinkRule:
        refuse(contradictions(self))
        return self

    @property
    def source(self) -> str:
        """A role or a task's name."""
        return self.direction.split("->")[0].strip()

    @property
    def destination(self) -> str:
        """A role or a task's name."""
        return self.direction.split("->")[1].strip()


class Norm(Spec):
    """Normalization of a fused value."""

    telling: ClassVar[str | None] = "type"
    type: Literal["none", "batch_norm", "layer_norm"] = "none"
    """Batch norm acts on each channel over the batch and all positions, layer norm on the channels of each position."""
    eps: PositiveNumber = 1e-3
    """Added to the variance."""
    momentum: PositiveNumber = 0.05
    """Share of the batch in batch norm's running statistics."""


class FusionSpec(Spec):
    """What a destination tap does with its own value and what arrives."""

    combine: Combine = "add"
    """add: sum weighted by gates; mix: convex combination; replace: what arrives takes its place."""
    norm: Norm = Field(default=Norm(), examples=["batch_norm"])
    """Applied to the sum; none, if left out."""
    activation: Literal["none", "relu", "gelu", "silu"] = "none"
    """Applied after the norm."""
    own: Annotated[LinkOperation, Named(link_operations, "op")] | None = Field(
        default=None, alias="self", examples=[{"op": "conv1x1", "initial": 0.9}, {"op": "scale", "initial": 0.9}]
    )
    """An operation on the destination's own value, before what arrives joins it; none, if left out."""
    on: Literal["sum", "links"] = "sum"
    """What norm and activation act on: the sum, or only what arrives by links (they then vanish with the links)."""

    @model_validator(mode="after")
    def _own(self) -> FusionSpec:
        if self.own is not None and self.combine == "replace":
            refuse([error_at(("self",), "replace drops the destination's own value", "leave self out")])
        if self.own is not None and name_of(self.own, "op") == "none":
            refuse([error_at(("self",), "none would drop the destination's own value", "combine: replace, or leave self out")])
        return self


_FUSION = frozenset(field.alias or name for name, field in FusionSpec.model_fields.items())


def _fusion(value: Any) -> Any:
    """One fusion for all destinations, or one for each role or task."""
    if isinstance(value, FusionSpec):
        return value
    if not isinstance(value, Mapping):
        raise problem(f"expected a fusion, or one for each role or task, got {described(value)}", "{combine: add}")
    parts = cast(Mapping[str, Any], value)
    if any(isinstance(part, (Mapping, FusionSpec)) for name, part in parts.items() if name not in _FUSION):
        return gathered({name: (lambda part=part: FusionSpec.model_validate(part)) for name, part in parts.items()})
    return FusionSpec.model_validate(parts)


class Constraints(Spec):
    """What must be true of the network that is left."""

    inference: Literal["primary", "primary+fusion", "all"] = "primary"
    """primary: exactly the primary's network; primary+fusion: and its fusions' own operations, norms and activations; all: every link."""


class _Wrong(NamedTuple):
    path: Path_
    message: str
    fix: str


class SearchSpaceSpec(Document):
    """Which links there may be between the branches."""

    KIND: ClassVar[str] = "search_space"
    kind: Literal["search_space"] = "search_space"
    """This kind of file."""
    links: tuple[LinkRule, ...] = Field(
        examples=[[{"direction": "primary -> auxiliary", "operations": ["conv1x1"], "converges_to": "free"}], []]
    )
    """Rules; none ([]) for single-task training."""
    fusion: Annotated[FusionSpec | dict[Text, FusionSpec], BeforeValidator(_fusion)] = Field(
        default=FusionSpec(), examples=[{"combine": "add", "norm": "batch_norm", "activation": "relu"}, {"auxiliary": {"combine": "mix"}}]
    )
    """Of every destination, or {primary: {...}, auxiliary: {...}}, by role or task; plain sums, if left out."""
    constraints: Constraints = Constraints()
    """What is proven before any training."""
    balance: Annotated[Any, Named(balances, "type", default="sum")] | None = Field(
        default=None, examples=[{"type": "label_ratio", "until": 0.6}]
    )
    """How losses are combined in a search that does not say."""

    @model_validator(mode="after")
    def _asymmetric(self) -> SearchSpaceSpec:
        refuse(error_at(*found) for found in self._would_stay("primary"))
        for i, rule in enumerate(self.links):
            combine = None if rule.combine is not None or rule.destination == "any" else self.fusion_at(rule.destination).combine
            refuse(not_plain(rule, ("links", i)) if combine == "replace" else not_shared(rule, ("links", i)) if combine == "mix" else [])
        return self

    def fusion_of(self, task: str, primary: str) -> FusionSpec:
        """The fusion at a task's taps: of the task, else of its role."""
        role = "primary" if task == primary else "auxiliary"
        return self.fusion if isinstance(self.fusion, FusionSpec) else self.fusion.get(task) or self.fusion_at(role)

    def fusion_at(self, name: str) -> FusionSpec:
        """The fusion that is written for a role or a task."""
        return self.fusion if isinstance(self.fusion, FusionSpec) else self.fusion.get(name, FusionSpec())

    def problems_with(self, primary: str, tasks: Collection[str]) -> list[Problem]:
        """What is wrong with the space for these tasks: names of none, and links that would stay in the primary.

        Args:
            primary: The primary task.
            tasks: All tasks.
        """
        known = [*ROLES, *tasks]
        named = [(("links", i, "direction"), end) for i, rule in enumerate(self.links) for end in (rule.source, rule.destination)]
        if not isinstance(self.fusion, FusionSpec):
            named += [(("fusion", name), name) for name in self.fusion]
        found = [_Wrong(path, f"unknown role or task {name!r}", suggest(name, known)) for path, name in named if name not in known]
        return [self.problem(message, *path, fix=fix) for path, message, fix in (*found, *self._would_stay(primary))]

    def _would_stay(self, primary: str) -> Iterator[_Wrong]:
        """Links, norms and activations that inference would keep in the primary, be it called so or by its task's name."""
        into = [(i, rule) for i, rule in enumerate(self.links) if rule.destination in ("primary", "any", primary)]
        if self.constraints.inference == "all" or not into:
            return
        for i, rule in into:
            if rule.converges_to != "zero":
                message = f"{rule.direction} converges to {rule.converges_to}, and would stay in the primary"
                yield _Wrong(("links", i, "converges_to"), message, "converges_to: zero, or constraints: {inference: all}")
        fusion = self.fusion_of(primary, primary)
        if self.constraints.inference == "primary+fusion":
            return
        one_for_all = isinstance(self.fusion, FusionSpec)
        path = ("fusion",) if one_for_all else ("fusion", primary if primary in cast(Mapping[str, Any], self.fusion) else "primary")
        if fusion.own is not None:
            message = "this operation acts on the primary's own value and would stay after the links are cut"
            yield _Wrong((*path, "self"), message, "fusion: {auxiliary: {self: ...}}, or constraints: {inference: primary+fusion}")
        for part, used in (("norm", fusion.norm.type != "none"), ("activation", fusion.activation != "none")):
            if used and fusion.on == "sum":
                message = f"this {part} acts on the primary's own value and would stay after the links are cut"
                yield _Wrong((*path, part), message, "on: links, or constraints: {inference: primary+fusion}")
