from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevq.dataset.settings import DatasetSettings
from finevq.dataset.videos import DIMENSIONS, Dataset, load_dataset
from finevq.errors import DatasetError

Load = Callable[..., Dataset]


@pytest.fixture
def load(tmp_path: Path, make_settings) -> Load:
    """Load the dataset whose videos.csv has this text; keywords replace settings."""

    def load(text: str, **changes) -> Dataset:
        (tmp_path / "videos.csv").write_bytes(text.encode())
        return load_dataset(make_settings(**changes))

    return load


def test_the_manifest_keeps_its_order(load: Load) -> None:
    dataset = load("video\nb.mp4\nclips/a.mp4\nc.mp4\n")
    assert dataset.ids == ["demo/b.mp4", "demo/clips/a.mp4", "demo/c.mp4"]
    assert [video.id for video in dataset] == dataset.ids
    assert len(dataset) == 3


def test_labels_are_numbers_by_dimension(load: Load) -> None:
    (video,) = load("video,overall,color\na.mp4,52.5,1e1\n")
    assert video.labels == {"overall": 52.5, "color": 10.0}


def test_an_empty_cell_is_no_label(load: Load) -> None:
    first, second = load('video,overall,noise\na.mp4,,7\nb.mp4,"  ",\n')
    assert first.labels == {"noise": 7.0}
    assert second.labels == {}


def test_a_column_that_is_no_dimension_is_no_label(load: Load) -> None:
    (video,) = load("video,overall,sharpness\na.mp4,3,many\n")
    assert video.labels == {"overall": 3.0}


def test_all_six_dimensions_are_read(load: Load) -> None:
    (video,) = load(f"video,{','.join(DIMENSIONS)}\na.mp4,1,2,3,4,5,6\n")
    assert list(video.labels.items()) == list(zip(DIMENSIONS, range(1, 7), strict=True))


def test_both_ends_of_the_range_are_labels(load: Load) -> None:
    low, high = load("video,blur\na.mp4,-1\nb.mp4,1\n", mos_range=(-1.0, 1.0))
    assert (low.labels, high.labels) == ({"blur": -1.0}, {"blur": 1.0})


def test_a_byte_order_mark_is_not_part_of_the_header(load: Load) -> None:
    assert load("\ufeffvideo\na.mp4\n").ids == ["demo/a.mp4"]


def test_windows_line_ends(load: Load) -> None:
    first, second = load("video,overall\r\na.mp4,1\r\nb.mp4,2\r\n")
    assert (first.labels, second.labels) == ({"overall": 1.0}, {"overall": 2.0})


def test_words_that_pandas_takes_for_missing_are_text(load: Load) -> None:
    (video,) = load("video,category\nNA,None\n")
    assert (video.id, video.category) == ("demo/NA", "None")


def test_categories_are_text_and_empty_where_there_is_none(load: Load) -> None:
    dataset = load("video,category\na.mp4,sport\nb.mp4,\nc.mp4,7\n")
    assert [video.category for video in dataset] == ["sport", "", "7"]


def test_without_the_column_every_category_is_empty(load: Load) -> None:
    assert [video.category for video in load("video\na.mp4\nb.mp4\n")] == ["", ""]


def test_the_root_is_relative_to_the_folder(load: Load, tmp_path: Path) -> None:
    (video,) = load("video\nclips/a.mp4\n", root=Path("../files"))
    assert video.path.resolve() == tmp_path.parent.resolve() / "files" / "clips" / "a.mp4"


def test_an_absolute_root_is_taken_as_it_is(load: Load, tmp_path: Path) -> None:
    (video,) = load("video\na.mp4\n", root=tmp_path / "far" / "away")
    assert video.path == tmp_path / "far" / "away" / "a.mp4"


def test_a_name_may_hold_dots_and_spaces(load: Load) -> None:
    assert load("video\nmy..clip v1.0.mp4\n").ids == ["demo/my..clip v1.0.mp4"]


@dataclass(frozen=True)
class Bad:
    """A videos.csv that is refused: the row that the message names, and what it says."""

    id: str
    text: str
    row: int | None
    message: str


BAD = [
    Bad("no column", "name,overall\na.mp4,1\n", None, "no column `video`.*name, overall"),
    Bad("header only", "video\n", None, "no videos"),
    Bad("empty file", "", None, "not a UTF-8 CSV file"),
    Bad(
        "cells beyond the header", "video,overall\nx,a.mp4,1\n", None, "more cells than the header"
    ),
    Bad("one long row", "video\na.mp4\nb.mp4,1\n", None, "not a UTF-8 CSV file"),
    Bad("no name", "video,overall\na.mp4,1\n,2\n", 3, "no video name"),
    Bad("blank name", "video,overall\n  ,2\n", 2, "no video name"),
    Bad("blank line", "video\na.mp4\n\nb.mp4\n", 3, "no video name"),
    Bad("twice", "video\na.mp4\nb.mp4\na.mp4\n", 4, "'a.mp4' is already in row 2"),
    Bad("dot", "video\na.mp4\n./b.mp4\n", 3, "'./b.mp4' is not a plain path; write 'b.mp4'"),
    Bad("two slashes", "video\nb//a.mp4\n", 2, "'b//a.mp4' is not a plain path; write 'b/a.mp4'"),
    Bad("same file", "video\nb/a.mp4\nb\\a.mp4\n", 3, r"is already in row 2"),
    Bad("home", "video\n~/a.mp4\n", 2, "'~/a.mp4' leaves the dataset's root"),
    Bad("URL", "video\nfile:///a.mp4\n", 2, "'file:///a.mp4' leaves the dataset's root"),
    Bad("web", "video\nhttps://a.org/a.mp4\n", 2, "leaves the dataset's root"),
    Bad("parent", "video\na.mp4\n../x\n", 3, "'../x' leaves the dataset's root"),
    Bad("inner parent", "video\nb/../../x\n", 2, "leaves the dataset's root"),
    Bad("absolute", "video\n/abs\n", 2, "'/abs' leaves the dataset's root"),
    Bad("drive", "video\nC:\\x\n", 2, "leaves the dataset's root"),
    Bad("drive, relative", "video\nc:x\n", 2, "leaves the dataset's root"),
    Bad("backslash parent", "video\n..\\x\n", 2, "leaves the dataset's root"),
    Bad("too high", "video,blur\na.mp4,1\nb.mp4,100.1\n", 3, r"blur is '100.1'.*\[0, 100\]"),
    Bad("too low", "video,color\na.mp4,-0.1\n", 2, "color is '-0.1'"),
    Bad("text", "video,noise\na.mp4,good\n", 2, "noise is 'good'.*leave a cell empty"),
    Bad("not a number", "video,overall\na.mp4,nan\n", 2, "overall is 'nan'"),
    Bad("infinite", "video,overall\na.mp4,inf\n", 2, "overall is 'inf'"),
    Bad("decimal comma", 'video,overall\na.mp4,"1,5"\n', 2, "overall is '1,5'"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_manifest_is_refused(load: Load, tmp_path: Path, case: Bad) -> None:
    with pytest.raises(DatasetError, match=case.message) as caught:
        load(case.text)
    place = str(tmp_path / "videos.csv") + (f", row {case.row}: " if case.row else ": ")
    assert str(caught.value).startswith(place)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_refused(tmp_path: Path, make_settings) -> None:
    (tmp_path / "videos.csv").write_bytes("video\nmüll.mp4\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"videos\.csv: not a UTF-8 CSV file"):
        load_dataset(make_settings())


def test_no_manifest_says_how_to_get_one(tmp_path: Path, make_settings) -> None:
    with pytest.raises(DatasetError, match=r"no videos\.csv .*`finevq demo`") as caught:
        load_dataset(make_settings())
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("mos_range", [(5.0, 5.0), (5.0, 1.0), (0.0, float("nan"))])
def test_an_impossible_range_is_refused(load: Load, mos_range: tuple[float, float]) -> None:
    with pytest.raises(DatasetError, match=r"mos_range .*the first must be the lower one"):
        load("video\na.mp4\n", mos_range=mos_range)


def test_parquet(tmp_path: Path, make_settings) -> None:
    rows = {"video": ["b.mp4", "a.mp4"], "overall": [1.5, None], "category": ["x", None]}
    pd.DataFrame(rows).to_parquet(tmp_path / "videos.parquet")
    first, second = load_dataset(make_settings())
    assert (first.id, first.labels, first.category) == ("demo/b.mp4", {"overall": 1.5}, "x")
    assert (second.id, second.labels, second.category) == ("demo/a.mp4", {}, "")


def test_parquet_and_csv_give_the_same_dataset(tmp_path: Path, make_settings) -> None:
    table = pd.DataFrame({"video": ["a", "b"], "blur": [3.0, None], "category": ["", "y"]})
    table.to_parquet(tmp_path / "videos.parquet")
    from_parquet = load_dataset(make_settings())
    table.to_csv(tmp_path / "videos.csv", index=False)
    assert load_dataset(make_settings()) == from_parquet


def test_a_csv_file_goes_before_parquet(tmp_path: Path, load: Load) -> None:
    pd.DataFrame({"video": ["parquet.mp4"]}).to_parquet(tmp_path / "videos.parquet")
    assert load("video\ncsv.mp4\n").ids == ["demo/csv.mp4"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param({"video": ["a", None]}, ", row 3: no video name", id="no name"),
        pytest.param({"video": ["a", "a"]}, ", row 3: 'a' is already in row 2", id="twice"),
        pytest.param({"video": ["a"], "blur": [101]}, ", row 2: blur is '101'", id="too high"),
        pytest.param({"name": ["a"]}, ": no column `video`", id="no column"),
    ],
)
def test_bad_parquet_is_refused(tmp_path: Path, make_settings, rows: dict, message: str) -> None:
    pd.DataFrame(rows).to_parquet(tmp_path / "videos.parquet")
    with pytest.raises(DatasetError) as caught:
        load_dataset(make_settings())
    assert str(caught.value).startswith(f"{tmp_path / 'videos.parquet'}{message}")


def test_damaged_parquet_is_refused(tmp_path: Path, make_settings) -> None:
    (tmp_path / "videos.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"videos\.parquet: not a Parquet file"):
        load_dataset(make_settings())


def test_unit_spans_the_range(make_settings) -> None:
    dataset = Dataset(make_settings(mos_range=(1.0, 5.0)), ())
    assert [dataset.unit(mos) for mos in (1, 2, 3, 5)] == [0, 0.25, 0.5, 1]


bounds = st.floats(-1000, 1000)


@given(bounds, st.floats(0.1, 1000), st.floats(0, 1))
def test_mos_is_the_inverse_of_unit(low: float, span: float, unit: float) -> None:
    settings = DatasetSettings(
        name="demo", folder=Path(), root=Path(), mos_range=(low, low + span), split="random1"
    )
    dataset = Dataset(settings, ())
    assert low <= dataset.mos(unit) <= low + span or dataset.mos(unit) == pytest.approx(low + span)
    assert dataset.unit(dataset.mos(unit)) == pytest.approx(unit, abs=1e-9)


def test_an_id_is_the_datasets_name_and_the_relative_path(load: Load) -> None:
    dataset = load("video\nclips/a.mp4\n", name="other")
    assert dataset.ids == ["other/clips/a.mp4"] == [dataset.video_id("clips/a.mp4")]


def test_a_root_that_is_not_there_is_named(load: Load, tmp_path: Path) -> None:
    dataset = load("video\na.mp4\n", root=Path("gone"))
    with pytest.raises(DatasetError, match=r"dataset\.root: there is no folder .*gone: mount it"):
        dataset.check_files()


def test_a_root_without_any_of_the_videos_is_named(load: Load, tmp_path: Path) -> None:
    dataset = load("video\nclips/a.mp4\nb.mp4\n")
    with pytest.raises(DatasetError, match=r"none of the 2 videos is in .*, not even clips/a\.mp4"):
        dataset.check_files()
    (tmp_path / "b.mp4").touch()
    dataset.check_files()  # the other one is a matter of its own
