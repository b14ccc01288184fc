"""What can be predicted: one file a task type, with its loss, its metrics and the encoding of its labels."""

from __future__ import annotations

from graphnas.tasks.base import Labeled, Metrics, TaskType

__all__ = ["TaskType", "Metrics", "Labeled"]
