"""Answers in the model's own words, beside its choice among the options.

The prefix of a video is read once, and its keys and values are cached. Each step appends one token
to every question of the video, under the attention mask of training: a question sees the prefix and
itself, so that it is answered as if it were asked alone. transformers' `generate` would need a copy
of the prefix's cache for each question, 0.3 GB at 8B parameters; here the cache grows by the
questions' own tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ...train.model.finevq import FineVQ
from ...train.model.packing import PADDING, attention_mask


@torch.inference_mode()
def greedy(
    model: FineVQ, batch: Mapping[str, Tensor], *, stop: int, limit: int
) -> list[list[list[int]]]:
    """Continue each question with the most likely token, until its answer ends.

    Args:
        model: in evaluation mode.
        batch: arguments of its forward pass for B videos with up to Q questions, each of which ends
            where its answer starts.
        stop: the token that ends an answer.
        limit: most tokens of an answer; 1 or more.

    Returns:
        Token ids of each question of each video, up to `stop`, which is left out; none for a
        question that a video does not have.
    """
    decisions, segments = batch["decisions"], batch["segments"]
    videos = torch.arange(len(decisions), device=decisions.device)[:, None]
    last = decisions.clamp(min=0)
    question_segments = segments[videos, last].masked_fill(decisions < 0, PADDING)  # (B, Q)
    positions = batch["positions"][videos, last]
    decoder: Any = model.language_model.get_decoder()
    cache = DynamicCache()
    hidden = decoder(
        inputs_embeds=model.embed(batch["spatial"], batch["motion"], batch["input_ids"]),
        position_ids=batch["positions"],
        attention_mask=attention_mask(segments),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[videos, last]
    ended = decisions < 0
    tokens: list[Tensor] = []
    while True:
        logits = model.vocabulary(hidden)
        logits[..., model.image_id] = -torch.inf  # the place of a visual token is no word
        token = logits.argmax(-1)
        ended = ended | (token == stop)
        tokens.append(token.masked_fill(ended, stop))
        if ended.all() or len(tokens) == limit:
            break
        segments, positions = torch.cat([segments, question_segments], dim=1), positions + 1
        hidden = decoder(
            input_ids=token,
            position_ids=positions,
            attention_mask=attention_mask(segments, rows=question_segments.shape[1]),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    answers = torch.stack(tokens, dim=-1).tolist()
    return [[[id_ for id_ in answer if id_ != stop] for answer in video] for video in answers]
