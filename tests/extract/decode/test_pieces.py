"""Frames in pieces: what the embedded image encoder sees of a frame of any size."""

import dataclasses

import numpy as np
import pytest

from finevq.config import load_config
from finevq.extract.decode.pieces import ACROSS, BLOCK, PIECE, SHORTER, SIDE, pieces
from finevq.extract.encode.encoder import Encoder


def frame(height: int, width: int) -> np.ndarray:
    """A frame in which every pixel says where it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, x // 256 * 16 + y // 256], axis=-1).astype(np.uint8)


def whole(square: np.ndarray) -> np.ndarray:
    """The pieces of the frame as it is: (18, 28, 28, 3)."""
    grid = square.reshape(ACROSS, PIECE, ACROSS, PIECE, 3).swapaxes(1, 2)
    return grid[ACROSS // 2 :].reshape(-1, PIECE, PIECE, 3)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (27, 400), (360, 640), (641, 361), (64, 16000)])
def test_any_size_gives_a_square(size: tuple[int, int]) -> None:
    assert pieces(frame(*size), 3).shape == (SIDE, SIDE, 3)


def test_pieces_of_the_frame_as_it_is_are_cut_out_at_the_blocks_of_codecs() -> None:
    source = frame(360, 640)
    for piece in whole(pieces(source, 5)):
        x = int(piece[0, 0, 0]) + int(piece[0, 0, 2]) // 16 * 256
        y = int(piece[0, 0, 1]) + int(piece[0, 0, 2]) % 16 * 256
        assert (x % BLOCK, y % BLOCK) == (0, 0)
        np.testing.assert_array_equal(piece, source[y : y + PIECE, x : x + PIECE])


def test_pieces_reach_all_parts_of_the_frame_and_move_from_frame_to_frame() -> None:
    source = frame(360, 640)
    places = [
        {(int(p[0, 0, 0]) + int(p[0, 0, 2]) // 16 * 256, int(p[0, 0, 1])) for p in whole(square)}
        for square in (pieces(source, number) for number in range(8))
    ]
    assert all(len(found) == ACROSS * ACROSS // 2 for found in places)
    assert len(set.union(*places)) > 100
    columns = {x * ACROSS // 640 for x, _ in set.union(*places)}
    assert columns == set(range(ACROSS))


def test_the_shrunk_half_does_not_depend_on_the_size_of_the_frame() -> None:
    """One picture at two sizes: what is shrunk looks alike, what is not does not."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (SHORTER // 8, SHORTER // 4, 3), np.uint8)
    small, large = (coarse.repeat(n, axis=0).repeat(n, axis=1) for n in (8, 24))
    first, second = (pieces(picture, 2).astype(float) for picture in (small, large))
    half = SIDE // 2
    assert np.abs(first[:half] - second[:half]).mean() < 12
    assert np.abs(first[half:] - second[half:]).mean() > 24


def test_only_the_embedded_encoder_of_clips_sees_pieces() -> None:
    base = ["extract.device=cpu", "extract.motion.size=32"]
    settings = load_config(None, base)[0].extract
    encoder = Encoder(settings)
    assert encoder.sampling.pieces
    assert encoder.sampling.frame_size == SIDE
    motion = settings.motion.model_copy(update={"mode": "frames8"})
    official = Encoder(settings.model_copy(update={"motion": motion}))
    assert not official.sampling.pieces
    assert official.sampling == dataclasses.replace(
        encoder.sampling, mode="frames8", pieces=False, frame_size=224
    )
