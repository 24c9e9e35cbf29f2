"""Time to a validation SRCC on the demo's data: from the cache, and what it takes on the fly.

    .venv/bin/finevq demo
    .venv/bin/python benchmarks/time_to_srcc.py [--target 0.95]

Trains as the demo does, on its features, and takes the time at which the mean validation SRCC
first reaches a share of the best of the run: alone, as in a second run, and with the extraction of
all videos of both parts.

On the fly the same steps give the same SRCC, so its time is computed from parts that are measured
in this run: as many passes as were made until then, each of which decodes and encodes a video,

- packed: once for all its questions, and then takes the same time to train;
- one by one: for each of its questions, which then trains alone, as the official code does.

Validation is left out of the two, which favours them.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from finevq.cache.store import FeatureStore
from finevq.config import Config, load_config
from finevq.dataset.splits import load_split
from finevq.dataset.videos import Dataset, Video, load_dataset
from finevq.extract.decode.video.video import DecodedVideo, decode
from finevq.extract.encode.encoder import Encoder
from finevq.train.fit.reading import Source, layout_of
from finevq.train.fit.training import train
from finevq.train.model.checkpoint import load_checkpoint
from finevq.train.model.packing import collate

MEASURED = 6
"""Videos that the parts are measured on."""


@dataclass(eq=False)  # handlers are kept in sets
class Epochs(logging.Handler):
    """Listens to the trainer, for the time at which each epoch has its SRCC."""

    reached: list[tuple[float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.began = time.perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep (epoch, SRCC, seconds) of a line on validation."""
        if "validation SRCC" in record.msg and isinstance(record.args, tuple):
            epoch, srcc = (float(str(value)) for value in record.args)
            self.reached.append((epoch, srcc, time.perf_counter() - self.began))


def cached(config: Config, dataset: Dataset, store: FeatureStore) -> Epochs:
    epochs = Epochs()
    logger = logging.getLogger("finevq.train.fit.trainer")
    logger.addHandler(epochs)
    logger.setLevel(logging.INFO)
    train(dataset, store, config.train, config.extract.model_dump())
    logger.removeHandler(epochs)
    return epochs


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def parts(
    config: Config, source: Source, store: FeatureStore, videos: list[Video]
) -> dict[str, float]:
    """Median seconds of a video's features, and of a training step with one and all questions."""
    encoder = Encoder(config.extract)
    model, packer, _ = load_checkpoint(config.train.out)
    trained = model.train()
    asked = {video.id: prompts for video, prompts in source.prompts()}
    layout = layout_of(store)

    def features(video: Video) -> None:
        decoded = decode(video.path, encoder.sampling)
        assert isinstance(decoded, DecodedVideo)
        encoder.encode(decoded)

    def step(video: Video, count: int) -> None:
        packed = [packer.pack(layout, asked[video.id][:count], learn=True)]
        batch = collate(packed, pad_id=packer.pad_id)
        spatial, motion = (torch.from_numpy(array)[None] for array in store.read(video.id))
        trained(spatial=spatial, motion=motion, **batch).loss.backward()
        trained.zero_grad()

    features(videos[0])  # warm up
    step(videos[0], 1)
    questions = statistics.mean(len(asked[video.id]) for video in source.videos)
    return {
        "questions_a_video": questions,
        "features_s": statistics.median(seconds(lambda v=v: features(v)) for v in videos),
        "one_question_s": statistics.median(seconds(lambda v=v: step(v, 1)) for v in videos),
        "all_questions_s": statistics.median(
            seconds(lambda v=v: step(v, len(asked[v.id]))) for v in videos
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=float, default=0.95)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, _ = load_config(None, [f"train.out={Path(folder) / 'checkpoint'}"])
        dataset = load_dataset(config.dataset)
        store = FeatureStore.open(config.cache.path)
        epochs = cached(config, dataset, store).reached
        source = Source.load(dataset, "train")
        part = parts(config, source, store, list(source.videos[:: len(source.videos) // MEASURED]))
    best = max(srcc for _, srcc, _ in epochs)
    epoch, srcc, took = next(each for each in epochs if each[1] >= given.target * best)
    split = load_split(dataset, config.dataset.split)
    extraction = part["features_s"] * (len(split["train"]) + len(split["val"]))
    # The score head's fit reads every video once before the first epoch.
    passes = len(source.videos) * (round(epoch) + (config.train.probe_epochs > 0))
    packed = passes * (part["features_s"] + part["all_questions_s"])
    alone = passes * part["questions_a_video"] * (part["features_s"] + part["one_question_s"])
    result = {
        "videos": {"train": len(split["train"]), "val": len(split["val"])},
        "epochs": [{"epoch": e, "srcc": round(s, 4), "seconds": round(t, 1)} for e, s, t in epochs],
        "target_srcc": round(given.target * best, 4),
        "reached": {"epoch": epoch, "srcc": round(srcc, 4)},
        "measured_parts": part,
        "seconds": {
            "cached": round(took, 1),
            "cached_with_extraction": round(took + extraction, 1),
            "on_the_fly_packed": round(packed, 1),
            "on_the_fly_one_by_one": round(alone, 1),
        },
        "ratio_one_by_one_over_cached": round(alone / took, 1),
        "ratio_one_by_one_over_cached_with_extraction": round(alone / (took + extraction), 1),
        "ratio_packed_over_cached": round(packed / took, 2),
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("time_to_srcc.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
