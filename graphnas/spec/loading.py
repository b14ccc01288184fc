"""Files, presets, references and overrides -> validated specs; everything that is wrong, in all files of a run, at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from graphnas.errors import Problem, SpecError, Where, suggest
from graphnas.schema import CLOSED, FOLDER, GivenHere, described, located, problem, refuse
from graphnas.spec.document import Document
from graphnas.spec.messages import in_order, problems_of
from graphnas.spec.network import NetworkSpec
from graphnas.spec.overrides import Override, apply, read_override
from graphnas.spec.place import File, Located, Place
from graphnas.spec.presets import FOLDERS, presets
from graphnas.spec.search import SearchSpec
from graphnas.spec.search_space import SearchSpaceSpec
from graphnas.spec.source import read_file
from graphnas.spec.task_pair import TaskPairSpec

AnySpec = NetworkSpec | SearchSpaceSpec | TaskPairSpec | SearchSpec

KINDS: dict[str, type[Document]] = {model.KIND: model for model in (SearchSpec, TaskPairSpec, SearchSpaceSpec, NetworkSpec)}
_SUFFIXES = (".yaml", ".yml", ".json")


def load_spec(source: str | Path, *, kind: str | None = None, overrides: Sequence[str] = (), folder: str | Path | None = None) -> Any:
    """Read a spec with all that it refers to.

    Args:
        source: A path, or the name of a shipped preset.
        kind: The kind that it must be; any, if left out.
        overrides: ``a.b.c=value``, as after ``--set``; checked like the file's own content.
        folder: Where the file's relative paths start from, if not its own folder (for a preset, the current one).
    Returns:
        A ``NetworkSpec``, ``SearchSpaceSpec``, ``TaskPairSpec`` or ``SearchSpec``.
    Raises:
        SpecError: All that is wrong, in all files.
    """
    _known(kind)
    read = [read_override(text) for text in overrides]
    problems = [found for found in read if isinstance(found, Problem)]
    with _session() as session:
        file = _find(os.fspath(source), kind, _here(), is_path=isinstance(source, Path))
        if isinstance(file, Problem):
            raise SpecError([dataclasses.replace(file, where=Where(os.fspath(source))), *problems])
        if folder is not None:
            file = dataclasses.replace(file, folder=os.path.abspath(folder))
        data, found = session.read(file, kind)
        problems += found
        if data is not None and (wrong := _unexpected(data, data.place, kind)) is not None:
            problems.append(wrong)
        elif data is not None:
            model = KINDS[data.get("kind") or kind or ""]
            problems += apply([override for override in read if isinstance(override, Override)], data, model, session.expand)
            made, found = session.build(data, model)
            problems += _without_echo(found, problems)
            if made is not None and not problems:
                return made
    raise SpecError(in_order(problems))


def parse_spec(data: Mapping[str, Any], *, kind: str | None = None, folder: str | Path | None = None, references: bool = True) -> Any:
    """The same from data.

    Args:
        data: As a file would hold it; references are followed.
        kind: The kind that it must be.
        folder: Where relative paths start from; the current folder, if left out.
        references: Whether the data may name files and presets; if not, all must be in the data themselves.
    Raises:
        SpecError: All that is wrong, in the data and in the files that they name.
    """
    _known(kind)
    if (wrong := _unknown_kind(data, None, kind) or _unexpected(data, None, kind)) is not None:
        raise SpecError(wrong)
    with _session(), _folder(os.path.abspath(folder) if folder is not None else os.getcwd()):
        token = CLOSED.set(not references)
        try:
            return KINDS[data.get("kind", kind)].model_validate(data)
        except ValidationError as error:
            raise SpecError(in_order(problems_of(error, data, None))) from None
        finally:
            CLOSED.reset(token)


# -- references


def load_reference(value: str | Located, model: type[Document], handler: Callable[[Any], Any]) -> Any:
    """What a field holds that is a document.

    Args:
        value: Text that names a file or a preset, or the content of a file.
        model: The kind expected there.
        handler: The validation of content.
    Raises:
        ValidationError: It can't be found, or is wrong; problems in the file have its places.
    """
    if CLOSED.get():
        raise problem(f"{value!r} is outside of what is read, where nothing may be named", "the content itself")
    with _session() as session:
        if isinstance(value, Located):
            if session.chain and session.chain[-1][1] is value:
                made = handler(value)
                made._place = value.place
                return made
            made, problems = session.build(value, model)
        else:
            file = _find(value, model.KIND, session.file)
            if isinstance(file, Problem):
                raise problem(file.message, file.fix)
            made, problems = session.load(file, model)
        refuse(located(problems))
        return made


def _find(text: str, kind: str | None, base: File, *, is_path: bool = False) -> File | Problem:
    """The file of a reference; a problem says nothing of where it stands.

    Args:
        text: With a suffix or a folder a path, else a preset's name.
        kind: The kind wanted; any, if ``None``.
        base: The file that it stands in.
        is_path: It is a path in any case.
    """
    if isinstance(text, GivenHere):
        base = _here()
    if is_path or text.endswith(_SUFFIXES) or "/" in text or os.sep in text or text in (".", ".."):
        path = os.path.normpath(os.path.join(base.folder, os.path.expanduser(text)))
        shown = os.path.normpath(os.path.join(os.path.dirname(base.shown), os.path.expanduser(text)))
        return File(path, shown, os.path.dirname(path))
    kinds = [each for each in ([kind] if kind else FOLDERS) if text in presets(each)]
    if len(kinds) > 1:
        return Problem(f"{text!r} is a {' and a '.join(kinds)}", fix="name the file")
    if kinds:
        path = os.fspath(presets(kinds[0])[text])
        relative = os.path.relpath(path)
        return File(path, path if relative.startswith("..") else relative, os.getcwd())  # a preset's data lie where the user is
    near = [name for name in (f"{text}{suffix}" for suffix in _SUFFIXES) if os.path.exists(os.path.join(base.folder, name))]
    known = [name for each in ([kind] if kind else FOLDERS) for name in presets(each)]
    fix = f"did you mean the file {near[0]!r}?" if near else suggest(text, known) if known else "name a file, with its suffix: NAME.yaml"
    return Problem(f"unknown {'preset' if kind is None else kind} {text!r}", fix=fix)


def _here() -> File:
    """What stands for the file of what stands in none."""
    return File("", "", os.getcwd())


@dataclass
class _Session:
    """One call of ``load_spec`` or its like.

    Args:
        chain: The files that are being loaded, outermost first.
        documents: What was loaded, by path and kind.
    """

    chain: list[tuple[File, Located]] = field(default_factory=list[tuple[File, Located]])
    documents: dict[tuple[str, str], tuple[Any, list[Problem]]] = field(default_factory=dict[tuple[str, str], tuple[Any, list[Problem]]])

    @property
    def file(self) -> File:
        """The file that is being validated."""
        return self.chain[-1][0] if self.chain else File("", "", os.fspath(FOLDER.get() or os.getcwd()))

    def read(self, file: File, kind: str | None) -> tuple[Located | None, list[Problem]]:
        """The content of a file, and what is wrong with it; ``None`` where nothing more can be said."""
        source = read_file(Path(file.path), file.shown)
        data, problems = source.data, source.problems
        if not isinstance(data, Located):
            if not problems:
                message = "the file is empty" if data is None else f"expected a mapping of fields, got {described(data)}"
                problems.append(Problem(message, source.place.value, fix=f"start with kind: {kind or 'search'}"))
            return None, problems
        data.file = file
        unknown = _unknown_kind(data, data.place, kind)
        if unknown is not None:
            problems.append(unknown)
        return (None if unknown is not None and ("kind" in data or kind is None) else data), problems

    def load(self, file: File, model: type[Document]) -> tuple[Any, list[Problem]]:
        """The document of a file that another refers to, loaded once.

        Raises:
            PydanticCustomError: It is of another kind, or is being loaded already.
        """
        known = (file.path, model.KIND)
        if known in self.documents:
            return self.documents[known]
        names = [other.path for other, _ in self.chain]
        if file.path in names:
            chain = " -> ".join([*(other.shown for other, _ in self.chain[names.index(file.path) :]), file.shown])
            raise problem(f"specs refer to each other in a cycle: {chain}", "let one of them not refer to the other")
        data, problems = self.read(file, model.KIND)
        if data is None and (first := problems[0]).where == Where(file.shown):  # of the file as a whole: what names it is wrong
            raise problem(f"{file.shown}: {first.message}", first.fix)
        if data is not None and (wrong := _unexpected(data, data.place, model.KIND)) is not None:
            raise problem(f"a {model.KIND} is expected here, {file.shown} is a {data['kind']}", wrong.fix)
        made, found = self.build(data, model) if data is not None else (None, [])
        self.documents[known] = (made, [*problems, *_without_echo(found, problems)])
        return self.documents[known]

    def expand(self, text: str, model: type[Document], base: File) -> Located | None:
        """The content of a file that an override goes into; ``None`` where there is none, which validation will say."""
        file = _find(text, model.KIND, base)
        data = self.read(file, model.KIND)[0] if isinstance(file, File) else None
        return data if data is not None and _unexpected(data, data.place, model.KIND) is None else None

    def build(self, data: Located, model: type[Document]) -> tuple[Any, list[Problem]]:
        """The document of a file's content, or what is wrong with it."""
        assert data.file is not None
        self.chain.append((data.file, data))
        try:
            with _folder(data.file.folder):
                return model.model_validate(data), []
        except ValidationError as error:
            return None, problems_of(error, data, data.place)
        finally:
            self.chain.pop()


def _without_echo(found: Sequence[Problem], read: Sequence[Problem]) -> list[Problem]:
    """What validation found, without what follows from a value that could not be read."""
    known = {problem.where for problem in read}
    return [problem for problem in found if problem.where is None or problem.where not in known]


_SESSION: ContextVar[_Session | None] = ContextVar("_SESSION", default=None)


@contextmanager
def _session() -> Generator[_Session]:
    """That of the call that is under way, else a new one."""
    current = _SESSION.get()
    if current is not None:
        yield current
        return
    token = _SESSION.set(_Session())
    try:
        yield cast(_Session, _SESSION.get())
    finally:
        _SESSION.reset(token)


@contextmanager
def _folder(folder: str) -> Generator[None]:
    token = FOLDER.set(Path(folder))
    try:
        yield
    finally:
        FOLDER.reset(token)


# -- kinds


def _known(kind: str | None) -> None:
    if kind is not None and kind not in KINDS:
        raise SpecError(f"unknown kind {kind!r}", fix=suggest(kind, KINDS))


def _unknown_kind(data: Mapping[str, Any], place: Place | None, expected: str | None) -> Problem | None:
    """A kind that is none, or is not said; data built in Python need not say what is expected."""
    if "kind" not in data:
        if place is None and expected is not None:
            return None
        fix = f"kind: {expected}" if expected else f"kind: {' | '.join(KINDS)}"
        return Problem("missing field 'kind'", place.value if place else None, fix=fix)
    where = place.nearest(["kind"]).value if place else None
    kind = data["kind"]
    if not isinstance(kind, str):
        return Problem(f"expected a kind, got {described(kind)}", where, "kind", f"one of {', '.join(KINDS)}")
    return None if kind in KINDS else Problem(f"unknown kind {kind!r}", where, "kind", suggest(kind, KINDS))


def _unexpected(data: Mapping[str, Any], place: Place | None, expected: str | None) -> Problem | None:
    kind = data.get("kind", expected)
    if expected is None or kind == expected:
        return None
    where = place.nearest(["kind"]).value if place else None
    return Problem(f"a {expected} is expected, this is a {kind}", where, "kind", f"name a file of kind: {expected}")
