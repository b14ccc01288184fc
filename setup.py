"""The packages: graphnas, and the three YAML folders as data packages below graphnas.presets. Everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

PRESETS = {f"graphnas.presets.{folder}": folder for folder in ("networks", "searchspaces", "taskpairs") if Path(folder).is_dir()}

setup(
    packages=[*find_packages(include=["graphnas", "graphnas.*"]), *PRESETS],
    package_dir=PRESETS,
    package_data={"graphnas": ["py.typed"], **{package: ["*.yaml"] for package in PRESETS}},
)
