"""How long a training run takes at full size: one layer is measured, the rest computed from it.

    .venv/bin/python benchmarks/full_size.py

A decoder layer of InternLM2-7B's size (4096 wide, 14336 inside, 32 heads, 8 of keys) with a LoRA of
rank 16 is trained on the packed sequence of a video with 14 questions, forward and backward, in
float32. Its operations are counted as for the MFU that training reports. Their rate is compared
with that of a plain matrix product of the same size, timed in turn: the share of this machine's own
peak.

The count gives an *estimate*, not a measurement: the hours of 10 epochs over FineVD's 4,069
training videos on one H200 (989e12 bfloat16 operations a second by its data sheet), if it reaches
45 % of that, and if it reaches the share measured here; and the same with one question a sequence.
Reading, projectors and validation are left out.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import get_peft_model
from shared_prefix import FULL, batches, made_model
from transformers import LlamaConfig, LlamaForCausalLM

from finevq.train.fit.progress import PEAKS, flops_per_token
from finevq.train.model.packing import attention_mask
from finevq.train.model.trained_weights import lora_config
from finevq.train.settings import LoraSettings

ROUNDS = 3
LAYERS, WIDTH, INNER = 32, 4096, 14336
VIDEOS, EPOCHS, MARK = 4069, 10, 0.45


def one_layer() -> Any:
    """InternLM2-7B with one of its 32 layers, and few words, as these are not measured."""
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=1,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=64,
        max_position_embeddings=32768,
    )
    model = LlamaForCausalLM(config).requires_grad_(False)
    return get_peft_model(model, lora_config(LoraSettings(rank=16, alpha=32, dropout=0.05)))


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def hours(operations: float, share: float) -> float:
    return operations / (share * PEAKS["H200"]) / 3600


def main() -> None:
    torch.manual_seed(0)
    _, packer = made_model(FULL)
    together, alone = batches(packer, FULL)
    tokens = together["input_ids"].shape[1]
    model = one_layer()
    decoder = model.get_decoder()
    mask = attention_mask(together["segments"])
    embedded = torch.randn(1, tokens, WIDTH, requires_grad=True)  # projectors train below it

    def step() -> None:
        output = decoder(
            inputs_embeds=embedded,
            attention_mask=mask,
            position_ids=together["positions"],
            use_cache=False,
        )
        output.last_hidden_state.sum().backward()

    left, right = torch.randn(tokens, WIDTH), torch.randn(WIDTH, INNER)

    def product() -> None:
        left @ right

    def operations(length: int) -> float:
        """Operations of a training step of one layer on a sequence."""
        return length * flops_per_token(SimpleNamespace(language_model=model), length)

    step(), product()  # warm up
    shares = []
    for _ in range(ROUNDS):
        peak = statistics.median(2 * tokens * WIDTH * INNER / seconds(product) for _ in range(3))
        shares.append(operations(tokens) / seconds(step) / peak)
    share = statistics.median(shares)
    video = LAYERS * operations(tokens)
    singly = LAYERS * sum(operations(batch["input_ids"].shape[1]) for batch in alone)
    runs = {"packed": VIDEOS * EPOCHS * video, "one_question_a_sequence": VIDEOS * EPOCHS * singly}
    result = {
        "tokens": tokens,
        "operations_a_video": video,
        "share_of_the_products_speed": {
            "median": share,
            "min": min(shares),
            "max": max(shares),
        },
        "estimate_hours_on_one_h200": {
            name: {
                "at_45_percent": hours(operations, MARK),
                "at_the_measured_share": hours(operations, share),
            }
            for name, operations in runs.items()
        },
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("full_size.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
