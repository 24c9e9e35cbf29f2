"""The FineVQ model on cached features: projectors, a language model with LoRA, a score head.

spatial (B, F, T, 4096) -- projector --+
motion  (B, C, 2304) ---- projector --+--> visual tokens --+
input_ids (B, L) -------- embedding ------------------------+--> LLM --> hidden (B, L, H)
|           |
language head: words   score head: [0, 1]
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from .packing import IGNORE, attention_mask
from .spec import DEFAULT, Spec, selected_indices


def projector(width: int, hidden: int) -> nn.Sequential:
    """Two linear layers behind a LayerNorm, into the LLM's width (paper, equations 3 and 4)."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)
    )


def score_head(hidden: int, final_relu: bool = False) -> nn.Sequential:
    """An MLP from a hidden state to a score, whose widths fall by 4 from layer to layer.

    For a hidden width of 4096 that is 4096-1024-256-64-16-1, as in the official model. A narrow
    model gets a first layer of 256 all the same: one head reads all six dimensions.

    Args:
        hidden: width of the hidden state.
        final_relu: put a ReLU behind the last layer too, as the official model does; it kills the
            gradient of every score below zero.
    """
    widths = [max(hidden // 4, 256)]
    while widths[-1] > 16:
        widths.append(widths[-1] // 4)
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([hidden, *widths]):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    last = nn.Linear(widths[-1], 1)
    nn.init.constant_(last.bias, 0.5)  # start in the middle of the scale
    layers += [last, nn.ReLU()] if final_relu else [last]
    return nn.Sequential(*layers)


@dataclass
class Output(ModelOutput):
    """The result of a forward pass over B videos with up to Q questions.

    Attributes:
        loss: the weighted sum of the two below (paper, equation 8); None without labels.
        scores: (B, Q), float32, the score head's value at each decision.
        decisions: (B, Q, H), the hidden states at the decisions, in the language model's dtype.
        language_loss: mean cross entropy of the answers' tokens (equation 6).
        score_loss: mean L1 of the scores that have a target (equation 7).
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    decisions: Tensor | None = None
    language_loss: Tensor | None = None
    score_loss: Tensor | None = None


class FineVQ(nn.Module):
    """Projectors and score head, which train, and a frozen language model, whose LoRA trains."""

    def __init__(
        self,
        language_model: PeftModel | PreTrainedModel,
        *,
        spatial_width: int,
        motion_width: int,
        image_id: int,
        spec: Spec = DEFAULT,
        language_weight: float = 1.0,
        score_weight: float = 1.0,
        vision: nn.Module | None = None,
    ) -> None:
        """Put a model together; projectors and score head are fresh.

        Args:
            language_model: with a LoRA, or frozen without one.
            spatial_width: width of a stored spatial token.
            motion_width: width of a stored motion vector.
            image_id: id of the token whose places the visual tokens take.
            spec: how videos are read.
            language_weight: weight of the language loss.
            score_weight: weight of the L1 loss.
            vision: in the end-to-end stage, the image encoder with its LoRA: from frames
                (B, F, height, width, 3), uint8, to spatial tokens (B, F, T, spatial width).
        """
        super().__init__()
        hidden = int(language_model.config.hidden_size)
        self.language_model = language_model
        self.spatial_projector = projector(spatial_width, hidden)
        self.motion_projector = projector(motion_width, hidden)
        self.score_head = score_head(hidden, spec.final_relu)
        self.vision = vision
        self.image_id = image_id
        self.spec = spec
        self.language_weight = language_weight
        self.score_weight = score_weight

    def forward(
        self,
        spatial: Tensor,
        motion: Tensor,
        input_ids: Tensor,
        positions: Tensor,
        segments: Tensor,
        decisions: Tensor,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> Output:
        """Answer all questions of a batch of videos.

        The arguments from `input_ids` on are those that `finevq.train.model.packing.collate` makes.

        Args:
            spatial: (B, F, T, spatial width) as stored, any float dtype; or, for a model with an
                image encoder, the frames, uint8.
            motion: (B, C, motion width) as stored.
            input_ids: (B, L).
            positions: (B, L).
            segments: (B, L).
            decisions: (B, Q).
            labels: (B, L); with them and `targets` the losses are computed.
            targets: (B, Q).
            counts: numbers of answers' tokens and of scores by which the losses are divided, see
                `loss_counts`; without them this batch's own, as of a batch that is a whole step.
        """
        hidden = self._hidden(spatial, motion, input_ids, positions, segments)
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        chosen = hidden[rows, decisions.clamp(min=0)]  # (B, Q, H)
        # Trainer's autocast would round to bfloat16, in which many videos have equal scores.
        with torch.autocast(chosen.device.type, enabled=False):
            scores = self.score_head(chosen.to(self._dtype)).squeeze(-1).float()
        if labels is None or targets is None:
            return Output(scores=scores, decisions=chosen)
        # The sum over none is 0 with a gradient of 0; the mean over none would be NaN.
        tokens, known = (loss_counts(labels, targets) if counts is None else counts).clamp(min=1)
        language = self._language_loss(hidden, labels) / tokens
        score = (scores - targets).where(~targets.isnan(), 0.0).abs().sum() / known
        return Output(
            loss=self.language_weight * language + self.score_weight * score,
            scores=scores,
            decisions=chosen,
            language_loss=language.detach(),
            score_loss=score.detach(),
        )

    @property
    def projectors(self) -> tuple[nn.Sequential, nn.Sequential]:
        """The spatial and the motion projector."""
        return self.spatial_projector, self.motion_projector

    def vocabulary(self, hidden: Tensor) -> Tensor:
        """Logits of the next token, float32: (..., H) to (..., vocabulary)."""
        logits: Tensor = self.language_model.get_output_embeddings()(hidden)
        return logits.float()

    def embed(self, spatial: Tensor, motion: Tensor, input_ids: Tensor) -> Tensor:
        """The language model's input, (B, L, H): words, and visual tokens in their places."""
        if self.spec.frames != "all":
            spatial = spatial[:, selected_indices(spatial.shape[1], self.spec.frames)]
        if self.spec.clips != "all":
            motion = motion[:, selected_indices(motion.shape[1], self.spec.clips)]
        if self.vision is not None and spatial.dtype == torch.uint8:
            spatial = self.vision(spatial)
        embedded: Tensor = self.language_model.get_input_embeddings()(input_ids)  # (B, L, H)
        frames = self.spatial_projector(spatial.to(self._dtype).flatten(1, 2))  # (B, F * T, H)
        clips = self.motion_projector(motion.to(self._dtype))  # (B, C, H)
        visual = torch.cat([frames, clips], dim=1).to(embedded.dtype)
        places = (input_ids == self.image_id)[..., None].expand_as(embedded)
        return embedded.masked_scatter(places, visual)

    @property
    def _dtype(self) -> torch.dtype:
        """Dtype of projectors and score head; the frozen language model's may be shorter."""
        return next(self.score_head.parameters()).dtype

    def _hidden(
        self,
        spatial: Tensor,
        motion: Tensor,
        input_ids: Tensor,
        positions: Tensor,
        segments: Tensor,
    ) -> Tensor:
        decoder: Any = self.language_model.get_decoder()
        output = decoder(
            inputs_embeds=self.embed(spatial, motion, input_ids),
            position_ids=positions,
            attention_mask=attention_mask(segments),
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _language_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Sum of the cross entropy over the answers' tokens."""
        if self.language_weight == 0:
            return hidden.new_zeros(())
        # Logits only where an answer is learned: the prefix is most of the sequence.
        next_label = labels[:, 1:]
        learned = next_label != IGNORE
        logits = self.vocabulary(hidden[:, :-1][learned])
        return F.cross_entropy(logits, next_label[learned], reduction="sum")


def loss_counts(labels: Tensor, targets: Tensor) -> Tensor:
    """The numbers of answers' tokens and of scores that a batch learns from: (2,), int64."""
    return torch.stack([(labels[:, 1:] != IGNORE).sum(), (~targets.isnan()).sum()])
