"""Base models: a frozen language model with its tokenizer, chat template and spatial projector."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...weights import Weights
from ..prompts import Chat
from ..settings import Precision
from .embedded import embedded_chat, embedded_language_model, embedded_tokenizer
from .published import PublishedLanguageModel
from .tensors import hash_weights, place_weight
from .tokenizer import Tokenizer

EMBEDDED = "embedded"
"""The name of the small base model that is made, not read."""


@dataclass(frozen=True)
class Base:
    """A base model in memory.

    Attributes:
        language_model: in evaluation mode, in the dtype asked for.
        tokenizer: of its vocabulary.
        chat: the template it was trained with.
        hash: of the language model's weights as they are stored, see
            `finevq.train.base.tensors.hash_weights`.
        projector: state of the published projector of spatial tokens, float32; None without one.
    """

    language_model: PreTrainedModel
    tokenizer: Tokenizer
    chat: Chat
    hash: str
    projector: dict[str, Tensor] | None


def load_base(name: str, precision: Precision) -> Base:
    """Load a base model into the CPU's memory.

    Args:
        name: "embedded", a folder, or the name of a repository on the Hugging Face hub.
        precision: dtype of the language model.

    Raises:
        CheckpointError: there is no such checkpoint, it is of an unknown architecture, or a tensor
            or file of it is missing, damaged or of another shape than config.json says.
    """
    dtype: torch.dtype = getattr(torch, precision)
    if name == EMBEDDED:
        return _embedded(dtype)
    published = PublishedLanguageModel(Weights(name))
    tokenizer = published.tokenizer()
    chat = published.chat(tokenizer)
    projector = published.projector()
    model, found = published.load(dtype)
    return Base(model, tokenizer, chat, found, projector)


def _embedded(dtype: torch.dtype) -> Base:
    tokenizer = embedded_tokenizer()
    model = embedded_language_model(len(tokenizer))
    stored = model.state_dict()
    for name, tensor in stored.items():
        place_weight(model, name, tensor.to(dtype))
    return Base(model, tokenizer, embedded_chat(), hash_weights(stored.items()), projector=None)
