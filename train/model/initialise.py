"""The start of a projector that has no pretrained weights, from the features it will read."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 0.05
"""Share of the median deviation, added to each channel's: channels that hardly vary stay weak."""

SHRINKAGE = 0.05
"""Share of the mean variance, added to each component's: weak components stay weak."""

SEED = 20250411


@torch.no_grad()
def initialise_projector(projector: nn.Sequential, features: Tensor, *, rms: float) -> None:
    """Start a projector at the whitened principal components of the training videos.

    A random projector spends its outputs on what varies most, such as brightness, and needs many
    passes to find the rest. This one starts with all directions in which videos differ at the same
    strength:

    - LayerNorm: its gain and bias standardise each channel by mean and deviation over videos.
    - First linear layer: the leading components, divided by their deviations, each with both
      signs, because GELU(x) - GELU(-x) = x carries a component through the GELU unchanged.
    - Second linear layer: a random mixture of these components into all outputs.

    The result depends on the features alone. Channels that do not vary get no weight. Without two
    different videos there is no variation to fit to, and the projector stays as it is.

    Args:
        projector: LayerNorm(width), Linear(width, hidden), GELU, Linear(hidden, hidden).
        features: the training part's, (videos, tokens, width), any float dtype.
        rms: what the root mean square of a video's mean visual token, over videos and outputs, is
            scaled to.
    """
    norm, first, _, second = projector
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden, device = first.out_features, first.weight.device
    # One video at a time: the features of all are too large for a copy in float32.
    videos = torch.stack(
        [
            F.layer_norm(v.to(device).float(), v.shape[-1:], eps=norm.eps).mean(dim=0)
            for v in features
        ]
    ).double()  # (videos, width)
    mean, deviation = videos.mean(dim=0), videos.std(dim=0, correction=0)
    varies = deviation > 1e-4
    if not varies.any():
        return
    gain = torch.where(varies, 1 / (deviation + FLOOR * deviation[varies].median()), 0.0)
    _, singular, components = torch.linalg.svd((videos - mean) * gain, full_matrices=False)
    count = min(hidden // 2, len(videos) - 1, videos.shape[1])
    variance = singular[:count] ** 2 / len(videos)
    # SVD leaves the signs open; fix them so that every machine starts alike.
    components = components[:count]
    signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
    components = components * signs / (variance + SHRINKAGE * variance.mean()).sqrt()[:, None]

    rng = np.random.default_rng(SEED)
    mixture = torch.from_numpy(rng.standard_normal((hidden, count))).to(device)
    norm.weight.copy_(gain)
    norm.bias.copy_(-mean * gain)
    for layer in (first, second):
        layer.weight.zero_()
        layer.bias.zero_()
    first.weight[:count] = components.to(first.weight)
    first.weight[count : 2 * count] = -components.to(first.weight)
    second.weight[:, :count] = mixture.to(second.weight)
    second.weight[:, count : 2 * count] = -mixture.to(second.weight)
    tokens = torch.stack([projector(v.to(first.weight)).mean(dim=0) for v in features])
    second.weight.mul_(rms / tokens.float().square().mean().sqrt())
