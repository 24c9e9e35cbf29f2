"""What a model writes in its own words, beside the choice that it is constrained to.

The prefix of a video is read once. All its questions go on from the keys and values that were
cached, a token of each in one step, by the mask of training: each sees the prefix and itself, so
that it is answered as it would be alone. transformers' `generate` would need a copy of the prefix's
cache for each question, 0.3 GB at 8B parameters; here the cache grows by the questions' own tokens.
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
    """Go on from the decision of each question with the most likely token, again and again.

    Args:
        model: in evaluation mode.
        batch: arguments of its forward pass for B videos with up to Q questions, each of which ends
            with its decision.
        stop: the token that ends an answer.
        limit: tokens of an answer, at most; 1 or more.

    Returns:
        Token ids of each question of each video, up to `stop`, which is left out; none for a
        question that a video does not have.
    """
    decisions, segments = batch["decisions"], batch["segments"]
    videos = torch.arange(len(decisions), device=decisions.device)[:, None]
    last = decisions.clamp(min=0)
    own = segments[videos, last].masked_fill(decisions < 0, PADDING)  # (B, Q)
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
    over = decisions < 0
    written: list[Tensor] = []
    while True:
        token = model.vocabulary(hidden).argmax(-1)
        over = over | (token == stop)
        written.append(token.masked_fill(over, stop))
        if over.all() or len(written) == limit:
            break
        segments, positions = torch.cat([segments, own], dim=1), positions + 1
        hidden = decoder(
            input_ids=token,
            position_ids=positions,
            attention_mask=attention_mask(segments, rows=own.shape[1]),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    ids = torch.stack(written, dim=-1).tolist()
    return [[[id_ for id_ in one if id_ != stop] for one in video] for video in ids]
