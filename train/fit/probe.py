"""The start of the score head: fitted to the frozen model before anything else is trained.

Training a new head together with everything below it lets the head's first, wrong gradients spoil
what the layers below it already tell apart, most of all for unlike test data; fitting the head
first avoids it (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022). The hidden states that the head reads are computed once, so that
the fit takes as long as one pass over the features, and seconds.
"""

import torch
from torch import Tensor

from ..model.finevq import FineVQ
from .reading import Collator, Samples

BATCH = 96
"""Scores in a step: those of 16 videos."""

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.1


def fit_score_head(
    model: FineVQ, samples: Samples, collator: Collator, *, epochs: int, device: torch.device
) -> None:
    """Fit the score head to a model whose other weights stay as they are.

    Args:
        model: moved to `device`.
        samples: of the training part.
        collator: of its tokenizer.
        epochs: passes over the hidden states; with 0 the head stays as it is.
        device: to compute on.
    """
    if epochs == 0:
        return
    model.to(device).eval()
    hidden, targets = _hidden_states(model, samples, collator, device)
    head = model.score_head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = -(-len(targets) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * batches
    )
    for _ in range(epochs):
        order = torch.randperm(len(targets)).to(device)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            loss = (head(hidden[rows]).squeeze(-1) - targets[rows]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.train()


@torch.no_grad()
def _hidden_states(
    model: FineVQ, samples: Samples, collator: Collator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Hidden states (N, H) and targets (N,) of all labelled scores of all videos."""
    hidden, targets = [], []
    for index in range(len(samples)):
        batch = {k: v.to(device) for k, v in collator([samples[index]]).items()}
        target = batch.pop("targets")[0]
        del batch["labels"], batch["samples"]
        known = ~target.isnan()
        hidden.append(model(**batch).decisions[0][known].float())
        targets.append(target[known])
    return torch.cat(hidden), torch.cat(targets)
