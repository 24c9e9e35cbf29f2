"""The composed question set: complete, in the official layout, with one right answer each."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevq.dataset.questions import LEVELS, load_questions
from finevq.dataset.settings import DatasetSettings
from finevq.dataset.study.attributes import load_attribute_labels
from finevq.dataset.study.compose import compose, write_questions
from finevq.dataset.study.wording import ATTRIBUTES, GOOD_QUALITY, SEVERITIES, level_word
from finevq.dataset.videos import DIMENSIONS, Dataset, Video, load_dataset
from finevq.errors import DatasetError

DISTORTED = ("color", "noise", "artifact", "blur", "temporal")


def dataset_of(*labels: dict[str, float]) -> Dataset:
    settings = DatasetSettings(
        name="d", folder=Path("f"), root=Path(), mos_range=(0.0, 100.0), split="s"
    )
    videos = (Video(f"d/{i}.mp4", Path(), found) for i, found in enumerate(labels))
    return Dataset(settings, tuple(videos))


def options(line: dict) -> tuple[dict[str, str], str]:
    """What the letters of a line stand for, and what its answer does."""
    human, ai = line["conversations"]
    offered = dict(re.findall(r"([A-Z]):\[([^\]]*)\]", human["value"]))
    return offered, offered[ai["value"]]


def which(made, wording: str) -> list[tuple[dict[str, str], str]]:
    lines = (q for q in made.questions if wording in q["conversations"][0]["value"])
    return [options(line) for line in lines]


labels = st.fixed_dictionaries({d: st.sampled_from([0.0, 30.0, 60.0, 100.0]) for d in DIMENSIONS})
attributes = st.fixed_dictionaries(
    {d: st.lists(st.sampled_from(ATTRIBUTES[d]), max_size=2, unique=True) for d in DISTORTED}
)


@given(st.lists(st.tuples(labels, attributes), min_size=1, max_size=4), st.integers(0, 5))
def test_each_video_has_eight_questions_with_one_right_answer(videos, seed: int) -> None:
    dataset = dataset_of(*(found for found, _ in videos))
    present = {f"d/{i}.mp4": found for i, (_, found) in enumerate(videos)}
    made = compose(dataset, present, seed)
    assert len(made.questions) == 8 * len(videos)
    assert len(made.levels) == 6 * len(videos)
    assert len(made.descriptions) == len(videos)
    for (mos, has), exists, most in zip(
        videos, which(made, "distortion type"), which(made, "greatest"), strict=True
    ):
        existing = {name for names in has.values() for name in names}
        right = [name for name in exists[0].values() if name in (existing or {"None"})]
        assert right == [exists[1]]
        assert "None" in exists[0].values()
        distorted = [d for d in DISTORTED if has[d]]
        worst = min((mos[d] for d in distorted), default=None)
        best = {d.capitalize() for d in distorted if mos[d] == worst} or {GOOD_QUALITY}
        assert [name for name in most[0].values() if name in best] == [most[1]]


@given(st.lists(st.tuples(labels, attributes), min_size=1, max_size=3))
def test_yes_is_an_attribute_in_the_dimension(videos) -> None:
    dataset = dataset_of(*(found for found, _ in videos))
    made = compose(dataset, {f"d/{i}.mp4": found for i, (_, found) in enumerate(videos)})
    for i, (_, has) in enumerate(videos):
        answers = [q["conversations"][1]["value"] for q in made.questions[8 * i : 8 * i + 5]]
        assert answers == ["Yes" if has[d] else "No" for d in DISTORTED]


@pytest.fixture
def written(tmp_path: Path, make_settings) -> Dataset:
    """Forty videos, half with blur and noise, and their composed questions on disk."""
    rows = "".join(f"{i}.mp4,{i},{i + 20},{i + 60}\n" for i in range(40))
    (tmp_path / "videos.csv").write_text("video,noise,blur,overall\n" + rows)
    (tmp_path / "attributes.csv").write_text(
        "video,dimension,attribute\n"
        + "".join(f"{i}.mp4,blur,motion blur\n{i}.mp4,noise,pulse noise\n" for i in range(20))
        + "30.mp4,blur,none\n"
    )
    dataset = load_dataset(make_settings())
    labels = load_attribute_labels(dataset, tmp_path / "attributes.csv")
    write_questions(dataset, compose(dataset, labels))
    return dataset


def test_what_is_written_is_what_the_stages_read(written: Dataset) -> None:
    """The overall rating is passed over there: it is asked from the MOS."""
    found = load_questions(written)
    assert set(found) == set(written.ids)
    for asked in found.values():
        kinds = [question.kind for question in asked]
        assert kinds == [
            *(f"yes-no {d}" for d in DISTORTED),
            "which exists",
            "which most",
        ]
    (most,) = [q for q in found["demo/3.mp4"] if q.kind == "which most"]
    assert f"{most.answer}:[Noise]" in most.text  # 3 is less than 23
    answers = {q.kind: q.answer for q in found["demo/30.mp4"]}
    assert answers["yes-no blur"] == "No"


def test_questions_are_not_overwritten(written: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"questions\.jsonl is already there"):
        write_questions(written, compose(written, {}))


def test_the_seed_decides_and_other_videos_do_not() -> None:
    one, two = {"overall": 10.0}, {"overall": 90.0}
    both = compose(dataset_of(one, two), {}, 1).questions
    assert compose(dataset_of(one, two), {}, 1).questions == both
    assert compose(dataset_of(one), {}, 1).questions == both[:8]
    assert compose(dataset_of(one, two), {}, 2).questions != both


def test_letters_are_drawn_evenly() -> None:
    made = compose(dataset_of(*({"overall": 50.0},) * 1000), {})
    assert set(made.letters) == set("ABCD")
    assert made.letters.total() == 2000
    assert all(400 < count < 600 for count in made.letters.values())


def test_the_balance_counts_every_question() -> None:
    made = compose(
        dataset_of({"blur": 10.0, "overall": 50.0}), {"d/0.mp4": {"blur": ["motion blur"]}}
    )
    assert made.answers["yes-no blur"] == Counter(Yes=1)
    assert made.answers["which exists"] == Counter({"motion blur": 1})
    assert made.answers["which most"] == Counter(Blur=1)
    assert made.answers["level overall"] == Counter(fair=1)
    assert sum(counts.total() for counts in made.answers.values()) == len(made.questions)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_levels_have_the_words_of_their_dimension(dimension: str) -> None:
    words = [level_word(dimension, unit) for unit in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert words == list(SEVERITIES if dimension in ("noise", "artifact", "blur") else LEVELS)


def test_a_level_carries_its_mos() -> None:
    made = compose(dataset_of({"noise": 65.0, "color": 5.0}), {})
    assert [(q["conversations"][1]["value"], q["mos"]) for q in made.levels] == [
        ("The noise of this video is slight.", 65.0),
        ("The color quality of this video is bad.", 5.0),
    ]


@pytest.mark.parametrize(
    ("mos", "sentence"),
    [
        (
            {"color": 90.0, "noise": 50.0, "blur": 90.0, "overall": 30.0},
            "The overall quality of this video is poor, with excellent color quality, mild noise "
            "(pulse noise) and no visible blur.",
        ),
        ({"overall": 90.0}, "The overall quality of this video is excellent."),
        ({"noise": 10.0}, "This video has severe noise (pulse noise)."),
    ],
    ids=["several", "overall alone", "no overall"],
)
def test_the_description_is_one_sentence(mos: dict[str, float], sentence: str) -> None:
    made = compose(dataset_of(mos), {"d/0.mp4": {"noise": ["pulse noise"]}})
    assert made.descriptions[0]["conversations"][1]["value"] == sentence


def test_two_distorted_dimensions_need_their_mos() -> None:
    two = {"d/0.mp4": {"noise": ["pulse noise"], "blur": ["motion blur"]}}
    with pytest.raises(DatasetError, match=r"d/0\.mp4: distorted in noise, blur, but not all have"):
        compose(dataset_of({"noise": 5.0}), two)
