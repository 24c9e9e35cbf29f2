"""What the designed blocks of the embedded image encoder compute."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from finevq.extract.encode.embedded import VitDesign, embedded_vit
from finevq.extract.encode.spatial import SpatialEncoder

SHRUNK, WHOLE = slice(1, 73), slice(73, 145)
"""Patches of the shrunk frame, and of the frame as it is; the class token comes first."""


@pytest.fixture(scope="module")
def design() -> VitDesign:
    return VitDesign()


@pytest.fixture(scope="module")
def streams() -> dict[int, NDArray[np.float32]]:
    """What the MLP of each block reads of a picture that is noisier below: (145, 1024)."""
    encoder = SpatialEncoder(embedded_vit())
    seen: dict[int, NDArray[np.float32]] = {}
    for number, layer in enumerate(encoder.vit.encoder.layer):
        layer.mlp.register_forward_hook(
            lambda module, inputs, output, number=number: seen.update(
                {number: inputs[0][0].numpy()}
            )
        )
    rng = np.random.default_rng(0)
    height = np.linspace(1, 12, 168)[:, None, None]
    picture = 128 + height * rng.standard_normal((168, 168, 3))
    with torch.inference_mode():
        encoder(np.clip(picture, 0, 255).astype(np.uint8)[None])
    return seen


@pytest.mark.parametrize("patches", [SHRUNK, WHOLE])
def test_third_block_sees_the_mean_of_the_patches_of_one_scale(
    patches: slice, design: VitDesign, streams: dict[int, NDArray[np.float32]]
) -> None:
    mean = streams[2][patches][:, design.log].mean(0)
    for seen in streams[2][patches][:, design.frame_logs]:
        np.testing.assert_allclose(seen, mean, atol=0.05)


@pytest.mark.parametrize("patches", [SHRUNK, WHOLE])
def test_last_mlp_reads_how_far_the_logarithms_lie_from_their_mean(
    patches: slice, design: VitDesign, streams: dict[int, NDArray[np.float32]]
) -> None:
    logs = streams[3][patches][:, design.log]
    spread = np.abs(logs - logs.mean(0)).mean(0)
    seen = streams[3][patches][:, design.spread].mean(0)
    assert spread.max() > 4 * spread.min()  # bands differ, or the next line says little
    np.testing.assert_allclose(seen, spread, atol=0.06)
    assert np.corrcoef(seen, spread)[0, 1] > 0.99


def test_scales_differ(design: VitDesign, streams: dict[int, NDArray[np.float32]]) -> None:
    """Else the tests above would pass if every patch saw the mean over both scales."""
    means = [streams[2][half][:, design.log].mean(0) for half in (SHRUNK, WHOLE)]
    assert np.abs(means[0] - means[1]).max() > 0.2


def test_negatives_keep_the_mean_of_a_patch_at_zero(
    design: VitDesign, streams: dict[int, NDArray[np.float32]]
) -> None:
    last = streams[3][1:]  # without negatives its mean would be off by 0.3 and more
    for channels, negatives in (
        (design.log, design.less_logs),
        (design.frame_logs, design.less_frame),
        (design.band, design.less_bands),
    ):
        np.testing.assert_allclose(last[:, channels] + last[:, negatives], 0, atol=0.1)
