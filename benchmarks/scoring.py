"""Seconds to rate a video file, in the setting of the paper's Table 7.

    .venv/bin/finevq demo
    .venv/bin/python benchmarks/scoring.py [--checkpoint runs/demo/checkpoint]

Ten generated H.264 videos of 2048 x 1080 pixels and 240 frames. First by `finevq score`'s own way,
in which the decoding of one video overlaps with the model's work on another; then its parts one
after another in this process: decoding, the two backbones, the language model with all prompts.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import torch

from finevq.cache.values import as_read
from finevq.evaluate.score.scorer.scorer import Scorer
from finevq.extract.decode.video import decode

VIDEOS, WIDTH, HEIGHT, FRAMES = 10, 2048, 1080, 240

T = TypeVar("T")


def write_video(path: Path, seed: int) -> None:
    """Noise of two sizes that moves, which is work for a decoder."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (HEIGHT // 40, WIDTH // 32, 3), np.uint8)
    fine = draw.integers(0, 32, (HEIGHT, WIDTH, 3), np.uint8)
    picture = coarse.repeat(40, axis=0).repeat(32, axis=1) // 8 * 7 + fine
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 4 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def timed(action: Callable[[], T]) -> tuple[T, float]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - began


def measure(scorer: Scorer, files: list[Path]) -> dict[str, object]:
    scorer.score(files[0])  # warm up
    cards, whole = timed(lambda: list(scorer.score_all(files)))
    assert all(card.error is None for card in cards), cards
    split: dict[str, list[float]] = {"decode": [], "backbones": [], "language_model": []}
    for file in files:
        video, seconds = timed(lambda file=file: decode(file, scorer.encoder.sampling))
        split["decode"].append(seconds)
        features, seconds = timed(lambda video=video: scorer.encoder.encode(video))
        split["backbones"].append(seconds)
        arrays = as_read(features, scorer.info.dtype)
        _, seconds = timed(lambda arrays=arrays: scorer.predictor.answer(*arrays, scorer.prompts))
        split["language_model"].append(seconds)
    return {
        "videos": len(files),
        "pixels": [WIDTH, HEIGHT],
        "frames": FRAMES,
        "prompts": len(scorer.prompts),
        "base": scorer.info.base,
        "device": str(scorer.encoder.device),
        "seconds_a_video": whole / len(files),
        "frames_per_s": FRAMES * len(files) / whole,
        "seconds_of_the_parts": {name: statistics.median(found) for name, found in split.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/demo/checkpoint"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.mp4" for number in range(VIDEOS)]
        for number, file in enumerate(files):
            write_video(file, number)
        result = measure(Scorer(given.checkpoint), files)
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("scoring.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
