"""The start of projectors that have no pretrained weights, from the features they will read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

FLOOR = 0.05
"""Share of the median deviation, added to each channel's: channels that hardly vary stay weak."""

SHRINKAGE = 0.05
"""Share of the mean variance, added to each component's: weak components stay weak."""

RIDGE = 0.1
"""Of the regression to the labels, as a share of a video's mean squared distance from the mean."""

LABELS = 4.0
"""How much stronger what predicts a label is than a component that need not mean anything."""

SEED = 20250411


@dataclass(frozen=True)
class _Standard:
    """The means of videos, whose channels are brought to a mean of 0 and a deviation of 1.

    Attributes:
        gain: (width,), 0 for a channel that does not vary.
        bias: (width,).
        videos: (videos, width), float64.
    """

    gain: Tensor
    bias: Tensor
    videos: Tensor

    @classmethod
    def of(cls, means: Tensor) -> "_Standard | None":
        """Standardise; None where nothing varies."""
        videos = means.double()
        mean, deviation = videos.mean(dim=0), videos.std(dim=0, correction=0)
        varies = deviation > 1e-4
        if not varies.any():
            return None
        gain = torch.where(varies, 1 / (deviation + FLOOR * deviation[varies].median()), 0.0)
        return cls(gain, -mean * gain, (videos - mean) * gain)


@torch.no_grad()
def initialise_projectors(
    projectors: Sequence[nn.Sequential], means: Sequence[Tensor], labels: Tensor, *, rms: float
) -> None:
    """Start projectors at what predicts the labels, and at the whitened principal components.

    A random projector spends its outputs on what varies most, such as brightness, and needs many
    passes to find what quality depends on. These start with linear directions of the mean token:

    - LayerNorm: its gain and bias standardise each channel by mean and deviation over videos.
    - First linear layer: for each label the direction that predicts it best, by ridge regression on
      all projectors' features together; then the leading principal components of the projector's
      own, divided by their deviations. Each comes with both signs, because GELU(x) - GELU(-x) = x
      carries it through the GELU unchanged.
    - Second linear layer: a random mixture of them into all outputs, the same in all projectors
      for the labels' directions, whose sum is the prediction.

    The result depends on features and labels alone. Channels that do not vary get no weight, and a
    label that is known of fewer than two different videos, or is constant, gets no direction. A
    projector whose features do not vary stays as it is.

    Args:
        projectors: LayerNorm(width), Linear(width, hidden), GELU, Linear(hidden, hidden); one
            `hidden` for all.
        means: for each projector, of each video of the training part the mean of its tokens behind
            a LayerNorm without gain, (videos, width).
        labels: (videos, labels), NaN where unknown.
        rms: what the root mean square of a video's mean visual token, over videos and outputs, is
            scaled to.
    """
    standards = [_Standard.of(each) for each in means]
    varied = [standard for standard in standards if standard is not None]
    slopes = _regression([standard.videos for standard in varied], labels.double())
    for projector, standard in zip(projectors, standards, strict=True):
        if standard is not None:
            _start(projector, standard, slopes.pop(0), rms)


def _regression(inputs: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """For each input, (videos, width), the directions (labels, width) whose sum predicts labels.

    The predictions of each label have a deviation of 1 over the videos.
    """
    if not inputs:
        return []
    joined = torch.cat(list(inputs), dim=1)
    directions = joined.new_zeros(labels.shape[1], joined.shape[1])
    for number, label in enumerate(labels.T):
        known = ~label.isnan()
        if known.sum() < 2 or label[known].std() < 1e-6:
            continue
        x = joined[known]
        gram = x @ x.T  # fewer videos than channels: the dual is the smaller problem
        gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-9)
        slope = torch.linalg.solve(gram, label[known] - label[known].mean()) @ x
        spread = (joined @ slope).std()
        if spread > 1e-9:  # else the labelled videos have the same features
            directions[number] = slope / spread
    return list(torch.split(directions, [each.shape[1] for each in inputs], dim=1))


def _start(projector: nn.Sequential, standard: _Standard, slopes: Tensor, rms: float) -> None:
    norm, first, _, second = projector
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden, videos = first.out_features, standard.videos
    slopes = slopes[slopes.any(dim=1)][: hidden // 2]
    _, singular, components = torch.linalg.svd(videos, full_matrices=False)
    count = min(hidden // 2 - len(slopes), len(videos) - 1, videos.shape[1])
    variance = singular[:count] ** 2 / len(videos)
    # SVD leaves the signs open; fix them so that every machine starts alike.
    components = components[:count]
    signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
    components = components * signs / (variance + SHRINKAGE * variance.mean()).sqrt()[:, None]
    directions = torch.cat([slopes, components])

    rng, count = np.random.default_rng(SEED), len(directions)
    mixture = torch.from_numpy(rng.standard_normal((count, hidden)).T)
    mixture[:, : len(slopes)] *= LABELS
    outputs = videos @ directions.T @ mixture.T
    mixture *= rms / outputs.square().mean().sqrt()
    norm.weight.copy_(standard.gain)
    norm.bias.copy_(standard.bias)
    for layer in (first, second):
        layer.weight.zero_()
        layer.bias.zero_()
    for sign, rows in ((1, slice(count)), (-1, slice(count, 2 * count))):
        first.weight[rows] = sign * directions.to(first.weight)
        second.weight[:, rows] = sign * mixture.to(second.weight)
