"""What a balance is, and the weights of losses that all of them have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from operator import add
from typing import Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema
from torch import Tensor

from graphnas.schema import NonNegativeNumber, Share, Spec, error_at, refuse
from graphnas.search.balance.balancer import Balancer, Combining, Setting


def summed(terms: Sequence[Tensor]) -> Tensor:
    """Their sum, from the first on; at least one."""
    return reduce(add, terms)


class LinearWeight(Spec):
    """The weight of one task's loss, linear over training; a plain number is constant."""

    start: NonNegativeNumber = Field(examples=[12])
    """Weight at the first step."""
    end: NonNegativeNumber = Field(examples=[0])
    """Weight from ``until`` on."""
    until: Share = Field(default=1, examples=[0.6])
    """Share of training at which it has come to ``end``."""

    @model_validator(mode="before")
    @classmethod
    def _constant(cls, value: object) -> object:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"start": value, "end": value}
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        return {"title": cls.__name__, "anyOf": [{"type": "number", "minimum": 0}, handler.resolve_ref_schema(handler(schema))]}

    def at(self, progress: float) -> float:
        """The weight at a share of training."""
        return self.end if progress >= self.until else self.start + (self.end - self.start) * progress / self.until


class Balance(Spec, ABC):
    """Combines the losses of one batch; subclasses add ``type: Literal["name"] = "name"``.

    A network that is trained for one task alone (a baseline, a fine-tuning) descends the weighted sum, whatever the balance.
    """

    linear: ClassVar[bool] = False
    """Is the weighted sum, whatever the losses are: each loss may be gone back through before the others are known."""
    several: ClassVar[bool] = False
    """Is about two tasks or more: refused in a search without an auxiliary."""
    compares_gradients: ClassVar[bool] = False
    """Computes the gradient of each loss apart; refused with the scaler of float16."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules of optional packages that it needs; they come with ``graphnas[balances]``."""

    weights: dict[str, LinearWeight] = Field(default={}, examples=[{"normals": 3, "segmentation": {"start": 12, "end": 0}}])
    """Task -> weight of its loss: a number, or {start, end, until}; a task that is not named weighs 1."""

    @abstractmethod
    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """What the weights descend: a scalar.

        Args:
            losses: Task -> scalar loss, only of tasks that have labels in the batch; at least one.
            progress: Share of training, 0 to 1.
        """

    def start(self, setting: Setting) -> Balancer:
        """The balance at work in one phase of training; one that remembers something, or needs more than the losses, has its own."""
        return Combining(self, setting)

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """What the alphas descend, whatever the weights do: sum of weight times loss."""
        return summed([self.weight(task, progress) * loss for task, loss in losses.items()])

    def weight(self, task: str, progress: float) -> float:
        """The weight of a task's loss at a share of training."""
        return self.weights[task].at(progress) if task in self.weights else 1.0

    @model_validator(mode="after")
    def _installed(self) -> Balance:
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            kind: Any = getattr(self, "type", type(self).__name__)
            refuse([error_at((), f"{kind!r} needs {', '.join(missing)}, not installed here", "pip install 'graphnas[balances]'")])
        return self
