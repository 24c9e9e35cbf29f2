"""Dealing videos out to the parts of a split."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevq.dataset.splitting.drawing import draw, parse_ratio
from finevq.dataset.videos import Video
from finevq.errors import DatasetError


def videos(count: int, **labels: float) -> list[Video]:
    return [Video(f"d/{i}", Path(str(i)), dict(labels)) for i in range(count)]


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("4:1:1", {"train": 4 / 6, "val": 1 / 6, "test": 1 / 6}),
        ("4:1", {"train": 0.8, "test": 0.2}),
        ("60/20/20", {"train": 0.6, "val": 0.2, "test": 0.2}),
        ("0.5:0.5", {"train": 0.5, "test": 0.5}),
    ],
)
def test_ratios(text: str, ratio: dict[str, float]) -> None:
    assert parse_ratio(text) == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["4", "", "4:0", "4:-1", "4:1:1:1", "a:b", "4:", "80%"])
def test_a_wrong_ratio_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match="is not like 4:1"):
        parse_ratio(text)


@given(st.integers(0, 300), st.sampled_from(["4:1:1", "4:1", "60/20/20", "1:1"]), st.integers(0, 9))
def test_the_parts_have_their_shares_to_one_video(count: int, text: str, seed: int) -> None:
    ratio = parse_ratio(text)
    parts = draw(videos(count), ratio, [seed])
    assert len(parts) == count
    for part, share in ratio.items():
        assert abs(list(parts.values()).count(part) - share * count) <= 1


def test_the_order_of_the_videos_does_not_matter() -> None:
    ratio = parse_ratio("4:1:1")
    assert draw(videos(50), ratio, [1]) == draw(videos(50)[::-1], ratio, [1])


def test_each_seed_draws_another_split() -> None:
    ratio = parse_ratio("4:1")
    drawn = [draw(videos(40), ratio, [0, index]) for index in range(5)]
    assert len({tuple(sorted(parts.items())) for parts in drawn}) == 5


def test_every_video_is_tested_about_as_often() -> None:
    """A pattern in the dealing would favour some."""
    tested: Counter[str] = Counter()
    for index in range(300):
        parts = draw(videos(20), parse_ratio("4:1"), [index])
        tested.update(name for name, part in parts.items() if part == "test")
    assert sum(tested.values()) == 300 * 4
    assert all(35 <= tested[f"d/{i}"] <= 90 for i in range(20))  # 60 expected, deviation 7


@given(st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=5), max_size=12))
def test_groups_stay_together_also_where_they_chain(groups: list[list[int]]) -> None:
    parts = draw(
        videos(40), parse_ratio("4:1:1"), [0], groups=[[f"d/{i}" for i in g] for g in groups]
    )
    assert len(parts) == 40
    for group in groups:
        assert len({parts[f"d/{i}"] for i in group}) == 1


def test_groups_come_near_the_ratio() -> None:
    groups = [[f"d/{i}" for i in range(k, k + 8)] for k in range(0, 240, 8)]
    parts = Counter(draw(videos(240), parse_ratio("4:1:1"), [3], groups=groups).values())
    assert abs(parts["train"] - 160) <= 8
    assert abs(parts["test"] - 40) <= 8


def test_a_stratified_split_has_the_mos_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    labelled = [Video(f"d/{i}", Path(str(i)), {"overall": rng.uniform(0, 100)}) for i in range(300)]
    mean = {True: [], False: []}
    for stratify, means in mean.items():
        for seed in range(20):
            parts = draw(labelled, parse_ratio("4:1"), [seed], stratify=stratify)
            means.append(np.mean([v.labels["overall"] for v in labelled if parts[v.id] == "test"]))
    assert np.std(mean[True]) < np.std(mean[False]) / 2
    whole = np.mean([v.labels["overall"] for v in labelled])
    assert np.abs(np.array(mean[True]) - whole).max() < 5


def test_unlabelled_videos_can_be_stratified_too() -> None:
    mixed = [*videos(10, noise=40.0), *(Video(f"d/{i}", Path(str(i)), {}) for i in range(10, 30))]
    parts = draw(mixed, parse_ratio("1:1"), [0], stratify=True)
    assert Counter(parts.values()) == {"train": 15, "test": 15}
