"""Rating files, long and wide, and what is wrong with one."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from finevq.dataset.study.rating_files import load_ratings
from finevq.errors import DatasetError

LONG = "subject,video,dimension,score\nann,b.mp4,blur,4\nbob,b.mp4,blur,2\nann,a.mp4,noise,1\n"


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
    Bad("below the scale", HEAD + "bob,a.mp4,blur,0\n", r"row 3: .*\[1, 5\]; give the scale"),
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
