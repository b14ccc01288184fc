"""What is said of a forward that a graph can't hold."""

from __future__ import annotations

from graphnas.errors import RecordError


class Refusal(RecordError):
    """A module's forward does something that a graph can't hold.

    Args:
        message: What, and at which line.
        path: The module whose forward it is; ``""`` for the one that is recorded.
        otherwise: What to do about it, apart from taking another tap.
        data_dependent: Whether the forward asks for the value of a tensor.
        tap: A tap with which it can be held, if one is known.
    """

    def __init__(self, message: str, *, path: str, otherwise: str, data_dependent: bool = False, tap: str | None = None) -> None:
        self.message, self.path, self.otherwise, self.data_dependent = message, path, otherwise, data_dependent
        super().__init__(message, fix=f"tap {tap!r} itself, which stays as it is then; or {otherwise}" if tap else otherwise)

    def with_tap(self, tap: str | None) -> Refusal:
        """The same, with a tap that was tried."""
        return Refusal(self.message, path=self.path, otherwise=self.otherwise, data_dependent=self.data_dependent, tap=tap)


class Difference(Refusal):
    """A recording that does not do what the module does."""
