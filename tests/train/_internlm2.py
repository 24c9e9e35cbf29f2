"""InternLM2 in plain torch, written from its description: the second implementation of the tests.

It works on the published tensors as they are: one fused matrix for q, k and v, and LoRA added to it
as W + 2 B A.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ._published import GROUPS, HEADS, LAYERS, WIDTH


def hidden_states(tensors: Mapping[str, Tensor], embedded: Tensor) -> Tensor:
    """The hidden states behind the last norm: (L, H) to (L, H), in the dtype of `embedded`."""

    def weight(name: str) -> Tensor:
        full = tensors[f"language_model.model.{name}.weight"].to(embedded.dtype)
        a = tensors.get(f"language_model.model.{name}.lora_A.weight")
        b = tensors.get(f"language_model.model.{name}.lora_B.weight")
        if a is None or b is None:
            return full
        return full + 2 * b.to(embedded.dtype) @ a.to(embedded.dtype)

    def norm(x: Tensor, name: str) -> Tensor:
        return weight(name) * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    x = embedded
    for layer in range(LAYERS):
        at = f"layers.{layer}"
        y = norm(x, f"{at}.attention_norm") @ weight(f"{at}.attention.wqkv").T
        x = x + attention(y) @ weight(f"{at}.attention.wo").T
        y = norm(x, f"{at}.ffn_norm")
        gate, up = (y @ weight(f"{at}.feed_forward.{w}").T for w in ("w1", "w3"))
        x = x + (gate * gate.sigmoid() * up) @ weight(f"{at}.feed_forward.w2").T
    return norm(x, "norm")


def attention(fused: Tensor) -> Tensor:
    """Causal attention, head by head: (L, rows of wqkv) to (L, heads * head width)."""
    length, queries = len(fused), HEADS // GROUPS
    blocks = fused.split(WIDTH, dim=-1)  # q q k v, q q k v
    outputs = []
    for group in range(GROUPS):
        *q, k, v = blocks[group * (queries + 2) : (group + 1) * (queries + 2)]
        for one in q:
            scores = rotated(one) @ rotated(k).T / WIDTH**0.5
            later = torch.ones(length, length, dtype=torch.bool).triu(1)
            outputs.append(scores.masked_fill(later, float("-inf")).softmax(-1) @ v)
    return torch.cat(outputs, dim=-1)


def rotated(x: Tensor) -> Tensor:
    """Rotary embedding: element i turns with element i + width / 2."""
    half = WIDTH // 2
    frequency = 1e6 ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(len(x), dtype=x.dtype)[:, None] * frequency
    first, second = x[:, :half], x[:, half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
