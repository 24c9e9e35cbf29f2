"""How much the shared prefix saves: packed questions against one question at a time.

    .venv/bin/python benchmarks/shared_prefix.py

Trains the embedded language model on one video with the paper's full visual prefix (8 x 256 + 8
tokens) and 14 questions, both ways in turn in one run, and compares losses and gradients. The
language model is small, so its step costs less a token than a large one's. What both ways share
(reading, projectors, optimizer) therefore weighs more here than at full size.
"""

import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from finevq.dataset.questions import Question, classify
from finevq.dataset.videos import DIMENSIONS, DISTORTION_DIMENSIONS
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import CheckpointInfo, build_model
from finevq.train.model.finevq import FineVQ, loss_counts
from finevq.train.model.packing import Layout, Packer, collate
from finevq.train.prompts import Prompt, rating

ROUNDS = 3
FULL = Layout(frames=8, tokens=256, clips=8)


def questions() -> list[Prompt]:
    """Six ratings, five yes-or-no and two "which" questions, and the overall level in words."""
    texts = [
        f"If there is no {d} in the video, please answer [No]. If there is {d} in the video, "
        "please answer [Yes]."
        for d in DISTORTION_DIMENSIONS
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
    scores = [rating(dimension, 0.5) for dimension in DIMENSIONS]
    return [*scores, *asked, replace(rating("overall", 0.5), target=None)]


def made_model(layout: Layout) -> tuple[FineVQ, Packer]:
    """The embedded language model with fresh projectors for features of a layout."""
    base = load_base("embedded", "float32")
    info = CheckpointInfo(
        base="embedded",
        base_hash=base.hash,
        lora={"rank": 16, "alpha": 32, "dropout": 0.0},
        features={},
        shapes={
            "spatial": (layout.frames, layout.tokens, 4096),
            "motion": (layout.clips, 2304),
        },
        dtype="float16",
        mos_range=(0.0, 100.0),
        extract={},
        score_weight=1.0,
        run={},
    )
    return build_model(info, base)


def batches(packer: Packer, layout: Layout) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """All questions in one sequence, and each in a sequence of its own."""
    prompts = questions()
    together = collate([packer.pack(layout, prompts, learn=True)], pad_id=packer.pad_id)
    alone = [collate([packer.pack(layout, [p], learn=True)], pad_id=packer.pad_id) for p in prompts]
    return together, alone


def gradients(model: FineVQ) -> dict[str, Tensor]:
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    return found


def main() -> None:
    torch.manual_seed(0)
    model, packer = made_model(FULL)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # zero at the start, when half of the gradients would be zero too
                weight.normal_(std=0.02)
    spatial, motion = torch.randn(1, 8, 256, 4096), torch.randn(1, 8, 2304)
    together, alone = batches(packer, FULL)
    counts = loss_counts(together["labels"], together["targets"])

    def step(parts: list[dict[str, Tensor]]) -> tuple[float, float]:
        start, loss = time.perf_counter(), 0.0
        for batch in parts:
            output = model(spatial=spatial, motion=motion, **batch, counts=counts)
            output.loss.backward()
            loss += output.loss.item()
        return time.perf_counter() - start, loss

    ratios, seconds = [], []
    for number in range(ROUNDS + 1):
        packed, packed_loss = step([together])
        packed_gradients = gradients(model)
        single, single_loss = step(alone)
        single_gradients = gradients(model)
        if number:  # the first round warms up
            ratios.append(single / packed)
            seconds.append(packed)
    difference = {
        name: float((packed_gradients[name] - g).norm() / g.norm().clamp(min=1e-6))
        for name, g in single_gradients.items()
    }
    count = len(alone)
    result = {
        "questions": count,
        "visual_tokens": FULL.frames * FULL.tokens + FULL.clips,
        "tokens": {
            "packed": together["input_ids"].numel(),
            "one_by_one": sum(batch["input_ids"].numel() for batch in alone),
        },
        "questions_per_s": {
            "packed": count / statistics.median(seconds),
            "ratio_to_one_by_one": {
                "median": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
            },
        },
        "relative_difference": {
            "loss": abs(packed_loss - single_loss) / single_loss,
            "largest_of_all_gradients": max(difference.values()),
        },
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("shared_prefix.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
