"""The package from outside: lazy names, the wheel's contents, an installation that has no checkout beside it."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import graphnas as gn

ROOT = Path(__file__).parents[1]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert python("import graphnas, sys; print({'torch', 'pydantic', 'numpy', 'networkx'} & set(sys.modules))") == "set()"


@pytest.mark.parametrize("name", gn.__all__)
def test_every_name_resolves(name: str) -> None:
    assert getattr(gn, name) is not None
    assert name in dir(gn)


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse((ROOT / "graphnas" / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert declared == set(gn.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'graphnas' has no attribute 'serach'$"):
        gn.serach  # noqa: B018


@pytest.mark.parametrize("name", ["prune", "search"])
@pytest.mark.parametrize("first", ["", "import graphnas.{name}; ", "from graphnas.{name} import *; "])
def test_names_that_are_packages_too_can_be_called(name: str, first: str) -> None:
    """Whoever imports the package ``graphnas.prune``, before or after, ``gn.prune(...)`` is the function."""
    code = f"{first.format(name=name)}import graphnas as gn\ntry: gn.{name}()\nexcept TypeError as error: print(error)"
    assert python(code).startswith(f"{name}() missing")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as a release would be."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_every_yaml_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "graphnas").rglob("*.py")}
    presets = {
        f"graphnas/presets/{file.relative_to(ROOT)}"
        for folder in ("networks", "searchspaces", "taskpairs")
        for file in (ROOT / folder).glob("*.yaml")
    }
    wanted = modules | presets | {"graphnas/py.typed"}
    assert wanted <= held
    assert {name for name in held - wanted if ".dist-info/" not in name} == set()


@pytest.mark.slow
def test_presets_resolve_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """The wheel unpacked somewhere else, with no checkout beside it; the dependencies are this environment's."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import graphnas as gn; print(gn.__file__); print(gn.load_spec('aux-nas', kind='search_space').kind)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "graphnas" / "__init__.py"), "search_space"]
