"""The repository's root is the package: what is shipped, and which room may import which."""

import ast
import fnmatch
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import finevq

ROOT = Path(finevq.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
STAGES = ("cache", "dataset", "evaluate", "extract", "train")
ROOMS = ("cli", *STAGES)

MAY_IMPORT = {
    "errors": set(),
    "weights": {"errors"},
    "dataset": {"errors"},
    "cache": {"errors"},
    "extract": {"errors", "weights", "cache", "dataset"},
    "train": {"errors", "weights", "cache", "dataset"},
    "evaluate": {"errors", "weights", "cache", "dataset", "extract", "train"},
    "config": {"errors", *(f"{room}.settings" for room in STAGES)},
    "cli": {"errors", "config", *STAGES},
    "__main__": {"cli"},
    "__init__": {"evaluate"},
}
"""What each room and root module may import of finevq, beside itself."""

MORE = {"train/end_to_end.py": {"extract"}}
"""What single modules may import beside that: this one trains a part of the image encoder."""


def test_the_listed_packages_are_the_folders_with_an_init() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    nested = {path.parent for room in rooms for path in (ROOT / room).glob("*/**/__init__.py")}
    assert rooms == set(ROOMS)
    assert nested == set()
    assert SETUPTOOLS["packages"] == ["finevq", *(f"finevq.{room}" for room in sorted(rooms))]


def test_the_package_is_the_root() -> None:
    assert SETUPTOOLS["package-dir"] == {"finevq": "."}


def test_the_root_holds_no_other_modules() -> None:
    allowed = {"__init__.py", "__main__.py", "config.py", "errors.py", "weights.py"}
    assert {path.name for path in ROOT.glob("*.py")} == allowed


def test_every_file_in_a_room_is_shipped() -> None:
    data = SETUPTOOLS["package-data"]
    left_out = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
        if not any(fnmatch.fnmatch(path.name, p) for p in data.get(f"finevq.{room}", []))
    ]
    assert left_out == []


@pytest.mark.parametrize("package", SETUPTOOLS["package-data"])
def test_every_listed_data_file_is_there(package: str) -> None:
    folder = ROOT.joinpath(*package.split(".")[1:])
    assert all(list(folder.glob(pattern)) for pattern in SETUPTOOLS["package-data"][package])


def test_the_version_is_written_once_and_again() -> None:
    assert PROJECT["project"]["version"] == finevq.__version__


def test_the_command_exists() -> None:
    from finevq.cli.main import main

    assert PROJECT["project"]["scripts"] == {"finevq": f"{main.__module__}:{main.__name__}"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_bare_room_is_refused(room: str, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {room}"
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last == f"ImportError: this folder is finevq.{room}; import that name"


def imports(path: Path) -> Iterator[str]:
    """What a file imports of finevq, as dotted names below it; imports in functions count too."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (".".join(name[1:]) for name in names if name[0] == "finevq")
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            if node.level > len(package) + 1:
                yield "outside"
            for alias in node.names:
                module = [node.module] if node.module else [alias.name]
                yield ".".join([*base, *module])
        elif isinstance(node, ast.ImportFrom) and node.module:
            first, *rest = node.module.split(".")
            if first == "finevq":
                yield from [".".join(rest)] if rest else [alias.name for alias in node.names]


def owner(path: Path) -> str:
    """The room or root module that a file belongs to."""
    first, *rest = path.relative_to(ROOT).parts
    return first if rest else path.stem


def allowed(path: Path) -> set[str]:
    """The rooms and root modules that a file may import."""
    part = owner(path)
    return MAY_IMPORT[part] | {part} | MORE.get(path.relative_to(ROOT).as_posix(), set())


FILES = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_one_way(part: str) -> None:
    files = [path for path in FILES if owner(path) == part]
    assert files
    forbidden = [
        f"{path.relative_to(ROOT)} imports {name or 'finevq'}"
        for path in files
        for name in imports(path)
        if not any(name == room or name.startswith(f"{room}.") for room in allowed(path))
    ]
    assert forbidden == []


def test_settings_import_nothing_of_finevq() -> None:
    assert [n for room in STAGES for n in imports(ROOT / room / "settings.py")] == []


def test_the_import_reader_sees_every_form(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "cache" / "store.py"
    path.parent.mkdir()
    path.write_text(
        "import numpy, finevq.cli\n"
        "import finevq\n"
        "from finevq import config\n"
        "from finevq.train.fit import train\n"
        "from .. import dataset\n"
        "from ..errors import StoreError\n"
        "from . import records\n"
        "from .plan import Plan\n"
        "from pathlib import Path\n"
        "def f():\n"
        "    from ..extract.run import extract\n"
    )
    assert sorted(imports(path)) == sorted(
        [
            "cli",
            "",
            "config",
            "train.fit",
            "dataset",
            "errors",
            "cache.records",
            "cache.plan",
            "extract.run",
        ]
    )
