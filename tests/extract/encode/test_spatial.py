"""The image encoder: order of tokens, shapes and normalisation."""

import numpy as np
import pytest
import torch
from transformers import InternVLVisionConfig, InternVLVisionModel

from finevq.extract.encode.spatial import MEAN, STD, SpatialEncoder, pixel_shuffle

HIDDEN, SIZE, PATCH = 32, 56, 14


@pytest.fixture(scope="module")
def encoder() -> SpatialEncoder:
    torch.manual_seed(0)
    config = InternVLVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=[SIZE, SIZE],
        patch_size=[PATCH, PATCH],
    )
    return SpatialEncoder(InternVLVisionModel(config))


def frames(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def test_pixel_shuffle_joins_neighbours_row_by_row() -> None:
    # 4 x 4 patches numbered row by row, with two channels: the number and its negative.
    number = torch.arange(16.0)
    patches = torch.stack([number, -number], dim=1)[None]
    tokens = pixel_shuffle(patches)
    corners = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    expected = [[value for n in four for value in (n, -n)] for four in corners]
    assert tokens.tolist() == [expected]


def test_pixel_shuffle_keeps_frames_apart_and_all_values() -> None:
    patches = torch.arange(3 * 36 * 5.0).view(3, 36, 5)
    tokens = pixel_shuffle(patches)
    assert tokens.shape == (3, 9, 20)
    for frame, before in zip(tokens, patches, strict=True):
        assert sorted(frame.flatten().tolist()) == before.flatten().tolist()


@pytest.mark.parametrize("count", [1, 5])
def test_shape_is_frames_tokens_and_four_times_the_width(
    encoder: SpatialEncoder, count: int
) -> None:
    tokens = encoder(frames(count))
    assert encoder.size == SIZE
    assert encoder.token_shape == (4, 4 * HIDDEN)
    assert tokens.shape == (count, 4, 4 * HIDDEN)
    assert tokens.dtype == torch.float32


def test_tokens_are_those_of_the_last_block_without_the_class_token(
    encoder: SpatialEncoder,
) -> None:
    pictures = frames(2)
    pixels = (pictures / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        output = encoder.vit(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    expected = pixel_shuffle(output.last_hidden_state[:, 1:])
    torch.testing.assert_close(encoder(pictures), expected, rtol=1e-4, atol=1e-5)


def test_frame_alone_has_the_tokens_it_has_in_company(encoder: SpatialEncoder) -> None:
    pictures = frames(4)
    alone = torch.cat([encoder(pictures[index : index + 1]) for index in range(4)])
    torch.testing.assert_close(encoder(pictures), alone, rtol=1e-4, atol=1e-5)


def test_encoder_is_frozen(encoder: SpatialEncoder) -> None:
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert not any(module.training for module in encoder.vit.modules())
    assert encoder(frames(1)).is_inference()
