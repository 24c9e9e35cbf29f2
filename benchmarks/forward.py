"""What a forward pass gains by batches, channels-last memory and torch.compile on this machine.

    .venv/bin/python benchmarks/forward.py [--rounds 7] [--threads 1]

On a GPU: InternViT-300M and SlowFast R50 at their real size, with random weights, in bfloat16.
Without one: the embedded backbones, in float32. Each backbone encodes 4 videos (8 frames and 2
clips each) in every way, in turn:

- one video after another, as a CPU does in extraction;
- all in one batch;
- one after another, with convolutions in channels-last order;
- one after another, compiled; the time to compile is given too.

Speeds are relative to the first way, as medians of the rounds; deviations of the features are
relative to the largest value.
"""

import argparse
import copy
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import InternVLVisionConfig, InternVLVisionModel

from finevq.extract.encode.embedded import embedded_slowfast, embedded_vit
from finevq.extract.encode.motion import MotionEncoder, build_slowfast
from finevq.extract.encode.spatial import SpatialEncoder

VIDEOS, FRAMES, CLIPS = 4, 8, 2


def backbones(device: torch.device) -> dict[str, tuple[nn.Module, np.ndarray]]:
    """Each encoder with the pixels of the videos, (VIDEOS, frames or clips, ...)."""
    real = device.type == "cuda"
    dtype = torch.bfloat16 if real else torch.float32
    vit = InternVLVisionModel(InternVLVisionConfig()) if real else embedded_vit()
    trunk = build_slowfast(50) if real else embedded_slowfast()
    spatial, motion = SpatialEncoder(vit.to(dtype)), MotionEncoder(trunk.to(dtype), "clips")
    random, side = np.random.default_rng(0), 224 if real else 112
    frames = random.integers(0, 256, (VIDEOS, FRAMES, spatial.size, spatial.size, 3), np.uint8)
    clips = random.integers(0, 256, (VIDEOS, CLIPS, 32, side, side, 3), np.uint8)
    return {"vit": (spatial.to(device), frames), "slowfast": (motion.to(device), clips)}


def backbone(encoder: nn.Module) -> nn.Module:
    module = encoder.trunk if isinstance(encoder, MotionEncoder) else encoder.vit
    assert isinstance(module, nn.Module)
    return module


def channels_last(encoder: nn.Module) -> nn.Module:
    volumes = isinstance(encoder, MotionEncoder)
    order = torch.channels_last_3d if volumes else torch.channels_last
    backbone(encoder).to(memory_format=order)  # type: ignore[call-overload]
    return encoder


def compiled(encoder: nn.Module) -> nn.Module:
    backbone(encoder).compile(dynamic=False)  # type: ignore[no-untyped-call]
    return encoder


def measure(encoder: nn.Module, pixels: np.ndarray, rounds: int) -> dict[str, object]:
    def one_by_one(module: nn.Module) -> Callable[[], Tensor]:
        return lambda: torch.cat([module(video).cpu() for video in pixels])

    ways = {
        "one by one": one_by_one(encoder),
        "batch": lambda: encoder(np.concatenate(pixels)).cpu(),
        "channels last": one_by_one(channels_last(copy.deepcopy(encoder))),
        "compiled": one_by_one(compiled(copy.deepcopy(encoder))),
    }
    outputs, first = {}, {}
    for name, way in ways.items():
        began = time.perf_counter()
        outputs[name] = way()
        first[name] = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - began)
    plain, largest = seconds["one by one"], outputs["one by one"].abs().max()
    return {
        "seconds_a_video": statistics.median(plain) / VIDEOS,
        "speed": {
            name: statistics.median(a / b for a, b in zip(plain, taken, strict=True))
            for name, taken in seconds.items()
        },
        "largest_deviation": {
            name: float((output - outputs["one by one"]).abs().max() / largest)
            for name, output in outputs.items()
        },
        "seconds_to_compile": first["compiled"] - statistics.median(seconds["compiled"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU; as a worker has")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": given.threads,
        **{name: measure(*pair, given.rounds) for name, pair in backbones(device).items()},
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("forward.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
