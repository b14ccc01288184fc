"""Specs -> plain data and YAML that load to equal specs."""

from __future__ import annotations

from typing import Any

import yaml

from graphnas.spec.document import Document
from graphnas.spec.scalars import reads_as_text

_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BASE):
    """Writes what YAML 1.2 and 1.1 read alike: text that either takes for something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if reads_as_text(text) else "'")


_Dumper.add_representer(str, _text)


def dump_spec(spec: Document) -> dict[str, Any]:
    """Plain data (also JSON) that load to an equal spec; what it referred to stands inside."""
    return spec.model_dump(mode="json", by_alias=True)


def to_yaml(spec: Document) -> str:
    """The same as a YAML file."""
    return yaml.dump(dump_spec(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, default_flow_style=None)
