"""Weights of a language model: their hash, and how one is put into a model without memory."""

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def place_weight(model: PreTrainedModel, name: str, tensor: Tensor) -> None:
    """Give a model one of its weights, frozen.

    Buffers are no weights and stay float32, as the rotary embedding needs.
    """
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


def hash_weights(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over name, dtype, shape and every byte of a language model's weights.

    Names are transformers' and their order does not matter, so that a model has the same hash in
    every layout and number of files in which it is published.
    """
    lines = []
    for name, tensor in tensors:
        data = tensor.contiguous().flatten().view(torch.uint8).numpy()
        lines.append(f"{name} {tensor.dtype} {list(tensor.shape)} {_sha256(data)}")
    return _sha256("\n".join(sorted(lines)).encode())


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()
