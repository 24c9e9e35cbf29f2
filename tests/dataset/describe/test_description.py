"""The description: its tables say what the data says, its page is complete and self-contained."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finevq.dataset.describe.description import describe
from finevq.dataset.videos import DIMENSIONS, load_dataset

from .._videos import scene, write_video

EVIL = "<script>alert('x')</script>"


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty labelled videos of two categories; noise is the overall MOS turned round."""
    overall = np.random.default_rng(0).uniform(0, 100, 40).round(2)
    table = pd.DataFrame({"video": [f"{i}.mp4" for i in range(40)], "overall": overall})
    table["noise"] = 100 - table["overall"]
    table["category"] = [EVIL if i % 4 else "game" for i in range(40)]
    table.to_csv(tmp_path / "videos.csv", index=False)
    return tmp_path


def test_the_tables_say_what_the_labels_say(folder: Path, make_settings) -> None:
    describe(load_dataset(make_settings()), folder / "out", quiet, features=False)
    overall = pd.read_csv(folder / "videos.csv")["overall"]
    mos = pd.read_csv(folder / "out" / "mos.csv", index_col="dimension")
    assert list(mos.index) == ["noise", "overall"]
    assert mos.loc["overall", "mean"] == pytest.approx(overall.mean())
    bars = pd.read_csv(folder / "out" / "histograms.csv")
    assert bars["overall"].sum() == 40
    assert bars["overall"].iloc[0] == (overall < 5).sum()
    both = pd.read_csv(folder / "out" / "correlations.csv").set_index(["measure", "dimension"])
    assert both.loc[("srcc", "noise"), "overall"] == pytest.approx(-1)
    assert both.loc[("plcc", "overall"), "overall"] == pytest.approx(1)
    groups = pd.read_csv(folder / "out" / "categories.csv").set_index(["category", "dimension"])
    assert groups.loc[("game", "overall"), "videos"] == 10
    assert groups.loc[("game", "overall"), "mean"] == pytest.approx(overall[::4].mean())


def test_the_page_needs_nothing_beside_itself(folder: Path, make_settings) -> None:
    page, *tables = describe(load_dataset(make_settings()), folder / "out", quiet, features=False)
    html = page.read_text("utf-8")
    assert not re.search(r"https?://|<script|<link|@import|url\(", html)
    assert "&lt;script&gt;" in html
    assert "&lt;svg" not in html
    assert html.count("<svg") == 2
    assert [path.stem for path in tables] == ["mos", "histograms", "categories", "correlations"]


def test_the_same_data_gives_the_same_bytes(folder: Path, make_settings) -> None:
    dataset = load_dataset(make_settings())
    one, other = (
        describe(dataset, folder / name, quiet, features=False) for name in ("one", "other")
    )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_features_and_what_cannot_be_decoded(tmp_path: Path, make_settings) -> None:
    (tmp_path / "videos.csv").write_text("video\na.mp4\ngone.mp4\n")
    write_video(tmp_path / "a.mp4", scene(0, count=3))
    page, *_, features = describe(load_dataset(make_settings()), tmp_path / "out", quiet, workers=1)
    table = pd.read_csv(features, index_col="video")
    assert table.loc["demo/a.mp4", "si"] > 0
    html = page.read_text("utf-8")
    assert html.count("<svg") == 5  # no MOS, five features
    assert "1 of 2 videos have no features" in html
    assert "gone.mp4: FileNotFoundError" in html


@pytest.mark.parametrize("rows", ["a.mp4,50\n", "a.mp4,50\nb.mp4,50\n", "a.mp4,\n"])
def test_few_or_equal_or_no_labels(tmp_path: Path, make_settings, rows: str) -> None:
    (tmp_path / "videos.csv").write_text("video,overall\n" + rows)
    page, *_ = describe(load_dataset(make_settings()), tmp_path / "out", quiet, features=False)
    assert page.read_text("utf-8").endswith("</html>\n")


def test_all_dimensions_are_shown(tmp_path: Path, make_settings) -> None:
    rows = "".join(f"{i}.mp4,{','.join(str(i * k) for k in range(1, 7))}\n" for i in range(9))
    (tmp_path / "videos.csv").write_text(f"video,{','.join(DIMENSIONS)}\n{rows}")
    page, *_ = describe(load_dataset(make_settings()), tmp_path / "out", quiet, features=False)
    assert re.findall(r"<figcaption>(\w+)", page.read_text("utf-8")) == list(DIMENSIONS)
