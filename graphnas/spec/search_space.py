"""``search_space``: which links are candidates, what they may do, and what must be true when the search has converged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from graphnas.errors import suggest
from graphnas.gates.base import GateFunction, Penalty
from graphnas.registry import gates, link_operations, penalties
from graphnas.schema import Flag, Named, NonNegativeInt, NonNegativeNumber, PositiveInt, PositiveNumber, Spec, Text, gathered, problem_at
from graphnas.spec.document import Document

ROLES = ("primary", "auxiliary")
Combine = Literal["add", "mix", "replace"]


class Condition(Spec):
    """Between which positions a rule's links run."""

    same_stage: Flag = True
    """Only within stages of the same name; else from earlier stages too."""
    max_gap: NonNegativeInt | None = None
    """Largest number of taps that a link may skip forward within a stage; any, if left out."""
    at: Literal["every", "stage_end"] = "every"
    """Every tap, or only the last of each stage."""


class LinkRule(Spec):
    """One kind of candidate link."""

    direction: Text = Field(examples=["auxiliary -> primary"])
    """SOURCE -> DESTINATION, each a role (primary, auxiliary) or a task's name."""
    where: Condition = Condition()
    """Between which positions."""
    operations: tuple[Annotated[Spec, Named(link_operations, "op")], ...] = Field(min_length=1)
    """Candidate operations; their sum is weighted by the gates."""
    gate: Annotated[GateFunction, Named(gates, "function", default="sigmoid")] = Field(default_factory=lambda: gates.get("sigmoid")())
    """How the architecture parameters become weights of the operations."""
    penalty: Annotated[Penalty, Named(penalties, "type")] | None = None
    """What drives the gates."""
    converges_to: Literal["zero", "free", "binary"]
    """What the gates must be in the end: zero (the link is gone at inference), binary, or free."""
    combine: Combine | None = None
    """How what arrives combines with the destination's own value; as the destination's fusion says, if left out."""
    tolerance: NonNegativeNumber = 1e-3
    """Largest contribution (gate times gain, relative to what was sent) that counts as zero."""
    max_links: PositiveInt = 100_000
    """How many links the rule may create."""

    @field_validator("direction")
    @classmethod
    def _two_ends(cls, value: str) -> str:
        parts = [part.strip() for part in value.split("->")]
        if len(parts) != 2 or not all(parts):
            raise problem_at((), f"expected SOURCE -> DESTINATION, got {value!r}", "auxiliary -> primary", value)
        if parts[0] == parts[1] == "primary":
            raise problem_at((), "a link joins two tasks, and there is one primary", "auxiliary -> primary", value)
        return value

    @model_validator(mode="after")
    def _plain_replace(self) -> LinkRule:
        if self.combine == "replace":
            _require_plain(self)
        return self

    @property
    def source(self) -> str:
        """A role or a task's name."""
        return self.direction.split("->")[0].strip()

    @property
    def destination(self) -> str:
        """A role or a task's name."""
        return self.direction.split("->")[1].strip()


def _require_plain(rule: LinkRule) -> None:
    """``replace`` has one operation and no alpha."""
    if len(rule.operations) > 1:
        raise problem_at(("operations",), f"replace takes one operation, got {len(rule.operations)}", "keep one")
    if rule.penalty is not None:
        raise problem_at(("penalty",), "replace has no gates to penalize", "leave penalty out")


class Norm(Spec):
    """Normalization of a fused value."""

    telling: ClassVar[str] = "type"
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
    norm: Norm = Norm()
    """Applied to the sum."""
    activation: Literal["none", "relu", "gelu", "silu"] = "none"
    """Applied after the norm."""
    on: Literal["sum", "links"] = "sum"
    """What norm and activation act on: the sum, or only what arrives by links (they then vanish with the links)."""


def _fusion(value: Any) -> Any:
    """One fusion for all destinations, or one for each role or task."""
    if isinstance(value, FusionSpec):
        return value
    if not isinstance(value, Mapping):
        raise problem_at((), f"expected a fusion, or one for each role or task, got {value!r}", "{combine: add}")
    if not value or not set(value).isdisjoint(FusionSpec.model_fields):
        return FusionSpec.model_validate(value)
    return gathered({key: (lambda part=part: FusionSpec.model_validate(part)) for key, part in value.items()})


class Constraints(Spec):
    """What must be true of the network that is left."""

    inference: Literal["primary", "primary+fusion", "all"] = "primary"
    """primary: exactly the primary's network; primary+fusion: and its fusions' norms and activations; all: the whole supernet."""


class SearchSpaceSpec(Document):
    """Which links there may be between the branches."""

    KIND: ClassVar[str] = "search_space"
    kind: Literal["search_space"] = "search_space"
    links: tuple[LinkRule, ...]
    """Rules; none for single-task training."""
    fusion: Annotated[FusionSpec | dict[Text, FusionSpec], BeforeValidator(_fusion)] = FusionSpec()
    """Of every destination, or {primary: {...}, auxiliary: {...}}."""
    constraints: Constraints = Constraints()
    """What is proven before any training."""

    @model_validator(mode="after")
    def _asymmetric(self) -> SearchSpaceSpec:
        if self.constraints.inference != "all":
            for i, rule in enumerate(self.links):
                if rule.destination == "primary" and rule.converges_to != "zero":
                    raise problem_at(
                        ("links", i, "converges_to"), f"{rule.direction} converges to {rule.converges_to}, and would stay in the primary",
                        "converges_to: zero, or constraints: {inference: all}", rule.converges_to,
                    )  # fmt: skip
        for i, rule in enumerate(self.links):
            if rule.combine is None and any(fusion.combine == "replace" for fusion in self._fusions_at(rule.destination)):
                gathered({"links": lambda i=i, rule=rule: gathered({i: lambda: _require_plain(rule)})})
        self._require_vanishing()
        return self

    def _fusions_at(self, role: str) -> list[FusionSpec]:
        if isinstance(self.fusion, FusionSpec):
            return [self.fusion]
        return [self.fusion[role]] if role in self.fusion else []

    def _require_vanishing(self) -> None:
        """A norm or activation on the primary's own value would outlive the links."""
        into_primary = any(rule.destination not in ("auxiliary",) and rule.source != "primary" for rule in self.links)
        if self.constraints.inference != "primary" or not any(rule.destination == "primary" for rule in self.links) or not into_primary:
            return
        path, fusion = (
            (("fusion",), self.fusion) if isinstance(self.fusion, FusionSpec) else (("fusion", "primary"), self.fusion.get("primary"))
        )
        if not isinstance(fusion, FusionSpec) or fusion.on == "links":
            return
        for part, used in (("norm", fusion.norm.type != "none"), ("activation", fusion.activation != "none")):
            if used:
                raise problem_at(
                    (*path, part), f"this {part} acts on the primary's own value and would stay after the links are cut",
                    "on: links, or constraints: {inference: primary+fusion}",
                )  # fmt: skip

    def fusion_of(self, task: str, primary: str) -> FusionSpec:
        """The fusion at a task's taps: of the task, else of its role."""
        if isinstance(self.fusion, FusionSpec):
            return self.fusion
        role = "primary" if task == primary else "auxiliary"
        return self.fusion.get(task) or self.fusion.get(role) or FusionSpec()

    def check_tasks(self, tasks: Mapping[str, object]) -> None:
        """Every role or task that the space names must be there.

        Raises:
            ValidationError: One is not.
        """
        known = [*ROLES, *tasks]
        for i, rule in enumerate(self.links):
            for name in (rule.source, rule.destination):
                if name not in known:
                    raise problem_at(("links", i, "direction"), f"unknown role or task {name!r}", suggest(name, known), rule.direction)
        if not isinstance(self.fusion, FusionSpec):
            for name in self.fusion:
                if name not in known:
                    raise problem_at(("fusion", name), f"unknown role or task {name!r}", suggest(name, known))
