"""JSON Schema of each kind of file, for editors."""

from __future__ import annotations

from typing import Any

from graphnas.errors import SpecError, suggest
from graphnas.spec.loading import KINDS


def json_schema(kind: str) -> dict[str, Any]:
    """The schema of a kind: search, task_pair, search_space or network.

    Raises:
        SpecError: No such kind.
    """
    if kind not in KINDS:
        raise SpecError(f"unknown kind {kind!r}", fix=suggest(kind, KINDS))
    schema = KINDS[kind].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
