import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from finevq.config import load_config
from finevq.dataset.study.rating_files import load_attributes, load_ratings, write_study
from finevq.dataset.study.ratings import RULES
from finevq.dataset.videos import load_dataset
from finevq.errors import DatasetError

LONG = "subject,video,dimension,score\nann,b.mp4,blur,4\nbob,b.mp4,blur,2\nann,a.mp4,noise,1\n"


@pytest.fixture
def write(tmp_path: Path):
    """Write a file of ratings."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "ratings.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def rows(ratings) -> set[tuple]:
    """The ratings as (subject, video, dimension, score)."""
    return {
        (ratings.subjects[s], ratings.videos[v], ratings.dimensions[d], float(x))
        for s, v, d, x in zip(
            ratings.subject, ratings.video, ratings.dimension, ratings.score, strict=True
        )
    }


def test_a_long_file(write) -> None:
    ratings = load_ratings(write(LONG))
    assert rows(ratings) == {
        ("ann", "b.mp4", "blur", 4),
        ("bob", "b.mp4", "blur", 2),
        ("ann", "a.mp4", "noise", 1),
    }
    assert ratings.videos == ["b.mp4", "a.mp4"]
    assert ratings.dimensions == ["noise", "blur"]  # the paper's order


def test_a_wide_file(write) -> None:
    ratings = load_ratings(write("video,ann,bob\na.mp4,1,\nb.mp4,5,2\n"))
    assert rows(ratings) == {
        ("ann", "a.mp4", "overall", 1),
        ("ann", "b.mp4", "overall", 5),
        ("bob", "b.mp4", "overall", 2),
    }


def test_a_wide_file_with_dimensions(write) -> None:
    ratings = load_ratings(write("dimension,video,ann\nblur,a.mp4,1\nnoise,a.mp4,2\n"))
    assert rows(ratings) == {("ann", "a.mp4", "blur", 1), ("ann", "a.mp4", "noise", 2)}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        pytest.param("who,video,score\n7,001.mp4,3\n", {"subject": "who"}, id="long"),
        pytest.param(",7\n001.mp4,3\n", {"video": "Unnamed: 0"}, id="wide, unnamed column"),
    ],
)
def test_columns_can_have_other_names(write, text, given) -> None:
    assert rows(load_ratings(write(text), columns=given)) == {("7", "001.mp4", "overall", 3)}


@pytest.mark.parametrize("cell", ["", "-1"], ids=["empty", "--missing"])
@pytest.mark.parametrize(
    "text",
    ["subject,video,score\nann,a,{}\nbob,a,2\n", "video,ann,bob\na,{},2\n"],
    ids=["long", "wide"],
)
def test_what_is_not_rated_is_no_rating(write, text: str, cell: str) -> None:
    ratings = load_ratings(write(text.format(cell)), missing="-1")
    assert rows(ratings) == {("bob", "a", "overall", 2)}


def test_names_that_look_like_numbers_stay_as_they_are(write) -> None:
    ratings = load_ratings(write("subject,video,score\n01,007,3\n1,7,3\n"))
    assert (ratings.subjects, ratings.videos) == (["01", "1"], ["007", "7"])


def test_a_byte_order_mark_is_not_part_of_the_header(write) -> None:
    assert len(load_ratings(write("\ufeff" + LONG)).score) == 3


def test_the_dimension_can_be_given(write) -> None:
    ratings = load_ratings(write("video,ann\na.mp4,1\n"), dimension="temporal")
    assert ratings.dimensions == ["temporal"]


@dataclass(frozen=True)
class Bad:
    id: str
    text: str
    message: str


HEAD = "subject,video,dimension,score\nann,a.mp4,blur,1\n"
BAD = [
    Bad("above the scale", HEAD + "bob,a.mp4,blur,6\n", r"row 3: the score 6.0 of bob is not"),
    Bad("below the scale", HEAD + "bob,a.mp4,blur,0\n", r"row 3: .*\[1, 5\]; say the scale"),
    Bad("a word", HEAD + "bob,a.mp4,blur,good\n", r"row 3: the score good of bob is not a num"),
    Bad("infinite", HEAD + "bob,a.mp4,blur,inf\n", "row 3: the score"),
    Bad("wide, above", "video,ann,bob\na.mp4,1,2\nb.mp4,1,6\n", "row 3: the score 6 of bob"),
    Bad("twice", HEAD + "ann,a.mp4,blur,2\n", "row 3: ann rates 'a.mp4' in blur a second time"),
    Bad(
        "wide, twice", "video,ann\na.mp4,1\na.mp4,1\n", "row 3: ann rates 'a.mp4' in overall a sec"
    ),
    Bad("dimension", HEAD + "bob,a.mp4,sharp,2\n", "row 3: 'sharp' is not a dimension; they are"),
    Bad("no dimension", HEAD + "bob,a.mp4,,2\n", "row 3: no dimension"),
    Bad("no subject", HEAD + ",a.mp4,blur,2\n", "row 3: no subject"),
    Bad("no video", HEAD + "bob,,blur,2\n", "row 3: no video"),
    Bad("no column", "subject,clip,score\nann,a,1\n", "no column 'video'; the columns are 'subj"),
    Bad("wide, no column", "clip,ann\na,1\n", "no column 'video'.*--columns"),
    Bad("only a header", "subject,video,score\n", "no ratings"),
    Bad("nothing rated", "video,ann\na,\n", "no ratings"),
    Bad("empty file", "", "not a UTF-8 CSV file"),
    Bad("more cells", HEAD + "bob,a.mp4,blur,2,3,4\n", "ratings.csv: not a UTF-8 CSV file"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_bad_ratings_are_refused(write, case: Bad) -> None:
    path = write(case.text)
    with pytest.raises(DatasetError, match=case.message) as caught:
        load_ratings(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("text", [LONG, "video,ann\n{},1\n"], ids=["long", "wide"])
def test_another_encoding_is_refused(write, encoding: str, text: str) -> None:
    with pytest.raises(DatasetError, match="not a UTF-8 CSV file"):
        load_ratings(write(text.replace("b.mp4", "müll").replace("{}", "müll"), encoding))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.csv: No such file"):
        load_ratings(tmp_path / "gone.csv")


TICKS = (
    "subject,video,dimension,attribute\n"
    "ann,a,blur,motion blur\nann,a,noise,none\n"
    "bob,a,blur,motion blur\nbob,a,blur,exposure blur\nbob,a,noise,None\n"
    "cem,a,blur,exposure blur\ncem,a,noise,other noise\n"
    "dia,a,blur,motion blur\ndia,b,blur,none\n"
)


def test_attributes_are_those_that_more_than_half_ticked(write) -> None:
    found = load_attributes(write(TICKS))
    assert found.values.tolist() == [
        ["a", "blur", "motion blur", 3, 4],
        ["b", "blur", "none", 1, 1],
    ]  # 2 of 4 for exposure blur and for no noise are not more than half


def test_a_tick_given_twice_is_refused(write) -> None:
    path = write(TICKS + "dia,b,blur,none\n")
    with pytest.raises(DatasetError, match="row 11: dia ticks 'none' of 'b' twice"):
        load_attributes(path)


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
    with pytest.raises(DatasetError, match=r"videos\.csv is already there"):
        write_study(tmp_path, "s", tmp_path, load_ratings(write(LONG)), RULES["plain"])
    assert (tmp_path / "videos.csv").read_text() == "mine"
