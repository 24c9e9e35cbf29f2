"""Attribute labels: the vote of a study's subjects, and the labels that questions are made from."""

from pathlib import Path

import pytest

from finevq.dataset.study.attributes import load_attribute_labels, load_majority_attributes
from finevq.dataset.videos import Dataset
from finevq.errors import DatasetError

TICKS = (
    "subject,video,dimension,attribute\n"
    "ann,a,blur,motion blur\nann,a,noise,none\n"
    "bob,a,blur,motion blur\nbob,a,blur,exposure blur\nbob,a,noise,None\n"
    "cem,a,blur,exposure blur\ncem,a,noise,other noise\n"
    "dia,a,blur,motion blur\ndia,b,blur,none\n"
)


def test_attributes_are_those_that_more_than_half_ticked(write) -> None:
    found = load_majority_attributes(write(TICKS))
    assert found.values.tolist() == [
        ["a", "blur", "motion blur", 3, 4],
        ["b", "blur", "none", 1, 1],
    ]  # 2 of 4 for exposure blur and for no noise are not more than half


def test_a_tick_given_twice_is_refused(write) -> None:
    path = write(TICKS + "dia,b,blur,none\n")
    with pytest.raises(DatasetError, match="row 11: dia ticks 'none' of 'b' twice"):
        load_majority_attributes(path)


BAD = {
    "unknown video": ("z.mp4,blur,motion blur", "row 2: 'z.mp4' is not in the dataset's manifest"),
    "overall": ("a.mp4,overall,bad", "row 2: 'overall' is not one of color, noise"),
    "none and more": ("a.mp4,blur,none\na.mp4,blur,motion blur", "has none and"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_attributes_are_refused(dataset: Dataset, tmp_path: Path, case: str) -> None:
    rows, message = BAD[case]
    (tmp_path / "attributes.csv").write_text("video,dimension,attribute\n" + rows + "\n")
    with pytest.raises(DatasetError, match=message):
        load_attribute_labels(dataset, tmp_path / "attributes.csv")


def test_no_attributes_is_said(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"attributes\.csv: No such file"):
        load_attribute_labels(dataset, tmp_path / "attributes.csv")
