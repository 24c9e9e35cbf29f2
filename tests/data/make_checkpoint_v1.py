"""Make tests/data/checkpoint_v1 with the code of commit 1c936f8, in a checkout of it:

    PYTHONPATH=. python make_checkpoint_v1.py FOLDER

The modules that it imports are those of that commit; today's have other names.

base/                      a published FineVQ checkpoint, as small as one can be
trained/                   trained on base/, one of two frames
imported/                  base/ itself as a checkpoint of ours
expected.json              scores of both for the features that `features` makes
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from tests.conftest import IDENTITY, SHAPES, dataset_in, store_in
from tests.train import _published

from finevq.cache.identity import Identity
from finevq.dataset.videos import DIMENSIONS
from finevq.train.checkpoint import load_checkpoint
from finevq.train.fit import train
from finevq.train.official import import_checkpoint
from finevq.train.packing import Layout, collate
from finevq.train.prompts import rating
from finevq.train.settings import LoraSettings, TrainSettings

_published.LAYERS, _published.HIDDEN, _published.INNER = 1, 32, 48
_published.HEADS, _published.GROUPS, _published.WIDTH = 4, 2, 8
_published.LLM |= {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
}

SETTINGS = TrainSettings(
    base="base",
    start="",
    also=(),
    out=Path("trained"),
    device="cpu",
    precision="float32",
    frames=1,
    clips="all",
    end_to_end=False,
    epochs=8.0,
    probe_epochs=2,
    patience=0,
    save_every=0,
    videos_per_batch=3,
    accumulate=1,
    max_tokens=2048,
    gradient_checkpointing=False,
    shard=False,
    readers=0,
    learning_rate=5e-3,
    warmup=0.1,
    weight_decay=0.01,
    language_weight=1.0,
    score_weight=0.5,
    trackers=(),
    seed=0,
    lora=LoraSettings(rank=_published.RANK, alpha=2 * _published.RANK, dropout=0.05),
    vision_lora=LoraSettings(rank=2, alpha=4, dropout=0.05),
)


def features() -> list[torch.Tensor]:
    """One video's, (1, F, T, D) and (1, C, M): the same numbers on every machine."""
    return [
        torch.from_numpy(np.sin(np.arange(np.prod(shape)) * step).reshape(1, *shape)).float()
        for shape, step in zip(SHAPES.values(), (0.7, 1.3), strict=True)
    ]


def scores(folder: Path) -> dict[str, float]:
    model, packer, info = load_checkpoint(folder)
    spatial, motion = features()
    prompts = [rating(dimension, profile=info.profile) for dimension in DIMENSIONS]
    frames, tokens, _ = SHAPES["spatial"]
    packed = packer.pack(Layout(frames, tokens, SHAPES["motion"][0]), prompts, learn=False)
    batch = collate([packed], pad_id=packer.pad_id)
    with torch.no_grad():
        found = model(spatial=spatial, motion=motion, **batch).scores[0]
    return dict(zip(DIMENSIONS, found.tolist(), strict=True))


def main(folder: Path) -> None:
    folder.mkdir()
    os.chdir(folder)  # the base model is named by a relative path
    _published.write_finevq(Path("base"))
    with tempfile.TemporaryDirectory() as made:
        dataset = dataset_in(Path(made) / "dataset", {"train": 5, "val": 3})
        store = store_in(Path(made) / "features", dataset.ids)
        train(dataset, store, SETTINGS, {"device": "cpu"})
    shutil.rmtree("trained/trainer")
    for needless in ("run.json", "adapter/README.md"):
        Path("trained", needless).unlink()
    import_checkpoint(
        "base",
        Path("imported"),
        features=Identity(IDENTITY),
        shapes=SHAPES,
        dtype="float16",
        extract={"device": "cpu"},
        precision="float32",
    )
    expected = {name: scores(Path(name)) for name in ("trained", "imported")}
    Path("expected.json").write_text(json.dumps(expected, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
