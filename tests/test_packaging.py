"""The repository's root is the package: what is shipped, and which room may import which."""

import ast
import fnmatch
import subprocess
import sys
import tomllib
from collections import Counter
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
    "cli": {"errors", "config", "__version__", *STAGES},
    "__main__": {"cli"},
    "__init__": {"evaluate"},
}
"""What each room and root module may import of finevq, beside itself."""

MORE = {"train/fit/end_to_end.py": {"extract"}}
"""What single modules may import beside that: this one trains a part of the image encoder."""

FLOORS = {
    "cache": ("files", "arrays", "", "care"),
    "dataset": ("", "study", "splitting", "databases", "describe", "demo"),
    "evaluate": ("metrics", "predict", "compare", "score", "pages", ""),
    "extract": ("", "decode", "encode", "job"),
    "train": ("", "base", "model", "fit"),
}
"""The rooms of each stage from the ground up; "" is the stage's own folder.

A room imports itself and those before it. `settings` is read by all of them.
"""

MOST_MODULES = 10
"""A folder with more has more than one subject."""


def test_the_listed_packages_are_the_folders_with_an_init() -> None:
    stages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    packages = {
        ".".join(("finevq", *path.parent.relative_to(ROOT).parts))
        for stage in stages
        for path in (ROOT / stage).rglob("__init__.py")
    }
    assert stages == set(ROOMS)
    assert SETUPTOOLS["packages"] == ["finevq", *sorted(packages)]


@pytest.mark.parametrize("stage", FLOORS)
def test_every_room_has_its_floor(stage: str) -> None:
    rooms = {path.parent.name for path in (ROOT / stage).glob("*/__init__.py")}
    assert {"", *rooms} == set(FLOORS[stage])


def test_the_package_is_the_root() -> None:
    assert SETUPTOOLS["package-dir"] == {"finevq": "."}


def test_the_root_holds_no_other_modules() -> None:
    allowed = {"__init__.py", "__main__.py", "config.py", "errors.py", "weights.py"}
    assert {path.name for path in ROOT.glob("*.py")} == allowed


def package_of(path: Path) -> str:
    """The package that a file lies in."""
    return ".".join(("finevq", *path.relative_to(ROOT).parent.parts))


def test_every_file_in_a_room_is_shipped() -> None:
    data = SETUPTOOLS["package-data"]
    left_out = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
        if not any(fnmatch.fnmatch(path.name, p) for p in data.get(package_of(path), []))
    ]
    assert left_out == []


@pytest.mark.parametrize("package", SETUPTOOLS["package-data"])
def test_every_listed_data_file_is_there(package: str) -> None:
    folder = ROOT.joinpath(*package.split(".")[1:])
    assert all(list(folder.glob(pattern)) for pattern in SETUPTOOLS["package-data"][package])


def test_the_version_is_written_once_and_again() -> None:
    assert PROJECT["project"]["version"] == finevq.__version__
    citation = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {finevq.__version__}" in citation


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


def files() -> list[Path]:
    """Every module of the package."""
    return [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_one_way(part: str) -> None:
    owned = [path for path in files() if owner(path) == part]
    assert owned
    forbidden = [
        f"{path.relative_to(ROOT)} imports {name or 'finevq'}"
        for path in owned
        for name in imports(path)
        if not any(name == room or name.startswith(f"{room}.") for room in allowed(path))
    ]
    assert forbidden == []


def climbing(stage: str) -> list[str]:
    """The imports of a stage that lead from a room to one above it."""
    floors = FLOORS[stage]

    def floor(parts: tuple[str, ...]) -> int:
        return floors.index(parts[0] if parts and parts[0] in floors else "")

    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / stage).rglob("*.py"))
        for name in imports(path)
        if name.startswith(f"{stage}.") and name != f"{stage}.settings"
        if floor(tuple(name.split(".")[1:])) > floor(path.relative_to(ROOT / stage).parts)
    ]


@pytest.mark.parametrize("stage", FLOORS)
def test_imports_between_rooms_run_one_way(stage: str) -> None:
    assert climbing(stage) == []


def crowded() -> list[str]:
    """The folders that hold more modules than one subject needs."""
    modules = Counter(path.parent for path in files() if path.stem != "__init__")
    return [str(f.relative_to(ROOT)) for f, count in modules.items() if count > MOST_MODULES]


def test_no_folder_is_crowded() -> None:
    assert crowded() == []


def test_settings_import_nothing_of_finevq() -> None:
    assert [n for room in STAGES for n in imports(ROOT / room / "settings.py")] == []


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree in the place of the package."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("cache/files/folder.py", "from ..store import FeatureStore", "cache.store"),
        ("cache/store.py", "from .care import verify", "cache.care"),
        (
            "extract/decode/video.py",
            "from ..encode.encoder import Encoder",
            "extract.encode.encoder",
        ),
        ("evaluate/score/scorer.py", "def f():\n    from .. import run", "evaluate.run"),
    ],
)
def test_an_import_of_a_higher_room_is_found(
    planted: Path, file: str, line: str, found: str
) -> None:
    path = planted / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    stage = file.partition("/")[0]
    assert climbing(stage) == [f"{file} imports {found}"]


def test_imports_of_the_same_and_of_lower_rooms_are_fine(planted: Path) -> None:
    path = planted / "extract" / "encode" / "encoder.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "from ..decode.video import decode\nfrom ..settings import ExtractSettings\n"
        "from .motion import pool\nfrom ...cache.store import FeatureStore\n"
    )
    assert climbing("extract") == []


def test_the_eleventh_module_of_a_folder_is_found(planted: Path) -> None:
    room = planted / "train" / "fit"
    room.mkdir(parents=True)
    for number in range(MOST_MODULES):
        (room / f"module{number}.py").touch()
    (room / "__init__.py").touch()
    assert crowded() == []
    (room / "eleventh.py").touch()
    assert crowded() == ["train/fit"]


MOST_LINES = 80
"""A function with more does more than one thing."""


def long_functions() -> list[str]:
    """The functions of the package with more lines than one thing takes."""
    return [
        f"{path.relative_to(ROOT)} {node.name}"
        for path in files()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= MOST_LINES
    ]


def test_no_function_is_long() -> None:
    assert long_functions() == []


def test_a_function_of_81_lines_is_found(planted: Path) -> None:
    path = planted / "cache" / "store.py"
    path.parent.mkdir()
    path.write_text("def eighty():\n" + "    pass\n" * 79)
    assert long_functions() == []
    path.write_text("def one_more():\n" + "    pass\n" * 80)
    assert long_functions() == ["cache/store.py one_more"]


def test_the_import_reader_sees_every_form(planted: Path) -> None:
    path = planted / "cache" / "store.py"
    path.parent.mkdir()
    path.write_text(
        "import numpy, finevq.cli\n"
        "import finevq\n"
        "from finevq import config\n"
        "from finevq.train.fit.training import train\n"
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
            "train.fit.training",
            "dataset",
            "errors",
            "cache.records",
            "cache.plan",
            "extract.run",
        ]
    )
