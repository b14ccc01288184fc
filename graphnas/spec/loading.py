"""Files, presets, references and overrides -> validated specs; everything that is wrong, in all files of a run, at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from graphnas.errors import Problem, SpecError, Where, suggest
from graphnas.schema import GivenHere
from graphnas.spec.document import Document, dotted
from graphnas.spec.messages import problems_of
from graphnas.spec.network import NetworkSpec
from graphnas.spec.search import SearchSpec
from graphnas.spec.search_space import SearchSpaceSpec
from graphnas.spec.source import Positioned, PositionedDict, PositionedList, described, parse, read
from graphnas.spec.task_pair import TaskPairSpec

AnySpec = NetworkSpec | SearchSpaceSpec | TaskPairSpec | SearchSpec

KINDS: dict[str, type[Document]] = {model.KIND: model for model in (SearchSpec, TaskPairSpec, SearchSpaceSpec, NetworkSpec)}
FOLDERS = {"search_space": "searchspaces", "task_pair": "taskpairs", "network": "networks"}
"""Kind -> the folder of its shipped presets."""

_REFERENCES: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {  # kind -> where it names another spec, and of which kind
    "search": ((("task_pair",), "task_pair"), (("space",), "search_space"), (("networks", "*", "use"), "network")),
    "network": ((("nodes", "*", "use"), "network"),),
}
_SUFFIXES = (".yaml", ".yml", ".json")


def load_spec(source: str | Path, *, kind: str | None = None, overrides: Sequence[str] = ()) -> Any:
    """Read a spec with all that it refers to.

    Args:
        source: A path, or the name of a shipped preset.
        kind: The kind that it must be; any, if left out.
        overrides: ``a.b.c=value``, as after ``--set``; checked like the file's own content.
    Returns:
        A ``NetworkSpec``, ``SearchSpaceSpec``, ``TaskPairSpec`` or ``SearchSpec``.
    Raises:
        SpecError: All that is wrong, in all files.
    """
    loader = _Loader()
    raw = loader.document(str(source), kind, Path.cwd(), None)
    if raw is not None:
        for override in overrides:
            loader.override(raw, override)
        loader.expand(raw)
    return loader.validated(raw, kind)


def parse_spec(data: Mapping[str, Any], *, kind: str | None = None, folder: str | Path | None = None) -> Any:
    """The same from data.

    Args:
        data: As a file would hold it; references are followed.
        kind: The kind that it must be.
        folder: Where relative paths start from; the current folder, if left out.
    """
    loader = _Loader()
    raw = _positioned(data)
    raw.folder = Path(folder).resolve() if folder is not None else Path.cwd()
    loader.expand(raw)
    return loader.validated(raw, kind)


def dump_spec(spec: Document) -> dict[str, Any]:
    """Plain data that loads to an equal spec; what it referred to stands inside."""
    return spec.model_dump(mode="json", by_alias=True)


def to_yaml(spec: Document) -> str:
    """As ``dump_spec``, as YAML text."""
    return yaml.dump(dump_spec(spec), Dumper=_Dumper, sort_keys=False, width=140, default_flow_style=None)  # pyright: ignore[reportUnknownMemberType]


def presets(kind: str) -> list[str]:
    """Names of the shipped specs of a kind."""
    return sorted(_preset_files(kind))


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as a number."""


_Dumper.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+"), list("-+.0123456789")
)


def _preset_files(kind: str) -> dict[str, Path]:
    folder = FOLDERS.get(kind)
    if folder is None:
        return {}
    packaged = Path(str(resources.files("graphnas.presets"))) / folder
    found = packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / folder
    return {file.stem: file for file in sorted(found.glob("*.yaml"))}


def _positioned(value: Any) -> Any:
    """Data with the containers that loading works on; without positions."""
    if isinstance(value, Positioned) or not isinstance(value, (Mapping, list, tuple)):
        return value
    if isinstance(value, Mapping):
        made = PositionedDict()
        made.update({key: _positioned(part) for key, part in value.items()})
        return made
    items = PositionedList()
    items.extend(_positioned(part) for part in value)
    return items


class _Loader:
    """Loads one spec with its references, and collects problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.failed: set[int] = set()  # ids of containers that hold a reference that could not be loaded
        self.chain: list[Path] = []

    def document(self, reference: str, kind: str | None, folder: Path, where: Where | None) -> PositionedDict | None:
        """The data of a file or preset, its references loaded too; ``None``, and a problem, if that fails."""
        try:
            path, base = self.find(reference, kind, folder, where)
            if path in self.chain:
                names = " -> ".join(p.name for p in [*self.chain[self.chain.index(path) :], path])
                raise SpecError(f"specs refer to each other in a cycle: {names}", where=where, fix="let one of them not refer to the other")
            raw = read(path)
            raw.folder = base or raw.folder
            self.check_kind(raw, kind, path)
        except SpecError as error:
            self.problems += [Problem(p.message, p.where or where, p.path, p.fix) for p in error.problems]
            return None
        self.chain.append(path)
        self.expand(raw)
        self.chain.pop()
        return raw

    def find(self, reference: str, kind: str | None, folder: Path, where: Where | None) -> tuple[Path, Path | None]:
        """The file of a reference, and, for a preset, the folder that its data paths start from (the current one)."""
        if Path(reference).suffix in _SUFFIXES or "/" in reference or "\\" in reference:
            path = Path(folder, Path(reference).expanduser())
            if where is not None and not path.exists():
                siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
                raise SpecError(f"no such file: {reference}", where=where, fix=suggest(path.name, siblings) if siblings else "check the path")
            return _shortest(path), None
        kinds = [kind] if kind is not None else list(FOLDERS)
        files = {name: file for each in kinds for name, file in _preset_files(each).items()}
        if reference in files:
            return files[reference], Path.cwd()
        if Path(folder, reference).exists():
            raise SpecError(f"{reference} has no suffix", where=where or Where(reference), fix=f"a spec ends in {', '.join(_SUFFIXES)}")
        words = f"{kind or 'preset'} {reference!r}"
        raise SpecError(f"unknown {words}", where=where, fix=suggest(reference, files) if files else "name a file, such as space.yaml")

    def check_kind(self, raw: PositionedDict, expected: str | None, path: Path) -> None:
        found = raw.get("kind")
        where = raw.values_at.get("kind", raw.where)
        if found is None:
            raise SpecError("missing field 'kind'", where=Where(str(path), 1, 1), fix=f"kind: {expected or 'search, search_space, task_pair or network'}")
        if found not in KINDS:
            raise SpecError(f"unknown kind {found!r}", where=where, path="kind", fix=suggest(str(found), KINDS))
        if expected is not None and found != expected:
            raise SpecError(f"a {expected} is expected here, this is a {found}", where=where, path="kind", fix=f"name a file of kind: {expected}")

    def expand(self, raw: PositionedDict) -> None:
        """Load what a document refers to, in place."""
        kind = raw.get("kind")
        for pattern, wanted in _REFERENCES.get(kind, ()) if isinstance(kind, str) else ():
            for holder, key in _holders(raw, pattern):
                self.load(raw, holder, key, wanted)

    def load(self, root: PositionedDict, holder: PositionedDict, key: str, wanted: str) -> None:
        value = holder[key]
        if isinstance(value, PositionedDict):
            if "kind" not in value and wanted == "network" and "nodes" not in value:
                return
            value.setdefault("kind", wanted)
            value.folder = value.folder or root.folder
            self.expand(value)
        elif isinstance(value, str) and not value.startswith("$"):
            folder = Path.cwd() if isinstance(value, GivenHere) else root.folder or Path.cwd()
            loaded = self.document(value, wanted, folder, holder.values_at.get(key, holder.where))
            if loaded is None:
                self.failed.add(id(holder))
                del holder[key]
            else:
                holder[key] = loaded

    # -- overrides

    def override(self, root: PositionedDict, text: str) -> None:
        """Apply ``a.b[0].c=value``."""
        path, equals, value = text.partition("=")
        where = Where(f"--set {path.strip()}")
        if not equals or not path.strip():
            self.problems.append(Problem(f"expected NAME=VALUE, got {text!r}", Where("--set"), fix="--set training.epochs=3"))
            return
        keys = [int(key) if key.isdigit() else key for key in re.findall(r"[^.\[\]]+", path.strip())]
        try:
            new = _given_here(parse(value, str(where)), where)
            self.set(root, keys, new, where)
        except SpecError as error:
            self.problems += [Problem(p.message, where, p.path, p.fix) for p in error.problems]

    def set(self, root: PositionedDict, keys: Sequence[str | int], value: Any, where: Where) -> None:
        current: Any = root
        for i, key in enumerate(keys[:-1]):
            self.open(root, keys[: i + 1], current, key)
            if isinstance(current, PositionedList):
                current = current[_index(current, key, keys[: i + 1], where)]
            elif isinstance(current, PositionedDict):
                name = str(key)
                if current.get(name) is None:
                    current[name] = PositionedDict()
                    current.keys_at[name] = current.values_at[name] = where
                current = current[name]
            if not isinstance(current, Positioned):
                raise SpecError(f"{dotted(keys[: i + 1])} is {described(current)} and has no parts", fix=f"--set {dotted(keys[: i + 1])}=...")
        last = keys[-1] if isinstance(current, PositionedDict) else _index(current, keys[-1], keys, where)
        name = str(last) if isinstance(current, PositionedDict) else last
        current[name] = value
        current.values_at[name] = where
        if isinstance(current, PositionedDict):
            current.keys_at[name] = where

    def open(self, root: PositionedDict, path: Sequence[str | int], holder: Any, key: str | int) -> None:
        """Load the reference that an override goes through."""
        if isinstance(holder, PositionedDict) and isinstance(holder.get(str(key)), str):
            self.expand(root)
            if isinstance(holder.get(str(key)), str) and "kind" not in holder and len(path) == 2 and path[0] == "networks":
                holder[str(key)] = _use(holder, str(key))
                self.expand(root)

    # -- the end

    def validated(self, raw: PositionedDict | None, kind: str | None) -> Any:
        """The model, or all problems."""
        if raw is not None:
            found = raw.get("kind")
            if not isinstance(found, str) or found not in KINDS:
                self.problems.append(Problem(f"unknown kind {found!r}", raw.values_at.get("kind", raw.where), "kind", suggest(str(found), KINDS)))
            elif kind is not None and found != kind:
                self.problems.append(Problem(f"a {kind} is expected here, this is a {found}", raw.values_at.get("kind"), "kind", f"kind: {kind}"))
            else:
                try:
                    made = KINDS[found].model_validate(raw)
                    if not self.problems:
                        return made
                except ValidationError as error:
                    self.problems += [p for p in problems_of(error, raw) if not self._follows(p, raw)]
        raise SpecError(sorted(dict.fromkeys(self.problems), key=_place))

    def _follows(self, problem: Problem, raw: PositionedDict) -> bool:
        """Whether a missing field only says again that its reference could not be loaded."""
        if not problem.message.startswith("missing field") or not self.failed:
            return False
        holder: Any = raw
        for key in [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", problem.path)]:
            holder = holder[key]
        return id(holder) in self.failed


def _place(problem: Problem) -> tuple[Any, ...]:
    where = problem.where or Where("")
    return (where.source, where.line or 0, where.column or 0, problem.path)


def _holders(raw: PositionedDict, pattern: Sequence[str]) -> list[tuple[PositionedDict, str]]:
    """The mappings and keys that a pattern leads to; a text where a mapping with ``use`` may stand becomes that mapping."""
    found: list[tuple[PositionedDict, str]] = []
    current: list[PositionedDict] = [raw]
    for part in pattern[:-1]:
        nexts: list[PositionedDict] = []
        for holder in current:
            for key in list(holder) if part == "*" else [part]:
                value = holder.get(key)
                if part == "*" and isinstance(value, str) and pattern[0] == "networks":
                    value = holder[key] = _use(holder, key)
                if isinstance(value, PositionedDict):
                    nexts.append(value)
        current = nexts
    for holder in current:
        if isinstance(holder.get(pattern[-1]), (str, PositionedDict)) and (pattern[0] != "nodes" or holder.get("op") == "network"):
            found.append((holder, pattern[-1]))
    return found


def _use(holder: PositionedDict, key: str) -> PositionedDict:
    made = PositionedDict()
    made["use"] = holder[key]
    made.where = holder.values_at.get(key, holder.where)
    if made.where is not None:
        made.keys_at["use"] = made.values_at["use"] = made.where
    return made


def _given_here(value: Any, where: Where) -> Any:
    """A value of ``--set``: all of it stands there, and paths in it start from the current folder."""
    if isinstance(value, str):
        return GivenHere(value)
    if isinstance(value, Positioned):
        value.where = where
        value.keys_at = dict.fromkeys(value.keys_at, where)
        value.values_at = dict.fromkeys(value.values_at, where)
        if isinstance(value, PositionedDict):
            for key, part in value.items():
                value[key] = _given_here(part, where)
        elif isinstance(value, PositionedList):
            value[:] = [_given_here(part, where) for part in value]
    return value


def _index(items: Any, key: str | int, path: Sequence[str | int], where: Where) -> int:
    if not isinstance(key, int) or key >= len(items):
        raise SpecError(f"{dotted(path)}: there is no item {key!r}, the list has {len(items)}", where=where, fix="an index from 0")
    return key


def _shortest(path: Path) -> Path:
    """The path as short as it can be written from here, as people would."""
    full = path.resolve()
    try:
        return full.relative_to(Path.cwd())
    except ValueError:
        return full
