"""How close extraction comes to its slower half, and how it compares with the official reading.

    .venv/bin/python benchmarks/extraction.py [--videos 24] [--rounds 3]

Makes H.264 videos of 1280 x 720 pixels and 5 seconds. In every round, in turn:

- decoding alone: the decoding processes of one worker (its processor time is measured beside, since
  it takes more than one core);
- the forward pass alone: of videos that lie decoded in memory, one thread;
- both at the same time, unconnected: what the machine can do if nothing ever waits;
- extraction by one worker with one thread, from the moment that the cluster is there;
- extraction by two workers;
- the official way: one process, one video after another, by decord's `vr[i]` and PIL's resize, then
  the same backbones with all cores. Once with every frame read and resized, as the official
  evaluation does, once with only the frames that the features need. It stores nothing.

The features of both ways are compared. The ratios are of medians; the machine's other load is in
every round, but a stage alone can use a core that another program leaves idle.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from decord import VideoReader, cpu
from PIL import Image

from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.errors import VideoError
from finevq.extract.decode.pool import DecodePool
from finevq.extract.decode.video import DecodedVideo, Sampling, decode
from finevq.extract.encode.encoder import Encoder

WIDTH, HEIGHT, FRAMES, FPS = 1280, 720, 150, 30


def make_videos(folder: Path, count: int) -> list[Path]:
    """A dataset of textures that move over each other, each video with its own."""
    folder.mkdir(parents=True)
    files = [folder / f"{number:03}.mp4" for number in range(count)]
    for number, file in enumerate(files):
        noise = np.random.default_rng(number)
        layers = [texture(noise, cell) for cell in (8, 40)]
        with av.open(str(file), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for at in range(FRAMES):
                moved = [
                    np.roll(layer, at * step, (0, 1))
                    for layer, step in zip(layers, (1, 3), strict=True)
                ]
                pixels = (sum(moved) // 2).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    lines = ["video", *(file.name for file in files)]
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")
    return files


def texture(noise: np.random.Generator, cell: int) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) of int16, smooth blobs of a size."""
    small = noise.integers(0, 256, (HEIGHT // cell, WIDTH // cell, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT))).astype(np.int16)


def changes(folder: Path, workers: int) -> list[str]:
    return [
        "dataset.name=made",
        f"dataset.folder={folder / 'videos'}",
        f"cache.path={folder / 'features'}",
        "cache.rows_per_shard=4",
        "extract.device=cpu",
        f"extract.cluster.workers={workers}",
    ]


def decoding_alone(encoder: Encoder, files: list[Path]) -> float:
    with DecodePool(encoder.sampling, encoder.settings.decode) as pool:
        pool.submit(files[0]).result()  # its process has started
        began = time.perf_counter()
        for outcome in pool.decode_all(files):
            assert not isinstance(outcome, VideoError), outcome
        return time.perf_counter() - began


def decoding_cpu(encoder: Encoder, files: list[Path]) -> float:
    """Seconds of processor time; decord decodes in a thread of its own while frames are resized."""
    began = time.process_time()
    for file in files:
        decode(file, encoder.sampling)
    return time.process_time() - began


def forward_alone(encoder: Encoder, videos: list[DecodedVideo]) -> float:
    torch.set_num_threads(1)
    began = time.perf_counter()
    for video in videos:
        encoder.encode(video)
    return time.perf_counter() - began


def both_alone(encoder: Encoder, files: list[Path], videos: list[DecodedVideo]) -> float:
    """The two at the same time, which have nothing to do with each other."""
    with ThreadPoolExecutor(1) as other:
        forward = other.submit(forward_alone, encoder, videos)
        return max(decoding_alone(encoder, files), forward.result())


def extraction(folder: Path, workers: int, busy: list[float]) -> float:
    """Seconds; the busiest stage's share of them is added to `busy`."""
    shutil.rmtree(folder / "features", ignore_errors=True)
    tally = run_extract(folder, changes(folder, workers))
    assert tally["videos"]["left"] == tally["videos"]["failed"] == 0
    busy.append(max(tally["busy"].values()))
    return float(tally["seconds"])


def run_extract(folder: Path, settings: list[str]) -> dict[str, Any]:
    """The summary of `finevq extract`; children of this script would import all that it imports."""
    command = [sys.executable, "-m", "finevq", "extract", "--summary", str(folder / "summary.json")]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, capture_output=True)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    return summary


def official(encoder: Encoder, files: list[Path], *, every: bool) -> tuple[float, list[np.ndarray]]:
    """Seconds for all files, and the spatial features of each."""
    torch.set_num_threads(os.cpu_count() or 1)
    began = time.perf_counter()
    videos = (read_officially(file, encoder.sampling, every=every) for file in files)
    spatial = [encoder.encode(video).spatial for video in videos]
    return time.perf_counter() - began, spatial


def read_officially(file: Path, sampling: Sampling, *, every: bool) -> DecodedVideo:
    """Single frames and clips by `vr[i]`, one frame after another."""
    reader = VideoReader(str(file), ctx=cpu(0), num_threads=1)
    size, count = sampling.frame_size, len(reader)
    middles, windows = sampling.middles(count), sampling.windows(count)

    def frame(index: int, size: int, method: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(reader[index].asnumpy()).resize((size, size), method))

    def frames(indices: Iterable[int]) -> np.ndarray:
        return np.stack([frame(index, size, Image.Resampling.BICUBIC) for index in indices])

    spatial = frames(range(count))[middles] if every else frames(middles)
    clips = [
        [frame(index, sampling.clip_size, Image.Resampling.BILINEAR) for index in window]
        for window in windows
    ]
    return DecodedVideo(spatial, np.array(clips), count, FPS, None, "decord", "", 0.0)


def largest_deviation(folder: Path, spatial: list[np.ndarray]) -> float:
    """Of the stored features, over their largest value; half precision rounds by up to 5e-4."""
    store = FeatureStore.open(str(folder / "features"))
    pairs = [
        (store.read(f"made/{number:03}.mp4")[0].astype(np.float32), made)
        for number, made in enumerate(spatial)
    ]
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def measure(folder: Path, count: int, rounds: int) -> dict[str, object]:
    files = make_videos(folder / "videos", count)
    encoder = Encoder(load_config(None, changes(folder, 1))[0].extract)
    with DecodePool(encoder.sampling, encoder.settings.decode) as pool:
        decoded = [v for v in pool.decode_all(files) if isinstance(v, DecodedVideo)]
    few = files[: max(2, count // 4)]  # the official way is slow, and does not speed up with more
    seconds: dict[str, list[float]] = {}
    busy: dict[int, list[float]] = {1: [], 2: []}

    def add(name: str, run: Callable[[], float], videos: int = count) -> None:
        seconds.setdefault(name, []).append(run() / videos)
        print(f"{name}: {seconds[name][-1]:.3f} s a video", flush=True)

    for _ in range(rounds):
        add("decoding alone", lambda: decoding_alone(encoder, files))
        add("forward alone", lambda: forward_alone(encoder, decoded))
        add("both at once", lambda: both_alone(encoder, files, decoded))
        add("one worker", lambda: extraction(folder, 1, busy[1]))
        add("official, every frame", lambda: official(encoder, few, every=True)[0], len(few))
        add("official, needed frames", lambda: official(encoder, few, every=False)[0], len(few))
        add("two workers", lambda: extraction(folder, 2, busy[2]))
    spatial = official(encoder, few, every=False)[1]
    median = {name: statistics.median(values) for name, values in seconds.items()}
    slower = max(median["decoding alone"], median["forward alone"])
    return {
        "videos": count,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "seconds_a_video": {name: [round(v, 3) for v in vs] for name, vs in seconds.items()},
        "decoding_cpu_seconds_a_video": round(decoding_cpu(encoder, few) / len(few), 3),
        "one_worker_over_its_slower_stage": round(median["one worker"] / slower, 3),
        "one_worker_over_both_at_once": round(median["one worker"] / median["both at once"], 3),
        "busy_share_of_the_busiest_stage": {f"workers_{n}": shares for n, shares in busy.items()},
        "times_as_fast_as_official": {
            "every_frame": round(median["official, every frame"] / median["two workers"], 2),
            "needed_frames": round(median["official, needed frames"] / median["two workers"], 2),
        },
        "largest_deviation_from_official_features": largest_deviation(folder, spatial),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), given.videos, given.rounds)
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("extraction.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
