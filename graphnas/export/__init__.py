"""Artifacts on disk."""

from graphnas.export.artifact import load, read_certificate, read_description, save

__all__ = ["load", "read_certificate", "read_description", "save"]
