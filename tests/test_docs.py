"""The documents speak of what is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import finevq

ROOT = Path(finevq.__file__).parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACES = "cache|cli|dataset|evaluate|extract|train|tests|benchmarks|docs"


def missing_paths(text: str) -> Iterator[str]:
    """The files and folders of the project that a text names and that do not exist."""
    for path in re.findall(rf"(?<![\w/.-])(?:{PLACES})/[\w./-]*", text):
        name = path.rstrip(".")
        if re.search(r"\.(py|toml|html|csv|css|md)$|/$", name) and not (ROOT / name).exists():
            yield name


def missing_modules(text: str) -> Iterator[str]:
    """The modules of the package that a text names and that do not exist."""
    for dotted in re.findall(r"\bfinevq(?:\.\w+)+", text):
        _, room, *rest = dotted.split(".")
        folder = ROOT / room
        while rest and (folder / rest[0]).is_dir():
            folder /= rest.pop(0)
        if (ROOT / room).is_dir() and rest and not (folder / f"{rest[0]}.py").exists():
            yield dotted


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(document: Path) -> None:
    assert list(missing_paths(document.read_text("utf-8"))) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_modules_that_exist(document: Path) -> None:
    assert list(missing_modules(document.read_text("utf-8"))) == []


def test_docstrings_name_modules_that_exist() -> None:
    rooms = ("cache", "cli", "dataset", "evaluate", "extract", "train", "tests", "benchmarks")
    files = [*ROOT.glob("*.py"), *(path for room in rooms for path in (ROOT / room).rglob("*.py"))]
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in files
        # The scripts beside old data ran with the modules of their time.
        if path != Path(__file__) and path.parent != ROOT / "tests" / "data"
        if (names := list(missing_modules(path.read_text("utf-8"))))
    }
    assert wrong == {}


def test_a_name_without_a_file_is_found() -> None:
    text = (
        "See `cache/store.py`, `cache/vault.py` and docs/; finevq.cache.store, finevq.cache.vault"
    )
    assert list(missing_paths(text)) == ["cache/vault.py"]
    assert list(missing_modules(text)) == ["finevq.cache.vault"]
