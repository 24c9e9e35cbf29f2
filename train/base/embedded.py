"""The embedded small language model: a Llama-shaped LLM and a tokenizer made from the prompts.

Its weights were trained by recipes/small, and speak of video quality alone. They make stage two
run, and learn, without a download. Without the file of weights they are drawn: what that training
starts from, a mixing network whose heads look at fixed places.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ...dataset.questions import LEVELS
from ...dataset.study.wording import ATTRIBUTES, GOOD_QUALITY, SEVERITIES
from ...dataset.videos import DIMENSIONS
from ...weights import SMALL
from ..prompts import (
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    INTERNVL2,
    TURN_END,
    TURN_START,
    Chat,
    rating,
)

BEGIN, PAD = "<s>", "</s>"
SPECIAL = (BEGIN, PAD, TURN_START, TURN_END, IMAGE_START, IMAGE_END, IMAGE)

HIDDEN, LAYERS, HEADS, INNER = 256, 2, 8, 768
SEED = 20250411

WEIGHTS = SMALL / "language_model.safetensors"
"""The trained weights, float16."""

LOOKS_BEFORE, LOOKS_NEAR, LOOKS_AT_MOTION = (5,), (6,), (7,)
"""Heads by where they look before they are trained; the others look everywhere alike."""

ATTENTION_GAIN, MLP_GAIN = 3.0, 2.0
"""Scales of what attention and MLP write: a mean over many tokens is faint."""

FAINT = 0.3
"""Scale of what queries and keys make of their input: attention starts out nearly fixed."""

QUESTIONS = (
    "If there is no noise, artifact, blur in the video, please answer [No]. If there is color "
    "distortion, temporal distortion in the video, please answer [Yes].",
    "Which distortion dimension has the greatest impact on video quality, choose from the "
    "following options{A:[Video quality is good], B:[Color], C:[Noise], D:[Artifact], E:[Blur], "
    "F:[Temporal]}(Just answer the corresponding letter)",
    "Please select one distortion type from below options{A:[None], B:[low saturation], C:[high "
    "saturation], D:[low contrast ratio], E:[high contrast ratio], F:[over dark], G:[over bright], "
    "H:[color cast], other color distortion}Just answer the corresponding letter.",
    "gaussian noise, pulse noise, stripe noise, other noise, compression artifact, square "
    "artifact, ring artifact, moire pattern, gaussian blur, motion blur, resolution blur, lagging, "
    "flickering, shaking, other temporal distortion",
)
"""Wording of the questions in the official files, for the vocabulary; any other text works too."""


def embedded_chat() -> Chat:
    """The template of InternVL2."""
    return replace(INTERNVL2, begin=BEGIN)


def embedded_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE whose merges come from the prompts; it can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        show_progress=False,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=TURN_END,
        pad_token=PAD,
        additional_special_tokens=[t for t in SPECIAL if t not in (BEGIN, PAD, TURN_END)],
    )


def _texts() -> list[str]:
    ratings = [rating(dimension) for dimension in DIMENSIONS]
    chat = embedded_chat()
    texts = [chat.prefix(8, 1, 1), *QUESTIONS, "Yes No A B C D E F G H", f"[{GOOD_QUALITY}]"]
    texts += [f"[{kind}] {kind}" for kinds in ATTRIBUTES.values() for kind in kinds]
    texts += [f" is {word}." for word in SEVERITIES]
    texts += [chat.question(prompt) for prompt in ratings]
    texts += [prompt.reply(option) for prompt in ratings for option in LEVELS]
    return texts


def embedded_language_model(vocabulary: int) -> LlamaForCausalLM:
    """A Llama of two layers; the same weights on every machine.

    Args:
        vocabulary: the tokenizer's size.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=32768,
        attention_bias=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    if WEIGHTS.is_file():
        model.load_state_dict(load_file(WEIGHTS))
    else:
        # NumPy's stream is the same across versions and machines; torch's is not promised to be.
        rng = np.random.default_rng(SEED)
        model.load_state_dict(
            {n: _weight(n, tuple(w.shape), rng) for n, w in model.state_dict().items()}
        )
    model.eval()
    return model


def _weight(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    if name.endswith("bias"):
        if "q_proj" in name or "k_proj" in name:
            return torch.from_numpy(_near_heads(keys="k_proj" in name))
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    # Unit variance in, unit variance out, so that what is read reaches the last layer.
    scale = np.sqrt(3.0) if "embed" in name else np.sqrt(3.0 / shape[1])
    if "q_proj" in name or "k_proj" in name:
        scale *= FAINT
    if "o_proj" in name:
        scale *= ATTENTION_GAIN
    if "down_proj" in name:
        scale *= MLP_GAIN
    drawn = (2 * rng.random(shape, dtype=np.float32) - 1) * np.float32(scale)
    return torch.from_numpy(drawn)


def _near_heads(keys: bool) -> NDArray[np.float32]:
    """Biases of queries and keys that fix where the heads look.

    Rotated by the rotary embedding, they give a score of sum(cos(f * (distance - offset))) over a
    few frequencies f. High frequencies make a head look at the token before, where the prompts
    name the dimension; low ones at the last 50 tokens, its own question; those between, 24 tokens
    back from where a rating is chosen, at the motion tokens that end the prefix. Heads without
    a bias look everywhere alike, and so take the mean of the visual tokens.
    """
    size = HIDDEN // HEADS
    frequency = 10000.0 ** (-np.arange(size // 2) / (size // 2))
    bias = np.zeros((HEADS, size))
    looks: list[tuple[tuple[int, ...], list[int], float, int]] = [
        (LOOKS_BEFORE, [0, 1, 2], 24.0, 1),
        (LOOKS_NEAR, [3, 4], 8.0, 0),
        (LOOKS_AT_MOTION, [1, 2, 3], 16.0, 24),
    ]
    for heads, pairs, height, offset in looks:
        for pair in pairs:
            turn = 0.0 if keys else -frequency[pair] * offset
            strength = np.sqrt(height * np.sqrt(size) / len(pairs))
            for head in heads:
                bias[head, pair] = strength * np.cos(turn)
                bias[head, pair + size // 2] = strength * np.sin(turn)
    return bias.reshape(-1).astype(np.float32)
