"""The documents speak of what is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import finevq

ROOT = Path(finevq.__file__).parent
README = ROOT / "README.md"
DOCUMENTS = [
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"),
    *sorted((ROOT / "docs").glob("*.md")),
]
PLACES = "cache|cli|dataset|evaluate|extract|train|tests|benchmarks|docs"


def missing_paths(text: str) -> Iterator[str]:
    """The files and folders of the project that a text names and that do not exist."""
    for path in re.findall(rf"(?<![\w/.-])(?:{PLACES})/[\w./-]*", text):
        name = path.rstrip(".")
        if re.search(r"\.(py|toml|html|csv|css|md)$|/$", name) and not (ROOT / name).exists():
            yield name


def missing_links(document: Path) -> Iterator[str]:
    """The links of a document to files and headings of the project that do not exist."""
    text = document.read_text("utf-8")
    for link in re.findall(r"\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        target, _, heading = "".join(link).partition("#")
        if target.startswith("https://"):
            continue
        file = document.parent / target if target else document
        if not file.exists() or (heading and heading not in headings(file)):
            yield "".join(link)


def headings(document: Path) -> set[str]:
    """The headings of a document, as links name them."""
    lines = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


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
def test_documents_link_to_what_exists(document: Path) -> None:
    assert list(missing_links(document)) == []


def test_readme_is_short() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 120
    code = "    "
    assert [line for line in lines if len(line) > 100 and not line.startswith(code)] == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One heading\n[a](#one-heading) [b](a.md#two) [c](b.md) [d](https://e.f)")
    assert list(missing_links(document)) == ["a.md#two", "b.md"]


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
