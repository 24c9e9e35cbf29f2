"""Training on cached features against training on the fly, and what reading costs.

    .venv/bin/python benchmarks/training.py

*On the fly*: for each question, read 8 frames by decord's `vr[i]` and PIL's resize, run InternViT
and SlowFast on them, and train on one question a sequence, as the official training does. *Cached*:
read one row of the store, and train on all 14 questions behind one prefix. Both train the same
model on the same features in one run. The image encoder has InternViT-300M's width, its frames of
448 pixels and its 256 tokens a frame, but 2 of its 24 layers; SlowFast is the embedded one; the
language model is the embedded one. The backbones would weigh more at full size, and so would the
language model.

*Waiting*: the share of step time spent waiting for data, with rows of the full size (16.8 MB) on a
local disk whose cache was emptied, in shuffled order and in the order of the store.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch
from decord import VideoReader, cpu
from PIL import Image
from shared_prefix import batches, made_model
from transformers import InternVLVisionConfig, InternVLVisionModel

from finevq.cache.identity import Identity
from finevq.cache.records import Features, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.extract.decode.video.video import DecodedVideo, Sampling
from finevq.extract.encode.encoder import Encoder
from finevq.train.model.packing import Layout

LAYERS = 2
"""Of the image encoder; InternViT-300M has 24."""

ROUNDS, ON_THE_FLY = 3, 2
"""Rounds, and questions on the fly in each; all questions cost the same there."""

LAYOUT = Layout(frames=8, tokens=256, clips=1)
ROWS = 24


def write_video(path: Path) -> None:
    """240 frames of 1280 x 720: noise that moves, which is work for a decoder."""
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (90, 160, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(240):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 4 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def made_encoder(folder: Path) -> Encoder:
    config = InternVLVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        image_size=448,
        patch_size=14,
        norm_type="layer_norm",
        attention_bias=True,
    )
    torch.manual_seed(0)
    InternVLVisionModel(config).save_pretrained(str(folder))
    chosen = ["extract.device=cpu", f"extract.spatial.model={folder}"]
    chosen += ["extract.spatial.sampler=official", "extract.motion.mode=frames8"]
    return Encoder(load_config(None, chosen)[0].extract)


def read_officially(file: Path, sampling: Sampling) -> DecodedVideo:
    """The 8 frames that both backbones see in the official training, found by seeking."""
    reader = VideoReader(str(file), ctx=cpu(0), num_threads=1)
    size = (sampling.frame_size, sampling.frame_size)
    frames = [
        np.asarray(Image.fromarray(reader[i].asnumpy()).resize(size, Image.Resampling.BICUBIC))
        for i in sampling.middles(len(reader))
    ]
    pixels = np.stack(frames)
    return DecodedVideo(pixels, pixels[None], len(reader), 30.0, None, "decord", "", 0.0)


def made_store(url: str, features: Sequence[Features], shapes: dict[str, tuple[int, ...]]):
    settings = CacheSettings(path=url, stage="", rows_per_shard=8, dtype="float16")
    store = FeatureStore.create(url, Identity({"made": "for a benchmark"}), shapes, settings)
    names = [f"a/{number}.mp4" for number in range(len(features))]
    store.plan(names)
    for shard in store.shards:
        rows = store.shard_rows(shard)
        store.write_shard(shard, {video: features[row] for row, video in rows.items()})
    return store, names


def on_the_fly(folder: Path) -> dict[str, object]:
    """Questions a second both ways, and their ratio, round by round."""
    video = folder / "video.mp4"
    write_video(video)
    encoder = made_encoder(folder / "vit")
    pixels = read_officially(video, encoder.sampling)
    # Any content will do as hash.
    features = replace(encoder.encode(pixels), source=Source("a" * 64, 240, 30.0, 8.0, "decord"))
    store, (name,) = made_store(str(folder / "one"), [features], encoder.shapes)
    model, packer = made_model(LAYOUT)
    together, alone = batches(packer, LAYOUT)

    def train(spatial: np.ndarray, motion: np.ndarray, batch: dict[str, torch.Tensor]) -> None:
        features = {"spatial": spatial, "motion": motion}
        tensors = {key: torch.from_numpy(value)[None] for key, value in features.items()}
        model(**tensors, **batch).loss.backward()
        model.zero_grad()

    def cached() -> None:
        train(*store.read(name), together)

    def live() -> None:
        for batch in alone[:ON_THE_FLY]:
            features = encoder.encode(read_officially(video, encoder.sampling))
            train(features.spatial, features.motion, batch)

    rates: dict[str, list[float]] = {"cached": [], "on_the_fly": []}
    for number in range(ROUNDS + 1):
        fast, slow = len(alone) / seconds(cached), ON_THE_FLY / seconds(live)
        if number:  # the first round warms up
            rates["cached"].append(fast)
            rates["on_the_fly"].append(slow)
    ratios = [fast / slow for fast, slow in zip(*rates.values(), strict=True)]
    spatial, motion = features.spatial, features.motion
    parts = {
        "reading": lambda: read_officially(video, encoder.sampling),
        "image_encoder": lambda: encoder.spatial(pixels.frames),
        "slowfast": lambda: encoder.motion(pixels.clips),
        "one_question": lambda: train(spatial, motion, alone[0]),
        "all_questions": lambda: train(spatial, motion, together),
    }
    return {
        "image_encoder_layers": LAYERS,
        "questions_per_s": {key: statistics.median(found) for key, found in rates.items()},
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "seconds": {
            part: statistics.median(seconds(action) for _ in range(ROUNDS))
            for part, action in parts.items()
        },
    }


def reading(folder: Path) -> dict[str, object]:
    """Reading full-size rows in both orders, and the share of a training step that it takes."""
    shapes = {"spatial": (8, 256, 4096), "motion": (8, 2304)}
    draw = np.random.default_rng(0)
    block = draw.standard_normal((8, 256, 4096), np.float32)
    source = Source("a" * 64, 240, 30.0, 8.0, "pyav")
    motion = draw.standard_normal((8, 2304), np.float32)
    features = [Features(np.roll(block, row), motion, source) for row in range(ROWS)]
    store, names = made_store(str(folder / "many"), features, shapes)
    shuffled = list(np.random.default_rng(1).permutation(names))
    times = {"in order": [], "shuffled": []}
    for _ in range(ROUNDS):
        for order, videos in (("in order", names), ("shuffled", shuffled)):
            forget(folder / "many")
            times[order].append(seconds(lambda videos=videos: [store.read(v) for v in videos]))
    layout = Layout(frames=8, tokens=256, clips=8)
    model, packer = made_model(layout)
    together, _ = batches(packer, layout)
    waits = []
    forget(folder / "many")
    for video in shuffled[:4]:
        start = time.perf_counter()
        spatial, clips = (torch.from_numpy(array)[None] for array in store.read(video))
        waited = time.perf_counter() - start
        model(spatial=spatial, motion=clips, **together).loss.backward()
        waits.append(waited / (time.perf_counter() - start))
    per_row = {order: statistics.median(found) / ROWS for order, found in times.items()}
    return {
        "row_mb": store.layout.row_bytes / 1e6,
        "ms_per_row": {order: 1000 * found for order, found in per_row.items()},
        "shuffled_over_in_order": per_row["shuffled"] / per_row["in order"],
        "waiting_share_without_readers": statistics.median(waits[1:]),
    }


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def forget(folder: Path) -> None:
    """Take a folder's files out of the operating system's cache."""
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        result = {"reading": reading(folder), "on_the_fly": on_the_fly(folder)}
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("training.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
