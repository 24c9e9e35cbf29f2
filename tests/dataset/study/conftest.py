"""A file of a study in tmp_path."""

from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path):
    """Write a study's file."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "ratings.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write
