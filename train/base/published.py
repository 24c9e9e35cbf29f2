"""The language models of published checkpoints, which come in three layouts.

    layout                   tensors                                  config.json
    InternVL2, 2.5, 3        language_model.*, mlp1.*                 llm_config, template
    FineVQ, stage two        the same, wrapped by PEFT                the same
    -hf                      (model.)language_model.*, lm_head.*,     text_config
                             (model.)multi_modal_projector.*

Names and shapes of all tensors are checked before the first is read. The model is made without
memory, and each tensor takes its place as it is read: the peak is the model and one tensor.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from ...errors import CheckpointError
from ...weights import Weights
from ..prompts import CHATS, Chat
from .internlm2 import llama_config, split_fused, stored_name
from .tensors import hash_weights, place_weight
from .tokenizer import Tokenizer, fast_tokenizer, internlm2_tokenizer

LOG = logging.getLogger(__name__)

NATIVE = ("llama", "qwen2", "qwen3")
"""Language models that transformers knows by the names of the published tensors."""

HEAD = "lm_head.weight"

PROJECTORS = (
    {"0": "mlp1.0", "1": "mlp1.1", "3": "mlp1.3"},
    *(
        {"0": f"{at}.layer_norm", "1": f"{at}.linear_1", "3": f"{at}.linear_2"}
        for at in ("multi_modal_projector", "model.multi_modal_projector")
    ),
)
"""Published names of the layers of the spatial projector, by ours."""


class PublishedLanguageModel:
    """The language model of a published checkpoint: checked when it is made, read by `load`."""

    def __init__(self, weights: Weights) -> None:
        """Determine the architecture, and check that every tensor is there.

        Attributes:
            weights: the checkpoint's.
            config: the language model's, as transformers has it.
            internlm2: whether it has the names and the fused attention of InternLM2.
            sources: transformers' names of the weights that each stored tensor holds: one name,
                or three (q, k and v) for a fused matrix. The keys are the stored names.

        Raises:
            CheckpointError: as `finevq.train.base.language_model.load_base`.
        """
        self.weights = weights
        self._original = "llm_config" in weights.config
        text = weights.config.get("llm_config" if self._original else "text_config")
        where = f"{weights.model}/config.json"
        if not isinstance(text, dict):
            raise CheckpointError(
                f"{where}: describes a {weights.config.get('model_type')!r} without a language "
                "model (llm_config or text_config); a base model must be an InternVL"
            )
        kind = text.get("model_type")
        self.internlm2 = self._original and kind == "internlm2"
        if not self.internlm2 and kind not in NATIVE:
            raise CheckpointError(
                f"{where}: its language model is of the type {kind!r}; this version reads "
                f"internlm2, {', '.join(NATIVE)}"
            )
        try:
            self.config = llama_config(text) if self.internlm2 else _native_config(text)
            self.config.tie_word_embeddings = self._tied()
            with init_empty_weights():
                self._model = AutoModelForCausalLM.from_config(
                    self.config, attn_implementation="sdpa"
                )
        except (KeyError, TypeError, ValueError, ArithmeticError, StrictDataclassError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{where}: not the settings of its {kind}: {reason}") from error
        self.sources = self._checked_sources()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the checkpoint's files."""
        return (internlm2_tokenizer if self.internlm2 else fast_tokenizer)(self.weights)

    def chat(self, tokenizer: Tokenizer) -> Chat:
        """The chat template; the native layouts are of models that share one."""
        template = str(self.weights.config.get("template")) if self._original else "internvl2_5"
        if template not in CHATS:
            raise CheckpointError(
                f"{self.weights.model}/config.json: template = {template!r}; this version knows "
                f"{', '.join(CHATS)}"
            )
        return replace(CHATS[template], begin=tokenizer.decode(tokenizer.encode("")))

    def projector(self) -> dict[str, Tensor] | None:
        """State of the spatial projector, if the checkpoint has one."""
        for stored in PROJECTORS:
            norm = f"{stored['0']}.weight"
            if norm in self.weights:
                width = self.weights.shape(norm)[0]
                return read_projector(self.weights, stored, width, self.config.hidden_size)
        return None

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Native name and value of each weight, in the dtype in which it is stored."""
        for stored, names in self.sources.items():
            tensor = self.weights.read(stored)
            parts = split_fused(tensor, self.config) if len(names) > 1 else (tensor,)
            yield from zip(names, parts, strict=True)

    def load(self, dtype: torch.dtype) -> tuple[PreTrainedModel, str]:
        """Read the weights into the model, and the hash of what is stored."""
        LOG.info("reading the language model of %s", self.weights.model)

        def placed() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in self.tensors():
                yield name, tensor
                place_weight(self._model, name, tensor.to(dtype))

        found = hash_weights(placed())
        self._model.tie_weights()
        return self._model.eval(), found

    def _tied(self) -> bool:
        """Whether the language head is the embedding: it may be so only where none is stored."""
        if self._stored(HEAD) in self.weights:
            return False
        # transformers leaves out a setting with its default, which is true for a native InternVL.
        whole = self.weights.config.get("tie_word_embeddings", not self._original)
        return bool(self.config.tie_word_embeddings or whole)

    def _stored(self, name: str) -> str:
        """The checkpoint's name of a tensor, by the name that transformers gives it."""
        if self.internlm2:
            return f"language_model.{stored_name(name)}"
        if "model.language_model.embed_tokens.weight" in self.weights:
            return name.replace("model.", "model.language_model.", 1)
        return f"language_model.{name}"

    def _checked_sources(self) -> dict[str, list[str]]:
        """`sources`, each found in the checkpoint and of the right shape."""
        sources: dict[str, dict[str, torch.Size]] = {}
        for name, weight in self._model.named_parameters():
            if not (name == HEAD and self.config.tie_word_embeddings):
                sources.setdefault(self._stored(name), {})[name] = weight.shape
        for stored, shapes in sources.items():
            rows = sum(shape[0] for shape in shapes.values())
            self.weights.check(stored, (rows, *next(iter(shapes.values()))[1:]))
        return {stored: list(shapes) for stored, shapes in sources.items()}


def _native_config(text: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration, without what could name code or another implementation."""
    settings = {k: v for k, v in text.items() if k not in ("auto_map", "attn_implementation")}
    config: PretrainedConfig = AutoConfig.for_model(**settings)
    return config


def read_projector(
    weights: Weights, layers: Mapping[str, str], width: int, hidden: int
) -> dict[str, Tensor]:
    """State of a projector (LayerNorm, Linear, GELU, Linear) from a published checkpoint, float32.

    Args:
        weights: the checkpoint's.
        layers: published names of the layers "0", "1" and "3".
        width: of the input.
        hidden: width of the output.

    Raises:
        CheckpointError: a tensor is missing or has another shape.
    """
    shapes = {
        "0.weight": (width,),
        "0.bias": (width,),
        "1.weight": (hidden, width),
        "1.bias": (hidden,),
        "3.weight": (hidden, hidden),
        "3.bias": (hidden,),
    }
    return read_state(weights, layers, shapes)


def read_state(
    weights: Weights, layers: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Tensors of layers as float32, by our names; all shapes are checked before one is read.

    Args:
        weights: the checkpoint's.
        layers: published name of each layer.
        shapes: of "layer.weight" and "layer.bias".

    Raises:
        CheckpointError: a tensor is missing or has another shape.
    """
    stored = {}
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        stored[name] = f"{layers[layer]}.{leaf}"
        weights.check(stored[name], shape)
    return {name: weights.read(stored[name]).float() for name in shapes}
