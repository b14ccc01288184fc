"""Gate functions and penalties, one file each."""

from graphnas.gates.base import GateFunction, Penalty

__all__ = ["GateFunction", "Penalty"]
