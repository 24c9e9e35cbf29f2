"""How much the shared prefix saves: packed questions against one question at a time.

    .venv/bin/python benchmarks/shared_prefix.py

Counts the tokens of one video at the full size of the paper (8 x 256 + 8 visual tokens, 13
questions) with the embedded tokenizer, and times a training step of the embedded model both ways
at the demo's size, in one run, in turn. The losses of both ways are compared too.
"""

import json
import statistics
import time
from pathlib import Path

import torch

from finevq.dataset.demo import DISTORTIONS
from finevq.dataset.questions import Question, classify
from finevq.dataset.videos import DIMENSIONS
from finevq.train.base import load_base
from finevq.train.checkpoint import CheckpointInfo, build_model
from finevq.train.packing import Layout, Packer, collate
from finevq.train.prompts import Prompt, rating

ROUNDS = 7


def questions() -> list[Prompt]:
    texts = [
        f"If there is no {d} in the video, please answer [No]. If there is {d} in the video, "
        "please answer [Yes]."
        for d in DISTORTIONS
    ]
    texts += [
        "Please select one distortion type from below options{A:[low saturation], B:[None], "
        "C:[gaussian noise], D:[lagging]}Just answer the corresponding letter.",
        "Which distortion dimension has the greatest impact on video quality, choose from the "
        "following options{A:[Noise], B:[Video quality is good], C:[Color], D:[Blur]}"
        "(Just answer the corresponding letter)",
    ]
    asked = []
    for text in texts:
        kind, options = classify(text)
        question = Question(kind, text, options, options[0])
        asked.append(Prompt("question", kind, text, "", options, question.answer))
    return [rating(dimension, 0.5) for dimension in DIMENSIONS] + asked


def tokens(packer: Packer, layout: Layout) -> dict[str, float]:
    prompts = questions()
    packed = len(packer.pack(layout, prompts, learn=True).input_ids)
    single = sum(len(packer.pack(layout, [p], learn=True).input_ids) for p in prompts)
    return {"packed": packed, "one_by_one": single, "ratio": single / packed}


def main() -> None:
    torch.manual_seed(0)
    layout = Layout(frames=8, tokens=64, clips=2)
    base = load_base("embedded", "float32")
    info = CheckpointInfo(
        base="embedded",
        base_hash=base.hash,
        lora={"rank": 16, "alpha": 32, "dropout": 0.0},
        features={},
        shapes={"spatial": (8, 64, 4096), "motion": (2, 2304)},
        dtype="float16",
        mos_range=(0.0, 100.0),
        extract={},
        score_weight=1.0,
        run={},
    )
    model, packer = build_model(info, base)
    features = {"spatial": torch.randn(1, 8, 64, 4096), "motion": torch.randn(1, 2, 2304)}
    prompts = questions()
    together = collate([packer.pack(layout, prompts, learn=True)], pad_id=packer.pad_id)
    alone = [collate([packer.pack(layout, [p], learn=True)], pad_id=packer.pad_id) for p in prompts]

    def step(batches: list[dict[str, torch.Tensor]]) -> float:
        start = time.perf_counter()
        for batch in batches:
            model(**features, **batch).loss.backward()
        return time.perf_counter() - start

    ratios = []
    for _ in range(ROUNDS + 1):
        packed, single = step([together]), step(alone)
        ratios.append(single / packed)
    ratios = ratios[1:]  # the first round warms up

    with torch.no_grad():
        output = model(**features, **together)
        answers = [int((batch["labels"] != -100).sum()) for batch in alone]
        losses = [float(model(**features, **batch).language_loss) for batch in alone]
    expected = sum(n * loss for n, loss in zip(answers, losses, strict=True)) / sum(answers)
    result = {
        "tokens_full_size": tokens(packer, Layout(frames=8, tokens=256, clips=8)),
        "tokens_demo_size": tokens(packer, layout),
        "step_time_ratio_demo_size": {
            "median": statistics.median(ratios),
            "min": min(ratios),
            "max": max(ratios),
        },
        "language_loss_relative_difference": abs(float(output.language_loss) - expected) / expected,
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("shared_prefix.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
