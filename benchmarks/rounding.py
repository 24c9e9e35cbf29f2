"""How much the cache's rounding of features changes the scores.

    .venv/bin/python benchmarks/rounding.py --checkpoint runs/demo/checkpoint VIDEO...

Encodes videos once, and rates them with the features as they are (float32) and as they are stored
(float16). Prints the largest and the mean change of a score on the scale [0, 1].
"""

import argparse
import json
from pathlib import Path

import numpy as np

from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.predict.predictor import Predictor
from finevq.extract.decode.video import decode
from finevq.extract.encode.encoder import Encoder
from finevq.extract.settings import ExtractSettings
from finevq.train.model.checkpoint import load_checkpoint
from finevq.train.prompts import rating


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/demo/checkpoint"))
    parser.add_argument("--name", default="rounding", help="of the file in benchmarks/results")
    parser.add_argument("videos", nargs="+")
    given = parser.parse_args()
    model, packer, info = load_checkpoint(given.checkpoint)
    encoder = Encoder(ExtractSettings.model_validate(info.extract))
    predictor = Predictor(model, packer, encoder.device)
    prompts = [rating(dimension, profile=info.spec.profile) for dimension in DIMENSIONS]
    changes, words = [], 0
    for video in given.videos:
        features = encoder.encode(decode(video, encoder.sampling))
        exact, rounded = (
            predictor.answer(features.spatial.astype(dtype), features.motion.astype(dtype), prompts)
            for dtype in ("float32", "float16")
        )
        pairs = list(zip(exact, rounded, strict=True))
        changes.append([abs(a.score - b.score) for a, b in pairs])
        words += sum(a.choice != b.choice for a, b in pairs)
    result = {
        "videos": len(given.videos),
        "score_change_max": float(np.max(changes)),
        "score_change_mean": float(np.mean(changes)),
        "other_words": words,
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath(f"{given.name}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
