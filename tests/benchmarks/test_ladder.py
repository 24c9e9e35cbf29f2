"""`benchmarks/ladder.py`: its distortions grow with their strength, its figures have their sign."""

import importlib.util
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import finevq
from finevq.dataset.questions import LEVELS, level
from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.score.scorecard import Rating, ScoreCard


def _load(name: str) -> ModuleType:
    path = Path(finevq.__file__).parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


made = _load("ladder_distortions")
_load("ladder_peer")
ladder = _load("ladder")

WIDTH, HEIGHT, COUNT = 128, 96, 60


@pytest.fixture(scope="module")
def clip() -> Any:
    """Coarse noise in color that moves a little each frame."""
    draw = np.random.default_rng(0)
    coarse = [draw.integers(40, 200, (HEIGHT // 8, WIDTH // 8), np.uint8) for _ in range(3)]
    y = coarse[0].repeat(8, axis=0).repeat(8, axis=1)
    u, v = (plane.repeat(4, axis=0).repeat(4, axis=1) for plane in coarse[1:])
    frames = [
        (np.roll(y, 2 * i, axis=1), np.roll(u, i, axis=1), np.roll(v, i, axis=1))
        for i in range(COUNT)
    ]
    return made.Clip(frames, Fraction(30000, 1001))


def _difference(one: Any, other: Any) -> float:
    pairs = zip(one.frames, other.frames, strict=True)
    return float(
        np.mean(
            [
                np.abs(np.subtract(a[k], b[k], dtype=float)).mean()
                for a, b in pairs
                for k in range(3)
            ]
        )
    )


def test_a_written_clean_clip_is_read_back(clip: Any, tmp_path: Path) -> None:
    made.write(tmp_path / "clean.mp4", clip)
    back = made.read(tmp_path / "clean.mp4")
    assert back.rate == clip.rate
    assert _difference(back, clip) < 1.5  # swapped planes or lines would differ by tens


@pytest.mark.parametrize("name", ["blur", "noise", "color", "fading", "temporal"])
def test_each_rung_lies_further_from_the_clean_one(clip: Any, name: str) -> None:
    strengths = made.STRENGTHS[name]
    found = [_difference(made.DISTORTIONS[name](clip, s), clip) for s in strengths]
    assert found[0] > 0.1
    assert found == sorted(set(found))


def test_each_crf_lies_further_from_the_clean_one(clip: Any, tmp_path: Path) -> None:
    found = []
    for crf in made.STRENGTHS["artifact"]:
        made.write(tmp_path / "artifact.mp4", clip, crf, made.PRESET)
        found.append(_difference(made.read(tmp_path / "artifact.mp4"), clip))
    assert found == sorted(set(found))


def test_distortions_of_one_dimension_leave_the_other_planes_alone(clip: Any) -> None:
    faded = made.faded(clip, 0.0)
    assert all((a[0] == b[0]).all() for a, b in zip(faded.frames, clip.frames, strict=True))
    assert all((frame[1] == 128).all() and (frame[2] == 128).all() for frame in faded.frames)


def test_noise_differs_from_frame_to_frame_and_has_its_strength(clip: Any) -> None:
    first, second = (
        np.subtract(noisy[0], frame[0], dtype=float)
        for noisy, frame in zip(made.noisy(clip, 12).frames[:2], clip.frames[:2], strict=True)
    )
    assert np.std(first) == pytest.approx(12, rel=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_frames_are_held_longer_on_every_rung(clip: Any, rate: int) -> None:
    slow = made.Clip(clip.frames, Fraction(rate))
    shown = [
        len({frame[0].tobytes() for frame in made.held(slow, seconds).frames})
        for seconds in made.STRENGTHS["temporal"]
    ]
    assert all(a > b for a, b in pairwise(shown))
    assert shown[0] <= COUNT / 2


def test_more_light_clips_more_of_the_picture_even_of_a_dark_clip(clip: Any) -> None:
    frames = [(y // 2, 96 + u // 4, 96 + v // 4) for y, u, v in clip.frames[::20]]
    bright = made.Clip(
        [(y, u, v) for (y, _, _), (_, u, v) in zip(clip.frames[::20], frames, strict=True)],
        clip.rate,
    )
    for one in (bright, made.Clip(frames, clip.rate)):
        clipped = [
            float(
                np.mean(
                    [_rgb(frame).max(axis=2) > 250 for frame in made.overexposed(one, s).frames]
                )
            )
            for s in (0.0, *made.STRENGTHS["color"])
        ]
        assert clipped[0] < 0.1
        assert clipped == sorted(clipped)
        assert clipped[-1] > 0.5


def _rgb(frame: Any) -> Any:
    return made._frame(frame).to_ndarray(format="rgb24")


def test_a_clip_is_cut_and_made_smaller_with_even_sides(clip: Any, tmp_path: Path) -> None:
    long = made.Clip(clip.frames * 2, clip.rate)
    made.write(tmp_path / "long.mp4", long)
    back = made.read(tmp_path / "long.mp4", 98)
    assert len(back.frames) == made.FRAMES
    assert back.frames[0][0].shape == (HEIGHT, WIDTH)  # never made larger
    assert made.resized(clip, 50).frames[0][0].shape == (50, 66)


def test_files_are_made_once(clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "STABILITY", {"lines": (48, 96), "crf": (16,)})
    monkeypatch.setattr(made, "STRENGTHS", {"blur": (1.0, 2.0), "artifact": (40.0,)})
    made.write(tmp_path / "a.mp4", clip)
    first = made.make(tmp_path / "a.mp4", tmp_path / "made")
    assert {*first.files} == {
        *("clean", "blur-1", "blur-2", "artifact-1", "lines-48", "lines-96", "crf-16")
    }
    written = {path: path.stat().st_mtime_ns for path in first.files.values()}
    assert made.make(tmp_path / "a.mp4", tmp_path / "made") == first
    assert {path: path.stat().st_mtime_ns for path in first.files.values()} == written
    monkeypatch.setattr(made, "STRENGTHS", {"blur": (1.0, 3.0), "artifact": (40.0,)})
    made.make(tmp_path / "a.mp4", tmp_path / "made")
    assert all(path.stat().st_mtime_ns > then for path, then in written.items())


def test_short_and_small_clips_are_refused_with_a_reason(clip: Any, tmp_path: Path) -> None:
    made.write(tmp_path / "short.mp4", made.Clip(clip.frames[:23], clip.rate))
    assert made.make(tmp_path / "short.mp4", tmp_path) == "is too short: 23 frames"
    made.write(tmp_path / "small.mp4", made.resized(clip, 64))
    assert made.make(tmp_path / "small.mp4", tmp_path) == "is too small: 64 lines"


def _card(**scores: float) -> ScoreCard:
    """A card on a scale of 0 to 100 whose words fit its scores; 50 where none is given."""
    ratings = {
        name: Rating(score, level(score / 100), {}, score)
        for name in DIMENSIONS
        for score in [scores.get(name, 50.0)]
    }
    return ScoreCard("clip.mp4", (0.0, 100.0), ratings)


def _two_clips() -> tuple[list[Any], dict[Path, ScoreCard]]:
    """One whose blur falls with blur; one whose blur never changes while its noise falls."""
    names = ["clean", *(f"blur-{number}" for number in range(1, 6))]
    clips = [
        made.MadeClip(clip, {name: Path(clip, name) for name in names}, 720, 64, 1.0, 0.0)
        for clip in ("good.mp4", "blind.mp4")
    ]
    falling = [90.0, 75.0, 55.0, 45.0, 35.0, 10.0]
    cards = {
        clips[k].files[name]: _card(**{dimension: score}, overall=score)
        for k, dimension in enumerate(("blur", "noise"))
        for name, score in zip(names, falling, strict=True)
    }
    return clips, cards


def test_the_figures_of_a_ladder() -> None:
    clips, cards = _two_clips()
    worsening = {path: -card.ratings["overall"].score for path, card in cards.items()}
    found = ladder.climb("blur", clips, cards, worsening)
    assert found["tau"]["mean"] == pytest.approx(0.5)
    assert (found["tau"]["worst"], found["tau"]["worst_clip"]) == (0, "blind.mp4")
    assert found["tau_overall"]["mean"] == found["tau_brisque"]["mean"] == pytest.approx(1)
    assert 0 < found["tau_word"]["mean"] < 0.5  # five words on six rungs have a tie
    assert found["word_is_lower_at_the_end"] == 0.5
    assert found["falls_further_than_others"] == 0.5
    assert found["curves_percent_of_scale"]["blur"] == [70, 62.5, 52.5, 47.5, 42.5, 30]


def test_still_and_dark_clips_are_left_out_where_they_cannot_show_it() -> None:
    still = made.MadeClip("still.mp4", {}, 720, 64, 0.1, 0.0)
    dark = made.MadeClip("dark.mp4", {}, 720, 64, 1.0, 3.0)
    assert [ladder.shows(still, name) for name in ("temporal", "color", "blur")] == [
        False,
        True,
        True,
    ]
    assert [ladder.shows(dark, name) for name in ("temporal", "color", "blur")] == [
        True,
        False,
        True,
    ]
    assert ladder.climb("temporal", [still], {}, {}) == {}


def test_clips_without_a_number_of_the_peer_are_not_counted_for_it() -> None:
    clips, cards = _two_clips()
    peer = {path: float("nan") if path.parts[0] == "good.mp4" else 1.0 for path in cards}
    found = ladder.climb("blur", clips, cards, peer)
    assert found["tau_brisque"]["clips"] == 1
    assert found["tau_brisque"]["mean"] == 0


def test_a_word_that_contradicts_its_score_is_counted() -> None:
    agreeing, contradicting = _card(), _card()
    contradicting.ratings["color"] = Rating(50.0, LEVELS[-1], {}, 50.0)
    found = ladder.contradictions([agreeing, contradicting])
    assert (found["ratings"], found["two_or_more_levels_apart"]) == (12, 1)


def test_stability_is_the_largest_difference_in_levels() -> None:
    names = [f"{kind}-{value}" for kind, values in made.STABILITY.items() for value in values]
    clip = made.MadeClip("a.mp4", {name: Path(name) for name in names}, 720, 64, 1.0, 0.0)
    cards = {path: _card() for path in clip.files.values()}
    cards[Path("lines-720")] = _card(noise=80.0, blur=40.0)
    found = ladder.stability([clip], cards)
    assert found["lines"]["median_of_largest"] == pytest.approx(1.5)
    assert found["lines"]["median"]["blur"] == pytest.approx(0.5)
    assert found["crf"]["largest"] == 0
