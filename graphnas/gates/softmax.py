"""``softmax`` over the candidate operations of one link, as in DARTS (arXiv:1806.09055), Eq. 2; ``none`` is a candidate like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from torch import Tensor, nn

from graphnas.gates.base import GateFunction
from graphnas.schema import Number, problem_at


class CandidateGate(GateFunction):
    """Gates of a link that share 1 among its candidates, equally at the start: there is no ``initial`` to choose."""

    initial: Annotated[SkipJsonSchema[Number], Field(exclude=True)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _equal_start(cls, value: object) -> object:
        if isinstance(value, Mapping) and "initial" in value:
            raise problem_at(("initial",), "these gates start equal, at 1 / (number of operations)", "leave initial out", value["initial"])
        return value  # pyright: ignore[reportUnknownVariableType]

    def inverse(self, gate: float, candidates: int) -> float:
        return 0.0

    def rounded(self, alpha: Tensor) -> Tensor:
        """One candidate of them all: that of the largest gate."""
        return nn.functional.one_hot(alpha.detach().argmax(dim=-1), alpha.shape[-1]).to(alpha.dtype)


class Softmax(CandidateGate):
    """g_k = exp(alpha_k) / sum_j exp(alpha_j) over the candidates of a link; a single candidate's gate is always 1."""

    function: Literal["softmax"] = "softmax"

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        return alpha.softmax(dim=-1)
