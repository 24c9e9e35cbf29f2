"""Small datasets in tmp_path, without video files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finevq.dataset.settings import DatasetSettings
from finevq.dataset.videos import Dataset, load_dataset

MakeSettings = Callable[..., DatasetSettings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """The settings of a dataset in tmp_path; keywords replace single ones."""

    def make(**changes: Any) -> DatasetSettings:
        values = {
            "name": "demo",
            "folder": tmp_path,
            "root": Path("."),
            "mos_range": (0.0, 100.0),
            "split": "random1",
        }
        return DatasetSettings(**values | changes)

    return make


@pytest.fixture
def dataset(tmp_path: Path, make_settings: MakeSettings) -> Dataset:
    """Four videos: c.mp4, a.mp4, clips/b.mp4 and d.mp4."""
    (tmp_path / "videos.csv").write_text("video\nc.mp4\na.mp4\nclips/b.mp4\nd.mp4\n")
    return load_dataset(make_settings())
