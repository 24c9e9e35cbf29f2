"""Small checkpoints in the published layouts, with weights drawn at random.

The names and shapes are those of the published files: InternVL2 with InternLM2, the official FineVQ
of stage two, and the tokenizers of both kinds.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer
from torch import Tensor

from finevq.dataset.questions import LEVELS
from finevq.dataset.videos import DIMENSIONS
from finevq.train.base.embedded import QUESTIONS, embedded_tokenizer
from finevq.train.prompts import INTERNVL2, rating

LAYERS, HIDDEN, HEADS, GROUPS, INNER = 2, 64, 4, 2, 96
WIDTH = HIDDEN // HEADS
SPATIAL, MOTION = 64, 32
"""Widths of `SHAPES` in tests/conftest.py."""

RANK = 3
SCORE = (256, 64, 16, 1)
"""Widths of the score head behind a hidden state of 64."""

ADDED = ("<|im_end|>", "<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>", "<quad>")

LLM: dict[str, Any] = {
    "model_type": "internlm2",
    "auto_map": {"AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM"},
    "attn_implementation": "flash_attention_2",
    "bias": False,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "max_position_embeddings": 2048,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": GROUPS,
    "rms_norm_eps": 1e-5,
    "rope_scaling": {"factor": 2.0, "type": "dynamic"},
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

LEVEL_TEXTS = [f"The quality of this video is {word}." for word in LEVELS] * 20
"""Often enough for each word to become one piece, as in the published vocabulary."""


def write_sentencepiece(path: Path) -> None:
    """A BPE model with the flags of InternLM2's; its last two pieces are unused ones."""
    texts = [rating(d, profile=p).text for d in DIMENSIONS for p in ("finevq", "official")]
    texts += [*QUESTIONS, INTERNVL2.system, *LEVEL_TEXTS]
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=520,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=0.99,
        user_defined_symbols=["[UNUSED_TOKEN_1]", "[UNUSED_TOKEN_2]"],
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def write_internlm2_tokenizer(folder: Path) -> int:
    """tokenizer.model and its JSON file; the first two added tokens replace unused pieces.

    Returns:
        The size of the vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_sentencepiece(folder / "tokenizer.model")
    ids = [3, 4, *range(520, 520 + len(ADDED) - 2)]
    added = {0: "<unk>", 1: "<s>", 2: "</s>", **dict(zip(ids, ADDED, strict=True))}
    write_json(
        folder / "tokenizer_config.json",
        {
            "added_tokens_decoder": {str(n): {"content": token} for n, token in added.items()},
            "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
            "tokenizer_class": "InternLM2Tokenizer",
        },
    )
    return ids[-1] + 1


def write_fast_tokenizer(folder: Path) -> int:
    """A tokenizer as transformers saves it, with the tokens of an InternVL."""
    tokenizer = embedded_tokenizer()
    tokenizer.save_pretrained(str(folder))
    return len(tokenizer)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content), "utf-8")


def internlm2_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Of the language model's tensors."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.tok_embeddings.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "output.weight": (vocabulary, HIDDEN),
    }
    for layer in range(LAYERS):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "attention.wqkv": ((HEADS + 2 * GROUPS) * WIDTH, HIDDEN),
                "attention.wo": (HIDDEN, HIDDEN),
                "feed_forward.w1": (INNER, HIDDEN),
                "feed_forward.w2": (HIDDEN, INNER),
                "feed_forward.w3": (INNER, HIDDEN),
                "attention_norm": (HIDDEN,),
                "ffn_norm": (HIDDEN,),
            }.items()
        }
    return shapes


def mlp_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Of a projector's tensors."""
    return {
        f"{name}.0.weight": (width,),
        f"{name}.0.bias": (width,),
        f"{name}.1.weight": (HIDDEN, width),
        f"{name}.1.bias": (HIDDEN,),
        f"{name}.3.weight": (HIDDEN, HIDDEN),
        f"{name}.3.bias": (HIDDEN,),
    }


def draw(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights in bfloat16: large enough to matter, small enough not to magnify rounding."""
    source = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=source)
        if len(shape) == 1:
            value = 0.1 * value + float(name.endswith(("norm.weight", "0.weight")))
        elif "embed" not in name:
            value *= 0.7 * shape[-1] ** -0.5
        drawn[name] = value.to(torch.bfloat16)
    return drawn


def write_internvl2(folder: Path, *, template: str = "internlm2-chat") -> dict[str, Tensor]:
    """A checkpoint of the original layout; returns its tensors."""
    vocabulary = write_internlm2_tokenizer(folder)
    write_json(
        folder / "config.json",
        {
            "model_type": "internvl_chat",
            "template": template,
            "llm_config": LLM | {"vocab_size": vocabulary},
        },
    )
    shapes = {f"language_model.{n}": s for n, s in internlm2_shapes(vocabulary).items()}
    tensors = draw(shapes | mlp_shapes("mlp1", SPATIAL))
    save_file(tensors, folder / "model.safetensors")
    return tensors


def write_finevq(folder: Path) -> dict[str, Tensor]:
    """An official checkpoint of stage two; returns its tensors by the names without PEFT's parts.

    The wrapped layers' own weights, everything else of the language model, and the adapter.
    """
    plain = write_internvl2(folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"use_llm_lora": RANK, "use_backbone_lora": RANK})
    lora: dict[str, tuple[int, ...]] = {}
    for name, tensor in plain.items():
        if ".attention.w" in name or ".feed_forward.w" in name:
            at = name.removesuffix(".weight")
            lora[f"{at}.lora_A.weight"] = (RANK, tensor.shape[1])
            lora[f"{at}.lora_B.weight"] = (tensor.shape[0], RANK)
    head: dict[str, tuple[int, ...]] = {"mlpscore.ln1.weight": (256,), "mlpscore.ln1.bias": (256,)}
    for number, (inputs, outputs) in enumerate(zip((HIDDEN, *SCORE), SCORE, strict=False), 1):
        head[f"mlpscore.fc{number}.weight"] = (outputs, inputs)
        head[f"mlpscore.fc{number}.bias"] = (outputs,)
    tensors = plain | draw(lora | head | mlp_shapes("motion_mlp", MOTION), seed=1)
    tensors[f"mlpscore.fc{len(SCORE)}.bias"].fill_(2)  # scores above the last ReLU's zero
    save_file({wrapped(name, lora): t for name, t in tensors.items()}, folder / "model.safetensors")
    return tensors


def wrapped(name: str, lora: Mapping[str, Any]) -> str:
    """The name of a tensor in a model that PEFT has wrapped."""
    if not name.startswith("language_model."):
        return name
    name = name.replace("language_model.", "language_model.base_model.model.")
    if ".lora_" in name:
        return name.replace(".weight", ".default.weight")
    adapted = name.replace(".base_model.model.", ".").replace(".weight", ".lora_A.weight") in lora
    return name.replace(".weight", ".base_layer.weight") if adapted else name
