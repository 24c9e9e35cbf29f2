"""How another resize than PIL's changes frames, features and scores, and how fast it is.

    .venv/bin/python benchmarks/resize.py [--videos FOLDER [--checkpoint DIR ...]]

Generated frames: smooth gradients, hard edges, text-like strokes and noise. With --videos also the
first frame of each video there; with --checkpoint the scores of the whole videos, whose motion
frames are resized as the checkpoint's mode says.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from finevq.dataset.videos import DIMENSIONS
from finevq.errors import VideoError
from finevq.evaluate.predict.predictor import Predictor
from finevq.extract.decode import video as decoding
from finevq.extract.decode.probe import probe
from finevq.extract.decode.reader import Reader
from finevq.extract.decode.video import _bilinear
from finevq.extract.encode.embedded import embedded_slowfast, embedded_vit
from finevq.extract.encode.encoder import Encoder
from finevq.extract.encode.motion import MotionEncoder
from finevq.extract.encode.spatial import SpatialEncoder
from finevq.extract.settings import ExtractSettings
from finevq.train.model.checkpoint import load_checkpoint
from finevq.train.prompts import rating

SIZE, MOTION_SIZE = 448, 224
SIZES = ((360, 640), (540, 960), (1080, 1920))
ROUNDS = 9

Resize = Callable[[np.ndarray, int], np.ndarray]
Features = Callable[[np.ndarray, Resize], torch.Tensor]


def by_pil(frame: np.ndarray, size: int = SIZE) -> np.ndarray:
    return np.array(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))


def by_torch(frame: np.ndarray, size: int, dtype: torch.dtype) -> np.ndarray:
    # Channels last, which is what PyTorch's fast uint8 path is written for.
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].to(dtype)
    small = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def by_torch_float(frame: np.ndarray, size: int = SIZE) -> np.ndarray:
    return by_torch(frame, size, torch.float32)


def by_torch_uint8(frame: np.ndarray, size: int = SIZE) -> np.ndarray:
    return by_torch(frame, size, torch.uint8)


def bilinear_by_pil(frame: np.ndarray, size: int = MOTION_SIZE) -> np.ndarray:
    return np.array(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def made_frames() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    frames = []
    for height, width in SIZES:
        y, x = np.mgrid[:height, :width]
        gradient = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1)
        edges = np.repeat((((x // 37) + (y // 23)) % 2 * 255)[..., None], 3, -1)
        strokes = np.repeat((255 * ((x * 7 + y * 3) % 29 > 3))[..., None], 3, -1)
        noise = rng.integers(0, 256, (height, width, 3))
        frames += [part.astype(np.uint8) for part in (gradient, edges, strokes, noise)]
    return frames


def video_frames(folder: Path) -> list[np.ndarray]:
    frames = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            frames.append(np.ascontiguousarray(next(iter(Reader(probe(path))))()))
        except (VideoError, StopIteration):
            print(f"left out, no video: {path.name}")
    return frames


def seconds(resize: Resize, frames: list[np.ndarray], size: int) -> float:
    start = time.perf_counter()
    for frame in frames:
        resize(frame, size)
    return time.perf_counter() - start


def compare(
    resize: Resize, pil: Resize, size: int, frames: list[np.ndarray], features: Features
) -> dict[str, object]:
    differences = [np.abs(resize(f, size).astype(int) - pil(f, size)) for f in frames]
    ratios = [seconds(pil, frames, size) / seconds(resize, frames, size) for _ in range(ROUNDS)]
    change = []
    for frame in frames:
        right, other = features(frame, pil), features(frame, resize)
        change.append(float(torch.linalg.norm(other - right) / torch.linalg.norm(right)))
    return {
        "equal_to_pil": all(not d.any() for d in differences),
        "max_level_difference": max(int(d.max()) for d in differences),
        "share_of_values_that_differ": float(np.mean([(d > 0).mean() for d in differences])),
        "times_as_fast_as_pil": {
            "median": float(np.median(ratios)),
            "min": min(ratios),
            "max": max(ratios),
        },
        "relative_change_of_features": {"mean": float(np.mean(change)), "max": max(change)},
    }


def score_changes(checkpoint: Path, folder: Path, count: int) -> dict[str, object]:
    """The largest change of a score in [0, 1], over videos and dimensions, for each resize."""
    model, packer, info = load_checkpoint(checkpoint)
    encoder = Encoder(ExtractSettings.model_validate(info.extract))
    predictor = Predictor(model, packer, encoder.device)
    prompts = [rating(dimension, profile=info.spec.profile) for dimension in DIMENSIONS]

    def scores(path: Path, **resizes: Resize) -> np.ndarray:
        right = {name: getattr(decoding, name) for name in resizes}
        vars(decoding).update(resizes)
        try:
            features = encoder.encode(decoding.decode(path, encoder.sampling))
        finally:
            vars(decoding).update(right)
        answers = predictor.answer(features.spatial, features.motion, prompts)
        return np.array([answer.score for answer in answers])

    others: dict[str, dict[str, Resize]] = {
        "frames_torch_uint8": {"_bicubic": by_torch_uint8},
        "frames_torch_float": {"_bicubic": by_torch_float},
    }
    if encoder.sampling.mode == "clips":
        others["motion_bilinear_pil"] = {"_bilinear": bilinear_by_pil}
    largest = dict.fromkeys(others, 0.0)
    rated, spread = 0, []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if rated == count:
            break
        try:
            right = scores(path)
        except VideoError:
            continue
        rated += 1
        spread.append(right)
        for name, resizes in others.items():
            change = float(np.abs(scores(path, **resizes) - right).max())
            largest[name] = max(largest[name], change)
    deviation = float(np.std(spread, axis=0).mean())
    return {
        "mode": encoder.sampling.mode,
        "videos": rated,
        "standard_deviation_of_scores": deviation,
        "largest_change": largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=Path, help="also the first frame of each video in here")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[])
    parser.add_argument("--count", type=int, default=16, help="of videos that are rated")
    given = parser.parse_args()
    folder = given.videos
    torch.set_num_threads(1)  # as PIL, and as a decoding process
    encoder = SpatialEncoder(embedded_vit())
    motion = MotionEncoder(embedded_slowfast(), "clips")

    def tokens(frame: np.ndarray, resize: Resize) -> torch.Tensor:
        return encoder(resize(frame, encoder.size)[None])

    def clip(frame: np.ndarray, resize: Resize) -> torch.Tensor:
        """A clip of 32 frames whose window moves over the picture."""
        moved = [resize(np.roll(frame, 3 * shift, axis=1), MOTION_SIZE) for shift in range(32)]
        return motion(np.stack(moved)[None])

    sources = {"made": made_frames()} | ({"videos": video_frames(folder)} if folder else {})
    result: dict[str, object] = {
        source: {
            "frames": len(frames),
            "torch_float": compare(by_torch_float, by_pil, SIZE, frames, tokens),
            "torch_uint8": compare(by_torch_uint8, by_pil, SIZE, frames, tokens),
            "motion_bilinear_torch_uint8": compare(
                _bilinear, bilinear_by_pil, MOTION_SIZE, frames[::4], clip
            ),
        }
        for source, frames in sources.items()
    }
    if folder:
        result["scores"] = [score_changes(each, folder, given.count) for each in given.checkpoint]
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("resize.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
