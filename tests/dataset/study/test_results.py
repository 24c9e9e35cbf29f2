"""The dataset that a study becomes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finevq.config import load_config
from finevq.dataset.study.rating_files import load_ratings
from finevq.dataset.study.results import write_study
from finevq.dataset.study.rules import RULES
from finevq.dataset.videos import load_dataset
from finevq.errors import DatasetError


def test_a_study_becomes_a_dataset(tmp_path: Path, write) -> None:
    rng = np.random.default_rng(0)
    table = np.clip(np.rint(rng.uniform(1, 5, 20)[:, None] + rng.normal(0, 0.5, (20, 10))), 1, 5)
    table[:, 0] = 3
    wide = pd.DataFrame(table, columns=[f"s{i}" for i in range(10)])
    wide.insert(0, "video", [f"{i}.mp4" for i in range(20)])
    ratings = load_ratings(write(wide.to_csv(index=False)))
    folder = tmp_path / "study"
    found = write_study(folder, "study", tmp_path / "clips", ratings, RULES["paper"])

    dataset = load_dataset(load_config(folder / "dataset.toml")[0].dataset)
    assert [video.labels["overall"] for video in dataset] == pytest.approx(
        list(found.mos["overall"]), abs=1e-6
    )
    assert dataset.settings.mos_range == (0, 100)
    assert dataset.videos[0].path == tmp_path / "clips" / "0.mp4"
    report = json.loads((folder / "ratings.json").read_text())
    assert report["ratings"] == 200
    assert report["rejected_subjects"] == found.rejected
    assert found.rejected["s0"] > 0.05  # always 3, which is far off for the best and the worst
    removed = pd.read_csv(folder / "removed.csv")
    assert len(removed) == sum(report["removed"].values())
    assert set(removed.columns) == {"subject", "video", "dimension", "score", "reason"}


def test_a_mos_beyond_the_scale_widens_the_range(tmp_path: Path, write) -> None:
    # The one who rates all of them is strict, so the one video that he alone rated gains.
    text = "video,mild,strict\n" + "".join(f"{i},4,2\n" for i in range(8)) + "top,,5\n"
    folder = tmp_path / "study"
    write_study(folder, "s", tmp_path, load_ratings(write(text)), RULES["p913"])
    dataset = load_dataset(load_config(folder / "dataset.toml")[0].dataset)
    high = dataset.settings.mos_range[1]
    assert high > 5
    assert high == max(video.labels["overall"] for video in dataset)


def test_a_dataset_is_not_overwritten(tmp_path: Path, write) -> None:
    (tmp_path / "videos.csv").write_text("mine")
    ratings = load_ratings(write("video,ann\na.mp4,1\n"))
    with pytest.raises(DatasetError, match=r"videos\.csv is already there"):
        write_study(tmp_path, "s", tmp_path, ratings, RULES["plain"])
    assert (tmp_path / "videos.csv").read_text() == "mine"
