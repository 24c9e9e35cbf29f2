"""The demo's plan, its simulated raters, and two of its videos made as `finevq demo` makes them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from finevq.dataset.demo import data_set as demo
from finevq.dataset.demo.data_set import SUBJECTS, generate_demo, rate
from finevq.dataset.demo.distortions import TYPES, render
from finevq.dataset.demo.frames import FPS, FRAMES, HEIGHT, WIDTH, write_video
from finevq.dataset.demo.photographs import PHOTOGRAPHS
from finevq.dataset.demo.plan import (
    TEST_SCENES,
    VAL_SCENES,
    VERSIONS,
    DemoVideo,
    plan_demo,
    true_quality,
)
from finevq.dataset.demo.scenes import SCENES, scene
from finevq.dataset.demo.worlds import WORLDS
from finevq.dataset.questions import load_questions
from finevq.dataset.splits import load_split
from finevq.dataset.videos import DIMENSIONS, load_dataset
from finevq.errors import DatasetError

DISTORTED = ("color", "noise", "artifact", "blur", "temporal")

CLEAN = dict.fromkeys(DISTORTED, 0.0)


@pytest.fixture(scope="module")
def plan() -> list[DemoVideo]:
    return plan_demo(0)


def test_the_plan_depends_on_the_seed_alone(plan: list[DemoVideo]) -> None:
    assert plan_demo(0) == plan
    assert plan_demo(1) != plan


def test_every_scene_has_all_its_versions(plan: list[DemoVideo]) -> None:
    assert Counter(video.scene for video in plan) == dict.fromkeys(SCENES, VERSIONS)


def test_names_are_unique(plan: list[DemoVideo]) -> None:
    assert len({video.name for video in plan}) == len(plan)


def test_versions_of_a_scene_show_the_same_world(plan: list[DemoVideo]) -> None:
    worlds = {(video.scene, video.world_seed) for video in plan}
    assert len(worlds) == len(SCENES)


def test_versions_of_a_scene_are_distorted_differently(plan: list[DemoVideo]) -> None:
    assert len({video.recipe.seed for video in plan}) == len(plan)


def test_recipes_name_known_types_and_strengths_in_range(plan: list[DemoVideo]) -> None:
    for video in plan:
        assert list(video.recipe.types) == list(video.recipe.strengths) == list(DISTORTED)
        assert all(kind in TYPES[d] for d, kind in video.recipe.types.items())
        assert all(0 <= strength <= 1 for strength in video.recipe.strengths.values())


def test_every_type_of_distortion_occurs(plan: list[DemoVideo]) -> None:
    occurring = {(d, kind) for video in plan for d, kind in video.recipe.types.items()}
    assert occurring == {(d, kind) for d, kinds in TYPES.items() for kind in kinds}


def test_the_first_version_of_a_scene_is_nearly_clean(plan: list[DemoVideo]) -> None:
    assert all(video.quality["overall"] > 0.9 for video in plan[::VERSIONS])


def test_the_parts_hold_known_scenes_and_share_none() -> None:
    held_out = TEST_SCENES + VAL_SCENES
    assert set(held_out) < set(SCENES)
    assert len(set(held_out)) == len(held_out)


def test_both_kinds_of_scenes_train_and_test() -> None:
    training = set(SCENES) - set(TEST_SCENES) - set(VAL_SCENES)
    for scenes in (training, set(TEST_SCENES)):
        assert scenes & set(PHOTOGRAPHS)
        assert scenes & set(WORLDS)


def test_a_clean_video_is_perfect() -> None:
    assert true_quality(CLEAN) == dict.fromkeys(DIMENSIONS, 1.0)


@pytest.mark.parametrize("dimension", DISTORTED)
def test_a_distortion_lowers_its_dimension_and_overall_only(dimension: str) -> None:
    quality = true_quality(CLEAN | {dimension: 0.5})
    assert {d for d in DIMENSIONS if quality[d] < 1} == {dimension, "overall"}
    assert quality[dimension] < quality["overall"]


def test_one_strong_distortion_is_worse_than_many_weak_ones() -> None:
    strong = true_quality(CLEAN | {"blur": 0.5})
    weak = true_quality(dict.fromkeys(DISTORTED, 0.1))
    assert strong["overall"] < weak["overall"]


def flat(quality: float) -> Mapping[str, float]:
    return dict.fromkeys(DIMENSIONS, quality)


def test_ratings_are_on_the_five_level_scale() -> None:
    ratings = rate([flat(quality) for quality in (0, 0.5, 1)], np.random.default_rng(0))
    assert ratings.shape == (3, len(DIMENSIONS), SUBJECTS)
    assert ratings.dtype == np.int64
    assert (ratings.min(), ratings.max()) == (1, 5)


@pytest.mark.parametrize("seed", range(3))
def test_mean_ratings_rise_with_quality(seed: int) -> None:
    qualities = np.linspace(0, 1, 11)
    ratings = rate([flat(quality) for quality in qualities], np.random.default_rng(seed))
    means = ratings.mean(axis=(1, 2))  # of 120 ratings, whose standard error is below 0.1
    assert (np.diff(means) > 0).all()


def test_subjects_disagree() -> None:
    ratings = rate([flat(0.5)] * 20, np.random.default_rng(0))
    assert (ratings.std(axis=-1) > 0).all()


VISIBLE = 0.3
"""The strength above which a distortion is said to be there."""


def two_videos(plan: list[DemoVideo]) -> list[DemoVideo]:
    """A distorted test video and a clean validation video, both procedural: no photographs."""
    distorted = next(
        video
        for video in plan
        if video.scene in TEST_SCENES
        and video.scene in WORLDS
        and max(video.recipe.strengths.values()) > VISIBLE
    )
    clean = next(v for v in plan if v.scene in VAL_SCENES and v.scene in WORLDS)
    return [distorted, clean]


@pytest.fixture(scope="module")
def made(plan: list[DemoVideo], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that consists of two videos."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "plan_demo", lambda seed: two_videos(plan))
        generate_demo(folder, processes=1)
    return folder


def make_one(video: DemoVideo, path: Path) -> bytes:
    draw = scene(video.scene, video.world_seed, camera_seed=video.recipe.seed)
    write_video(path, render(draw, video.recipe))
    return path.read_bytes()


def test_a_video_is_h264_with_the_planned_frames(made: Path, plan: list[DemoVideo]) -> None:
    for video in two_videos(plan):
        with av.open(str(made / video.name)) as container:
            (stream,) = container.streams.video
            assert (stream.codec_context.name, stream.average_rate) == ("h264", FPS)
            assert (stream.width, stream.height) == (WIDTH, HEIGHT)
            times = [frame.time for frame in container.decode(stream)]
        assert len(times) == FRAMES
        np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=1e-3)


def test_a_video_has_the_same_bytes_each_time(
    made: Path, plan: list[DemoVideo], tmp_path: Path
) -> None:
    video = two_videos(plan)[0]
    assert make_one(video, tmp_path / "again.mp4") == (made / video.name).read_bytes()


def test_another_seed_gives_another_video(
    plan: list[DemoVideo], made: Path, tmp_path: Path
) -> None:
    video = two_videos(plan)[0]
    other = replace(video, recipe=replace(video.recipe, seed=video.recipe.seed + 1))
    assert make_one(other, tmp_path / "other.mp4") != (made / video.name).read_bytes()


@pytest.fixture
def dataset(made: Path, make_settings):
    return load_dataset(make_settings(folder=made, split="scenes"))


def test_the_written_manifest_loads_with_all_labels(dataset, plan: list[DemoVideo]) -> None:
    assert dataset.ids == [f"demo/{video.name}" for video in two_videos(plan)]
    for video in dataset:
        assert video.path.is_file()
        assert tuple(video.labels) == DIMENSIONS
        assert video.category == "procedural"


def test_the_labels_are_means_of_the_ratings(dataset, made: Path) -> None:
    ratings = np.genfromtxt(made / "ratings.csv", delimiter=",", dtype=str, skip_header=1)
    for video in dataset:
        for dimension, mos in video.labels.items():
            rows = (ratings[:, 1] == video.id.removeprefix("demo/")) & (ratings[:, 2] == dimension)
            scores = ratings[rows, 3].astype(int)
            assert len(scores) == SUBJECTS
            assert mos == pytest.approx((scores.mean() - 1) * 25, abs=0.01)


def test_the_written_split_holds_scenes_out(dataset, plan: list[DemoVideo]) -> None:
    test, val = (f"demo/{video.name}" for video in two_videos(plan))
    split = load_split(dataset, "scenes")
    found = {part: [video.id for video in videos] for part, videos in split.items()}
    assert found == {"train": [], "val": [val], "test": [test]}


def test_the_written_questions_load_with_the_right_answers(dataset, plan: list[DemoVideo]) -> None:
    questions = load_questions(dataset)
    for video in two_videos(plan):
        asked = {question.kind: question for question in questions[f"demo/{video.name}"]}
        assert list(asked) == [
            *(f"yes-no {d}" for d in DISTORTED),
            "which exists",
            "which most",
        ]
        strengths = video.recipe.strengths
        for d in DISTORTED:
            assert (asked[f"yes-no {d}"].answer == "Yes") == (strengths[d] > VISIBLE)
        worst = max(strengths, key=strengths.__getitem__)
        good = strengths[worst] <= VISIBLE
        exists = "None" if good else video.recipe.types[worst]
        most = "Video quality is good" if good else worst.capitalize()
        for kind, right in [("which exists", exists), ("which most", most)]:
            assert f"{asked[kind].answer}:[{right}]" in asked[kind].text


def test_a_finished_demo_is_left_as_it_is(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    generate_demo(made, seed=1)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(("no_such_package_here", "a.png"), id="no package"),
        pytest.param(("finevq.dataset", "no-such-file.png"), id="no file"),
    ],
)
def test_a_missing_photograph_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, source: tuple[str, str]
) -> None:
    monkeypatch.setitem(PHOTOGRAPHS, "lost", source)
    with pytest.raises(DatasetError, match=r"pip install 'finevq\[demo\]'"):
        scene("lost", 0, camera_seed=0)
