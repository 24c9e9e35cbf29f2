"""Step 3: train the last MLP of the InternViT and the fast pathway of the SlowFast.

    python backbones.py stills PHOTOGRAPHS OUT --count 3000
    python backbones.py observe OUT
    python backbones.py fit OUT vit
    python backbones.py fit OUT slowfast

`stills` makes clips of six frames with mixed distortions, and keeps what the last MLP will read of
the last frame: many pictures for the price of one clip, which is enough for all distortions but
those in time. `observe` keeps what the last MLP and the fast pathway will read of the clips of step
1. `fit` trains each on the strengths of the distortions, which are known, so that what tells them
apart lies linearly in the mean of a video's tokens and in its motion vectors, and writes finevq's
small/backbones.safetensors. It trains nothing of the language model.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import FIRST, draw_recipes, draw_scene, group
from distortions import TYPES, decoded, grade, render
from labels import part_of
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scenes import View
from torch import Tensor, nn

from finevq.extract.decode.pieces import SIDE, pieces
from finevq.extract.decode.video import Sampling, decode
from finevq.extract.encode import embedded
from finevq.extract.encode.motion import MotionEncoder
from finevq.extract.encode.spatial import SpatialEncoder

WIDTH, WRITTEN = 256, 48
"""Hidden units of the trained MLP, and channels that it writes."""

SHARD = 50
"""Stills in one file."""

STILL_FRAMES = 6
"""Frames of a still's clip: its codec has seen some motion at the last one."""

CROP = 16
"""Side of the part of a clip's 28 x 28 places that a step of training sees."""

SAMPLING = Sampling(2, SIDE, "middles", "clips", 2, 112, pieces=True)


def stills(photographs: Path, out: Path, shard: int) -> None:
    """Make one file of stills, unless it is there."""
    kept = out / "stills" / f"{shard:05}.npz"
    if kept.exists():
        return
    torch.set_num_threads(1)
    names = sorted(path.name for path in photographs.glob("*.jpg"))
    spatial, seen = _spatial()
    read = embedded.VitDesign().read()
    patches, targets, groups = [], [], []
    for number in range(shard * SHARD, (shard + 1) * SHARD):
        rng = np.random.default_rng([3, number])
        small = number % 3 > 0  # two in three
        scene = replace(draw_scene(FIRST * small, rng, names), frames=STILL_FRAMES)
        recipes = draw_recipes(rng)
        recipe = recipes[int(rng.integers(len(recipes)))]
        recipe = replace(recipe, strengths=recipe.strengths | {"temporal": 0.0})
        color = grade(recipe.types["color"], recipe.strengths["color"], recipe.seed)
        file, _, strengths = render(View(scene, photographs, color), recipe)
        frame = pieces(decoded(file)[-1], int(rng.integers(8)))
        spatial(frame[None])
        patches.append(seen["patches"][0, 1:, read].half().numpy())
        targets.append(_targets({"strengths": strengths, "recipe": {"types": recipe.types}}))
        groups.append(group(scene.picture, scene.seed))
    _keep(kept, patches=np.stack(patches), targets=np.stack(targets), groups=np.array(groups))


@cache
def _spatial() -> tuple[SpatialEncoder, dict[str, Tensor]]:
    """The image encoder, and what its last MLP has read last."""
    spatial = SpatialEncoder(embedded.embedded_vit())
    seen: dict[str, Tensor] = {}
    spatial.vit.encoder.layer[-1].mlp.register_forward_hook(
        lambda module, inputs, output: seen.update(patches=inputs[0])
    )
    return spatial, seen


def observe(out: Path) -> None:
    """Keep what both read of each clip, unless it is kept already: two frames, and all motion."""
    encoder = MotionEncoder(embedded.embedded_slowfast(designed=True), "clips")
    spatial, seen = _spatial()
    read = embedded.VitDesign().read()
    for truth in sorted((out / "truth").glob("*.json")):
        kept = out / "motion" / f"{truth.stem}.npz"
        if kept.exists():
            continue
        known = json.loads(truth.read_text("utf-8"))
        video = decode(out / known["video"], SAMPLING)
        clips = torch.from_numpy(video.clips).permute(0, 4, 1, 2, 3).float() / 255
        with torch.inference_mode():
            fast = encoder.trunk[0].multipathway_blocks[1]((clips - encoder.mean) / encoder.std)
            spatial(video.frames)
        count, targets = len(video.frames), _targets(known)
        _keep(
            out / "stills" / f"clip_{truth.stem}.npz",
            patches=seen["patches"][:, 1:, read].half().numpy(),
            targets=np.stack([targets] * count),
            groups=np.array([known["group"]] * count),
        )
        _keep(kept, fast=fast.half().numpy(), targets=targets, groups=known["group"])


def _keep(file: Path, **arrays: Any) -> None:
    """Write arrays, whole or not at all."""
    file.parent.mkdir(exist_ok=True)
    part = file.with_suffix(".part")  # no *.npz, which are read, before it is whole
    with part.open("wb") as opened:
        np.savez(opened, **arrays)
    os.replace(part, file)


class Observed:
    """What was kept of stills or clips, with targets; N of them.

    Attributes:
        inputs: of stills (N, 144, channels), of clips (N, 2, 8, 32, 28, 28), float16.
        targets: (N, T), float32: the strength of each dimension, then of each type.
        train: (N,), whether its scene is trained on.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Read all files of a folder; `name` is the array that is trained on."""
        loaded = [np.load(file) for file in sorted(folder.glob("*.npz"))]
        one = loaded[0]["targets"].ndim == 1  # a file a clip, or of many stills
        join = np.stack if one else np.concatenate
        self.inputs = torch.from_numpy(join([z[name] for z in loaded]))
        self.targets = torch.from_numpy(join([z["targets"] for z in loaded]))
        groups = [str(group) for z in loaded for group in np.atleast_1d(z["groups"])]
        self.train = np.array([part_of(group) == "train" for group in groups])


def _targets(truth: dict[str, Any]) -> NDArray[np.float32]:
    strengths, types = truth["strengths"], truth["recipe"]["types"]
    single = [
        strengths[dimension] * (types[dimension] == kind)
        for dimension, kinds in TYPES.items()
        for kind in kinds
    ]
    return np.array([*strengths.values(), *single], np.float32)


def fit_mlp(data: Observed, epochs: int) -> dict[str, NDArray[Any]]:
    """Train the last MLP of the InternViT; its readout, which is linear, is thrown away."""
    torch.manual_seed(0)
    x = data.inputs
    sample = x[data.train][:, ::7].float().flatten(0, 1)
    mean, scale = sample.mean(0), sample.std(0) + 1e-3
    first, second = nn.Linear(x.shape[-1], WIDTH), nn.Linear(WIDTH, WRITTEN)
    readout = nn.Linear(WRITTEN, data.targets.shape[1])
    layers = nn.ModuleList([first, second, readout])

    def pooled(rows: NDArray[Any] | Tensor) -> Tensor:
        some = x[rows]
        if torch.is_grad_enabled():  # half of the patches: cheaper, and never the same
            some = some[:, torch.randperm(x.shape[1])[: x.shape[1] // 2]]
        inputs = (some.float() - mean) / scale
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
        batch = data.inputs[rows]
        if torch.is_grad_enabled():  # one of the two clips and a third of its area
            y, x = torch.randint(0, batch.shape[-1] - CROP + 1, (2,)).tolist()
            window = int(torch.randint(0, batch.shape[1], ()))
            batch = batch[:, window : window + 1, ..., y : y + CROP, x : x + CROP]
        fast = batch.flatten(0, 1).float()
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
            # Not the SRCC: most strengths are zero or nearly, and have no order.
            plcc = [np.corrcoef(found[:, d], truth[:, d])[0, 1] for d in range(len(TYPES))]
            line = ", ".join(f"{d} {r:.3f}" for d, r in zip(TYPES, plcc, strict=True))
            print(
                f"{name} {epoch + 1}: {total / len(train):.4f}; PLCC, held out: {line}", flush=True
            )


def main() -> None:
    """Make stills, observe clips, or train on both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    made = steps.add_parser("stills")
    made.add_argument("photographs", type=Path, help="a folder of *.jpg")
    made.add_argument("out", type=Path)
    made.add_argument("--count", type=int, default=3000)
    made.add_argument("--first", type=int, default=0, help="to make a part of them")
    made.add_argument("--processes", type=int, default=2)
    steps.add_parser("observe").add_argument("out", type=Path)
    fitted = steps.add_parser("fit")
    fitted.add_argument("out", type=Path)
    fitted.add_argument("part", choices=["vit", "slowfast"])
    fitted.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    if given.step == "stills":
        with ProcessPoolExecutor(given.processes) as pool:
            for shard in range(given.first // SHARD, given.count // SHARD):
                pool.submit(stills, given.photographs, given.out, shard)
    elif given.step == "observe":
        observe(given.out)
    else:
        folder, name = {"vit": ("stills", "patches"), "slowfast": ("motion", "fast")}[given.part]
        data = Observed(given.out / folder, name)
        print(f"{len(data.train)} of which {data.train.sum()} are trained on", flush=True)
        fit = fit_mlp if given.part == "vit" else fit_fast
        weights = {n: w.astype(np.float16) for n, w in fit(data, given.epochs).items()}
        others = load_file(embedded.TRAINED) if embedded.TRAINED.is_file() else {}
        save_file({n: w for n, w in others.items() if n not in weights} | weights, embedded.TRAINED)


if __name__ == "__main__":
    main()
