"""Do the scores of real clips fall as a distortion grows, whoever made it?

    .venv/bin/finevq demo
    .venv/bin/pip install 'brisque[opencv-python-headless]'       # the peer; may be left out
    .venv/bin/python benchmarks/ladder.py FOLDER [--checkpoint DIR] [--clips N] [--made DIR]

On a machine that others use as well, set OMP_NUM_THREADS=1: threads that wait for each other cost
several times as much there.

Every clip of a folder is cut to about two seconds and at most 720 lines and written once clean and
in five strengths of each distortion (`ladder_distortions.py`). One scorer rates them all. The clips
ought to be filmed ones: a test pattern has no natural noise, blur or motion. For each ladder:

- Kendall's tau-b of strength and score, with the sign that 1 is a score that always falls, for the
  dimension that is distorted and for `overall`: mean over clips, and the worst clip. Six rungs are
  15 pairs; a score or word that never changes has tau 0.
- The same tau of the words of that dimension, and the share of clips whose word is lower on the
  last rung than on the clean one.
- The share of clips in which the distorted dimension falls further, from clean to the last rung,
  than the mean of the four others; `overall` is neither.
- Tau of BRISQUE on two frames of each file (`ladder_peer.py`), beside that of `overall`.

A clip without motion cannot show held frames, and one that is far too dark gets better by more
light: they are left out of the temporal and the color ladder. Contradictions are words that lie two
or more levels from their score; a level is a fifth of the scale. Stability: the largest difference
between the scores of one clip with 360, 720 and 1080 lines, and as x264 with CRF 16 and 18, over
the six dimensions, in levels.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from ladder_distortions import STABILITY, STRENGTHS, MadeClip, make
from ladder_peer import brisque
from scipy.stats import kendalltau

import finevq
from finevq.dataset.questions import LEVELS, level
from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.score.scorecard import ScoreCard

TARGETS = {ladder: {"fading": "color"}.get(ladder, ladder) for ladder in STRENGTHS}
"""The dimension that a ladder is about."""

LEAST_MOTION = 0.5
"""Mean difference between frames, in grey levels of 255, below which held frames are not seen."""

MOST_HEADROOM = 1.0
"""Stops of light above which a clip is too dark for over-exposure to make it worse at once."""

Cards = dict[Path, ScoreCard]


def rate(scorer: Any, paths: Sequence[Path]) -> Cards:
    return dict(zip(paths, scorer.score_all(paths), strict=True))


def unit(card: ScoreCard, dimension: str) -> float:
    """A score as a share of the scale."""
    low, high = card.scale
    return (card.ratings[dimension].score - low) / (high - low)


def word(card: ScoreCard, dimension: str) -> int:
    return LEVELS.index(card.ratings[dimension].level)


def fall(values: Sequence[float]) -> float:
    """Kendall's tau-b of the rungs and values that ought to fall; 0 where they never change."""
    tau = float(kendalltau(range(len(values)), values).statistic)
    return 0.0 if np.isnan(tau) else -tau


def rungs(clip: MadeClip, ladder: str) -> list[Path]:
    """The files of a ladder, the clean one first."""
    return [clip.files["clean"]] + [
        clip.files[f"{ladder}-{number}"] for number in range(1, len(STRENGTHS[ladder]) + 1)
    ]


def summary(taus: dict[str, float]) -> dict[str, Any]:
    worst = min(taus, key=lambda name: taus[name])
    return {"mean": statistics.mean(taus.values()), "worst": taus[worst], "worst_clip": worst}


def shows(clip: MadeClip, ladder: str) -> bool:
    """Can the distortion be seen in the clip?"""
    if ladder == "temporal":
        return clip.motion >= LEAST_MOTION
    return ladder != "color" or clip.headroom <= MOST_HEADROOM


def climb(ladder: str, clips: list[MadeClip], cards: Cards, peer: dict[Path, float]) -> dict:
    """What one ladder shows; nothing where no clip can show its distortion."""
    target = TARGETS[ladder]
    others = [name for name in DIMENSIONS if name not in (target, "overall")]
    left_out = [clip.name for clip in clips if not shows(clip, ladder)]
    clips = [clip for clip in clips if shows(clip, ladder)]
    if not clips:
        return {}
    steps = {clip.name: [cards[path] for path in rungs(clip, ladder)] for clip in clips}

    def taus(value: Callable[[ScoreCard], float]) -> dict[str, Any]:
        return summary({n: fall([value(card) for card in found]) for n, found in steps.items()})

    def drop(found: list[ScoreCard], dimension: str) -> float:
        return unit(found[0], dimension) - unit(found[-1], dimension)

    def share(holds: Callable[[list[ScoreCard]], bool]) -> float:
        return statistics.mean(float(holds(found)) for found in steps.values())

    result = {
        "target": target,
        "strengths": STRENGTHS[ladder],
        "clips": len(clips),
        "left_out": left_out,
        "tau": taus(lambda card: unit(card, target)),
        "tau_overall": taus(lambda card: unit(card, "overall")),
        "tau_word": taus(lambda card: word(card, target)),
        "word_is_lower_at_the_end": share(
            lambda found: word(found[-1], target) < word(found[0], target)
        ),
        "falls_further_than_others": share(
            lambda found: drop(found, target) > statistics.mean(drop(found, o) for o in others)
        ),
        "curves_percent_of_scale": {
            dimension: [
                round(100 * statistics.mean(unit(card, dimension) for card in rung), 1)
                for rung in zip(*steps.values(), strict=True)
            ]
            for dimension in DIMENSIONS
        },
    }
    if peer:
        # BRISQUE grows with distortion. A clip in which it finds no number is not counted.
        values = {clip.name: [-peer[path] for path in rungs(clip, ladder)] for clip in clips}
        finite = {name: fall(found) for name, found in values.items() if np.isfinite(found).all()}
        if finite:
            result["tau_brisque"] = {**summary(finite), "clips": len(finite)}
    return result


def contradictions(cards: Iterable[ScoreCard]) -> dict[str, Any]:
    far = [
        abs(LEVELS.index(level(unit(card, name))) - word(card, name)) >= 2
        for card in cards
        for name in DIMENSIONS
    ]
    return {"ratings": len(far), "two_or_more_levels_apart": sum(far), "share": sum(far) / len(far)}


def stability(clips: list[MadeClip], cards: Cards) -> dict[str, Any]:
    """The largest differences between files that look alike, in levels."""
    found: dict[str, Any] = {}
    for kind, values in STABILITY.items():
        spread: dict[str, dict[str, float]] = {}
        for clip in clips:
            alike = [cards[clip.files[f"{kind}-{value}"]] for value in values]
            spread[clip.name] = {
                name: len(LEVELS) * float(np.ptp([unit(card, name) for card in alike]))
                for name in DIMENSIONS
            }
        largest = {name: max(one.values()) for name, one in spread.items()}
        found[kind] = {
            "compared": values,
            "median_of_largest": statistics.median(largest.values()),
            "largest": max(largest.values()),
            "share_below_one_level": statistics.mean(float(v < 1) for v in largest.values()),
            "median": {n: statistics.median(one[n] for one in spread.values()) for n in DIMENSIONS},
        }
    return found


def show(result: dict[str, Any]) -> None:
    """The result as tables."""
    print("\ntau: strength against score; 1 is a score that always falls")
    print("ladder     target  worst | overall  worst | BRISQUE  worst | words  lower | further")
    for name, one in result["ladders"].items():
        peer = one.get("tau_brisque", {"mean": float("nan"), "worst": float("nan")})
        pairs = " | ".join(
            f"{tau['mean']:7.2f} {tau['worst']:6.2f}"
            for tau in (one["tau"], one["tau_overall"], peer)
        )
        print(
            f"{name:9} {pairs} | {one['tau_word']['mean']:5.2f} "
            f"{one['word_is_lower_at_the_end']:6.0%} | {one['falls_further_than_others']:7.0%}"
            + (f"  without {', '.join(one['left_out'])}" if one["left_out"] else "")
        )
    print("\nmean score in percent of the scale, clean and five strengths: target; overall")
    for name, one in result["ladders"].items():
        curves = one["curves_percent_of_scale"]
        lines = ["  ".join(f"{v:3.0f}" for v in curves[d]) for d in (one["target"], "overall")]
        print(f"{name:9} {lines[0]}  ;  {lines[1]}")
    five = result["five_ladders"]
    means = ", ".join(f"{key.removeprefix('tau_')} {value:.2f}" for key, value in five.items())
    print(f"\nmeans over the five ladders (without fading): {means}")
    words = result["contradictions"]
    print(f"words two or more levels from their score: {words['share']:.1%} of {words['ratings']}")
    for kind, one in result["stability"].items():
        print(
            f"{kind} {one['compared']}: largest difference {one['median_of_largest']:.2f} levels "
            f"in the median, {one['largest']:.2f} at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/demo/checkpoint"))
    parser.add_argument("--clips", type=int, help="use the first so many")
    parser.add_argument("--made", type=Path, help="keep made files here, and use those there")
    parser.add_argument("--processes", type=int, default=2, help="that make files")
    results = Path(__file__).with_name("results")
    parser.add_argument("--out", type=Path, default=results / "ladder.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(given, given.made or Path(temporary))
    show(result)
    given.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the files, rate them, judge them by BRISQUE, and sum up."""
    scorer = finevq.load(given.checkpoint)
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        began = time.perf_counter()
        clips, skipped = usable(
            given.folder, given.clips, scorer, partial(make, folder=folder), pool
        )
        made = time.perf_counter()
        cards = rate(scorer, [path for clip in clips for path in clip.files.values()])
        if failed := {str(path): card.error for path, card in cards.items() if card.error}:
            raise SystemExit(f"made files were not rated: {failed}")
        rated = time.perf_counter()
        peer: dict[Path, float] = {}
        if find_spec("brisque") is None:
            print("BRISQUE is not measured: the package brisque is not installed")
        else:
            asked = {path for clip in clips for name in STRENGTHS for path in rungs(clip, name)}
            peer = dict(zip(asked, pool.map(brisque, asked), strict=True))
        judged = time.perf_counter()
    parts = {"making": made - began, "scoring": rated - made, "BRISQUE": judged - rated}
    spent = ", ".join(f"{name} {seconds / len(clips):.0f}" for name, seconds in parts.items())
    print(f"seconds a clip, without what was there already: {spent}")
    every = {name: climb(name, clips, cards, peer) for name in STRENGTHS}
    ladders = {name: one for name, one in every.items() if one}
    five = [one for name, one in ladders.items() if name in DIMENSIONS]
    return {
        "clips": {
            clip.name: {"lines": clip.lines, "motion": clip.motion, "headroom": clip.headroom}
            for clip in clips
        },
        "not_used": skipped,
        "base": scorer.info.base,
        "ladders": ladders,
        "five_ladders": {
            key: statistics.mean(one[key]["mean"] for one in five)
            for key in ("tau", "tau_overall", "tau_brisque")
            if all(key in one for one in five)
        },
        "contradictions": contradictions(cards.values()),
        "stability": stability(clips, cards),
    }


def usable(
    folder: Path,
    limit: int | None,
    scorer: Any,
    make: Callable[[Path], MadeClip | str],
    pool: ProcessPoolExecutor,
) -> tuple[list[MadeClip], dict[str, str]]:
    """What was made of each clip, and why nothing was made of others, by name of the file."""
    sources = sorted(path for path in folder.iterdir() if path.is_file())[:limit]
    skipped = {path.name: card.error for path, card in rate(scorer, sources).items() if card.error}
    readable = [path for path in sources if path.name not in skipped]
    clips = []
    for path, made in zip(readable, pool.map(make, readable), strict=True):
        if isinstance(made, MadeClip):
            clips.append(made)
        else:
            skipped[path.name] = made
    for name, reason in skipped.items():
        print(f"not used: {name}: {reason}")
    if not clips:
        raise SystemExit(f"{folder}: no clip of it can be used")
    return clips, skipped


if __name__ == "__main__":
    main()
