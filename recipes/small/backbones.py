"""Step 3: train the second MLP of the InternViT and the fast pathway of the SlowFast.

    python backbones.py observe OUT --first 0 --last 800
    python backbones.py fit OUT

`observe` decodes clips as stage one does and keeps what the trained parts will read: OUT/observed.
`fit` trains both on the strengths of the distortions, which are known, so that what tells them
apart lies linearly in the mean of a video's tokens and in its motion vectors, and writes
finevq's extract/embedded.safetensors. It trains nothing of the language model.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import spearmanr
from torch import Tensor, nn

from distortions import TYPES
from finevq.extract import embedded
from finevq.extract.decode import Sampling, decode
from finevq.extract.motion import MotionEncoder
from finevq.extract.pieces import SIDE
from finevq.extract.spatial import SpatialEncoder
from labels import part_of

PATCHES = 24
"""Patches of each scale that are kept of a frame."""

WIDTH, WRITTEN = 384, 48
"""Hidden units of the trained MLP, and channels that it writes."""

SAMPLING = Sampling(8, SIDE, "middles", "clips", 2, 112, pieces=True)


def observe(out: Path, first: int, last: int) -> None:
    """Keep what the trained parts read of each clip, unless it is kept already."""
    (out / "observed").mkdir(exist_ok=True)
    spatial = SpatialEncoder(embedded.embedded_vit())
    motion = MotionEncoder(embedded.embedded_slowfast(), "clips")
    seen: dict[str, Tensor] = {}
    spatial.vit.encoder.layer[1].mlp.register_forward_hook(
        lambda module, inputs, output: seen.update(patches=inputs[0])
    )
    read = embedded.VitDesign().read()
    for number in range(first, last):
        truth, kept = out / "truth" / f"{number:05}.json", out / "observed" / f"{number:05}.npz"
        if kept.exists() or not truth.exists():
            continue
        video = decode(out / json.loads(truth.read_text("utf-8"))["video"], SAMPLING)
        spatial(video.frames)
        clips = torch.from_numpy(video.clips).permute(0, 4, 1, 2, 3).float() / 255
        with torch.inference_mode():
            fast = motion.trunk[0].multipathway_blocks[1]((clips - motion.mean) / motion.std)
        patches = seen["patches"][:, 1:, read].half().numpy()
        rng = np.random.default_rng(number)
        half = patches.shape[1] // 2
        chosen = [
            np.concatenate([rng.choice(half, PATCHES, replace=False) + start for start in (0, half)])
            for _ in patches
        ]
        arrays = {
            "patches": np.stack([p[c] for p, c in zip(patches, chosen, strict=True)]),
            "fast": fast.half().numpy(),
        }
        part = kept.with_suffix(".part.npz")
        np.savez(part, **arrays)
        os.replace(part, kept)


class Observed:
    """All that was observed, with targets; N clips."""

    def __init__(self, out: Path) -> None:
        """Read it.

        Attributes:
            patches: (N, frames * patches, channels), float16.
            fast: (N, 2, 8, 32, 28, 28), float16.
            targets: (N, T), float32: the strength of each dimension, then of each type.
            train: (N,), whether a clip's scene is trained on.
        """
        files = sorted((out / "observed").glob("?????.npz"))
        truths = [json.loads((out / "truth" / f"{f.stem}.json").read_text("utf-8")) for f in files]
        loaded = [np.load(file) for file in files]
        self.patches = torch.from_numpy(np.stack([z["patches"].reshape(-1, z["patches"].shape[-1])
                                                  for z in loaded]))  # fmt: skip
        self.fast = torch.from_numpy(np.stack([z["fast"] for z in loaded]))
        self.targets = torch.from_numpy(np.stack([_targets(truth) for truth in truths]))
        self.train = np.array([part_of(truth["group"]) == "train" for truth in truths])


def _targets(truth: dict[str, Any]) -> NDArray[np.float32]:
    strengths, types = truth["strengths"], truth["recipe"]["types"]
    single = [
        strengths[dimension] * (types[dimension] == kind)
        for dimension, kinds in TYPES.items()
        for kind in kinds
    ]
    return np.array([*strengths.values(), *single], np.float32)


def fit_mlp(data: Observed, epochs: int) -> dict[str, NDArray[Any]]:
    """Train the second MLP of the InternViT; its readout, which is linear, is thrown away."""
    torch.manual_seed(0)
    x = data.patches
    sample = x[data.train][:, ::7].float().flatten(0, 1)
    mean, scale = sample.mean(0), sample.std(0) + 1e-3
    first, second = nn.Linear(x.shape[-1], WIDTH), nn.Linear(WIDTH, WRITTEN)
    readout = nn.Linear(WRITTEN, data.targets.shape[1])
    layers = nn.ModuleList([first, second, readout])

    def pooled(rows: NDArray[Any] | Tensor) -> Tensor:
        inputs = ((x[rows].float() - mean) / scale).clamp(-12, 12)
        out: Tensor = second(nn.functional.gelu(first(inputs))).mean(1)
        return out

    weights = torch.ones(data.targets.shape[1])
    weights[:4], weights[4] = 4, 0  # single frames do not show temporal faults
    weights[-len(TYPES["temporal"]) :] = 0
    _fit(layers, lambda rows: readout(pooled(rows)), data, weights, epochs, "InternViT")
    with torch.no_grad():
        width = first.weight / scale
        # Written channels with a mean of 0 and a deviation of 2 over videos, whatever the readout.
        train = torch.from_numpy(np.flatnonzero(data.train))
        videos = torch.cat([pooled(rows) for rows in train.split(32)])
        gain = 2 / (videos.std(0) + 1e-6)
        return {
            "vit.fc1": width.numpy(),
            "vit.fc1_bias": (first.bias - width @ mean).numpy(),
            "vit.fc2": (second.weight * gain[:, None]).numpy(),
            "vit.fc2_bias": ((second.bias - videos.mean(0)) * gain).numpy(),
        }


def fit_fast(data: Observed, epochs: int) -> dict[str, NDArray[Any]]:
    """Train the stages of the fast pathway; its stem stays as it is designed."""
    torch.manual_seed(0)
    trunk = embedded.embedded_slowfast(designed=True).eval()
    stages = nn.ModuleList([trunk[stage].multipathway_blocks[1] for stage in range(1, 5)])
    with torch.no_grad():  # zero convolutions in a row would never learn
        for parameter in stages.parameters():
            if parameter.ndim == 5:
                fan = parameter[0].numel()
                parameter.add_(torch.randn_like(parameter) * (0.5 / fan**0.5))
    readout = nn.Linear(256, data.targets.shape[1])

    def pooled(rows: NDArray[Any] | Tensor) -> Tensor:
        batch = data.fast[rows].float()
        fast = batch.flatten(0, 1)
        for stage in stages:
            fast = stage(fast)
        out: Tensor = fast.mean((2, 3, 4)).view(len(batch), -1, 256).mean(1)
        return out

    weights = torch.full((data.targets.shape[1],), 0.2)
    weights[4], weights[-len(TYPES["temporal"]) :] = 6, 2
    layers = nn.ModuleList([stages, readout])
    _fit(layers, lambda rows: readout(pooled(rows)), data, weights, epochs, "SlowFast", rate=2e-3)
    return {
        f"slowfast.{name}": tensor.detach().numpy()
        for name, tensor in trunk.state_dict().items()
        if "multipathway_blocks.1." in name and not name.startswith("0.") and tensor.ndim > 0
    }


def _fit(
    layers: nn.Module,
    predict: Any,
    data: Observed,
    weights: Tensor,
    epochs: int,
    name: str,
    rate: float = 2e-3,
) -> None:
    """Minimise the weighted L1 loss, and print what is reached on scenes held out."""
    optimizer = torch.optim.AdamW(layers.parameters(), lr=rate, weight_decay=0.02)
    train, held = np.flatnonzero(data.train), np.flatnonzero(~data.train)
    steps = epochs * -(-len(train) // 16)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        total = 0.0
        for rows in np.array_split(rng.permutation(train), steps // epochs):
            error = nn.functional.smooth_l1_loss(
                predict(rows), data.targets[rows], reduction="none", beta=0.1
            )
            loss = (error * weights).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(layers.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        if epoch % 4 == 3 or epoch == epochs - 1:
            with torch.no_grad():
                found = torch.cat([predict(rows) for rows in np.array_split(held, 8)]).numpy()
            truth = data.targets[held].numpy()
            srcc = [spearmanr(found[:, d], truth[:, d]).statistic for d in range(len(TYPES))]
            line = ", ".join(f"{d} {s:.3f}" for d, s in zip(TYPES, srcc, strict=True))
            print(f"{name} {epoch + 1}: {total / len(train):.4f}; held out: {line}", flush=True)


def main() -> None:
    """Observe clips, or train on what was observed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["observe", "fit"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    if given.step == "observe":
        observe(given.out, given.first, given.last)
        return
    data = Observed(given.out)
    print(f"{len(data.train)} clips, {data.train.sum()} trained on")
    weights = fit_mlp(data, given.epochs) | fit_fast(data, given.epochs // 2)
    save_file({n: w.astype(np.float16) for n, w in weights.items()}, embedded.TRAINED)


if __name__ == "__main__":
    main()
