"""``Document``: a spec of its own kind, which knows the place of each of its fields in the user's files.

Where a field is a document, text stands for a file or a shipped preset of its kind, which is loaded in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import GetJsonSchemaHandler, ModelWrapValidatorHandler, PrivateAttr, model_validator
from pydantic_core import CoreSchema

from graphnas.errors import Problem, Where
from graphnas.schema import Spec, described, problem
from graphnas.spec.place import Located, Place, dotted


class Document(Spec):
    """The base of the four kinds of file."""

    KIND: ClassVar[str]
    version: Literal[1] = 1
    """Version of the format."""
    _place: Place | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _loaded(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        """Load what text refers to; keep the place of what a file holds."""
        if isinstance(value, str) or (isinstance(value, Located) and value.file is not None):
            from graphnas.spec.loading import load_reference  # reads the models of all kinds

            return load_reference(value, cls, handler)
        if not isinstance(value, (Mapping, cls)):
            raise problem(f"expected a {cls.KIND}, got {described(value)}", "name a file or a preset, or write the fields")
        made = handler(value)
        if isinstance(value, Located):
            made._place = value.place
        return made

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        fields = handler.resolve_ref_schema(handler(schema))
        reference = {"type": "string", "description": "A file, relative to this one, or the name of a shipped preset."}
        return {"title": cls.__name__, "anyOf": [reference, fields]}

    def where(self, *path: str | int) -> Where | None:
        """The place of a field in the user's file, or of its nearest ancestor there; ``None`` for what was built in Python.

        Args:
            path: The field: ``spec.where("links", 0, "direction")``.
        """
        return None if self._place is None else self._place.nearest(path).value

    def problem(self, message: str, *path: str | int, fix: str | None = None) -> Problem:
        """A problem at a field."""
        return Problem(message, self.where(*path), dotted(path), fix)
