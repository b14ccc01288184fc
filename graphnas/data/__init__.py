"""Data: layouts of samples on disk, transforms of images with their labels, splits, and batches that depend on seeds alone."""

from __future__ import annotations

from graphnas.data.base import FileLayout, Layout, Records, Validation
from graphnas.data.batches import Batch, workers_explained
from graphnas.data.cache import Loading
from graphnas.data.dataset import Data
from graphnas.data.opening import open_data
from graphnas.data.preprocessing import describe_inference

__all__ = [
    "open_data",
    "Data",
    "Batch",
    "Loading",
    "describe_inference",
    "Layout",
    "FileLayout",
    "Records",
    "Validation",
    "workers_explained",
]
