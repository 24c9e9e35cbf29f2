"""InternLM2 as a Llama: the same network under other names, its q, k and v in one matrix.

wqkv, one row of blocks a group of query heads      q_proj     k_proj     v_proj
    [ q q q q k v ]  group 0, G queries          [ q q q q ]    [ k ]      [ v ]
    [ q q q q k v ]  group 1                      [ q q q q ]    [ k ]      [ v ]
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import LlamaConfig

FUSED = ("q_proj", "k_proj", "v_proj")

STORED_PARTS = {
    "model.embed_tokens.": "model.tok_embeddings.",
    "lm_head.": "output.",
    **{f".self_attn.{part}.": ".attention.wqkv." for part in FUSED},
    ".self_attn.o_proj.": ".attention.wo.",
    ".mlp.gate_proj.": ".feed_forward.w1.",
    ".mlp.up_proj.": ".feed_forward.w3.",
    ".mlp.down_proj.": ".feed_forward.w2.",
    ".input_layernorm.": ".attention_norm.",
    ".post_attention_layernorm.": ".ffn_norm.",
}
"""Parts of names in a Llama, and what InternLM2 has in their place; others are the same."""

SHARED_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
)


def stored_name(name: str) -> str:
    """InternLM2's name of a Llama's tensor; q, k and v of one layer share theirs."""
    for llama, internlm2 in STORED_PARTS.items():
        if llama in name:
            return name.replace(llama, internlm2)
    return name


def split_fused(fused: Tensor, config: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of q, k and v of a fused matrix, or of LoRA's B on one.

    Args:
        fused: (groups * (G + 2) * head width, ...).
        config: of the language model; its numbers of heads are used.
    """
    groups = config.num_key_value_heads
    queries = config.num_attention_heads // groups
    rows = fused.reshape(groups, queries + 2, -1, *fused.shape[1:])
    q, k, v = rows[:, :queries], rows[:, queries], rows[:, queries + 1]
    return q.flatten(0, 2), k.flatten(0, 1), v.flatten(0, 1)


def llama_config(config: Mapping[str, Any]) -> LlamaConfig:
    """The configuration of the same network as a Llama.

    The rotary embedding's dynamic scaling changes nothing up to `max_position_embeddings` tokens,
    and the packing refuses longer sequences: it is left out.

    Raises:
        KeyError: a setting is missing.
    """
    bias = config.get("bias", False)
    return LlamaConfig(
        **{key: config[key] for key in SHARED_SETTINGS},
        attention_bias=bias,
        rope_parameters={"rope_type": "default", "rope_theta": float(config["rope_theta"])},
        bos_token_id=None,
        eos_token_id=None,
    )
