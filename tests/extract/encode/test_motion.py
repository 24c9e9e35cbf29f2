"""The motion encoder: shapes, pathways, and no trace of the stand-in for torchvision."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from finevq.extract.encode.motion import WIDTH, MotionEncoder, build_slowfast, window_mean

SIZE = 32


@pytest.fixture(scope="module")
def encoder() -> MotionEncoder:
    torch.manual_seed(0)
    return MotionEncoder(build_slowfast(18), "clips")


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, SIZE, SIZE, 3), np.uint8)


def test_a_clip_gives_the_channels_of_both_pathways(
    encoder: MotionEncoder, clips: np.ndarray
) -> None:
    motion = encoder(clips)
    assert WIDTH == 2304
    assert motion.shape == (2, WIDTH)
    assert motion.dtype == torch.float32


def test_official_depth_gives_the_same_width() -> None:
    with torch.device("meta"):
        trunk = build_slowfast(50)
        pathways = [torch.zeros(1, 3, frames, SIZE, SIZE) for frames in (8, 32)]
        for block in trunk.eval():
            pathways = block(pathways)
    assert [pathway.shape[1] for pathway in pathways] == [2048, 256]


def test_clip_alone_has_the_features_it_has_in_company(
    encoder: MotionEncoder, clips: np.ndarray
) -> None:
    alone = torch.cat([encoder(clips[:1]), encoder(clips[1:])])
    together = encoder(clips)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1], rtol=1e-2)


def test_slow_pathway_sees_every_fourth_frame(encoder: MotionEncoder, clips: np.ndarray) -> None:
    seen: list[list[torch.Size]] = []
    handle = encoder.trunk[0].register_forward_pre_hook(
        lambda module, args: seen.append([pathway.clone() for pathway in args[0]])
    )
    with handle:
        encoder(clips)
    slow, fast = seen[0]
    assert (slow.shape[2], fast.shape[2]) == (8, 32)
    assert torch.equal(slow, fast[:, :, ::4])


def test_forward_leaves_the_statistics_of_batch_norm_alone(
    encoder: MotionEncoder, clips: np.ndarray
) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert any("running_mean" in name for name in before)
    encoder(clips)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_encoder_is_frozen(encoder: MotionEncoder) -> None:
    assert not any(weight.requires_grad for weight in encoder.parameters())
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)]
    assert norms
    assert not any(norm.training for norm in norms)


# The official code's two ways. The reference repeats and pools as SlowFast's own head does.

LARGE = 224  # the smallest frames that leave the pooling window a place


def official_features(trunk: nn.Sequential, frames: np.ndarray, *, repeat: int) -> torch.Tensor:
    """Features of frames, (T, LARGE, LARGE, 3), by SlowFast's own AvgPool3d."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    video = torch.from_numpy((frames / 255 - mean) / std).float().permute(3, 0, 1, 2)[None]
    count = len(frames)
    slow = [int(index) for index in np.linspace(0, count - 1, count // 4, dtype=np.float32)]
    pathways = [video[:, :, slow], video[:, :, : 4 * (count // 4)]]
    with torch.no_grad():
        for block in trunk:
            pathways = block(pathways)
    pooled = [
        nn.AvgPool3d(window, stride=1)(pathway.repeat_interleave(repeat, dim=2)).mean((2, 3, 4))
        for pathway, window in zip(pathways, [(8, 7, 7), (32, 7, 7)], strict=True)
    ]
    return torch.cat(pooled, 1)


@pytest.mark.parametrize(("mode", "count", "size"), [("frames8", 8, 256), ("all", 38, LARGE)])
def test_official_modes_pool_as_the_official_code(
    encoder: MotionEncoder, mode: str, count: int, size: int
) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
    frames[: count // 3] //= 4  # so that it matters which frames are seen, and how much
    frames[:, : size // 2] //= 2
    motion = MotionEncoder(encoder.trunk, mode)(frames[None])
    expected = official_features(encoder.trunk, frames, repeat=4 if mode == "frames8" else 1)
    assert motion.shape == (1, WIDTH)
    assert torch.linalg.norm(motion - expected) < 2e-6 * torch.linalg.norm(expected)


@pytest.mark.parametrize("shape", [(8, 14, 14), (2, 9, 7), (13, 7, 8), (40, 20, 20)])
@pytest.mark.parametrize("window", [(8, 7, 7), (32, 7, 7)])
def test_mean_over_windows_is_the_mean_of_the_pooled(
    shape: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    features = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    cut = [min(size, length) for size, length in zip(window, shape, strict=True)]
    expected = nn.AvgPool3d(cut, stride=1)(features).mean((2, 3, 4))
    torch.testing.assert_close(window_mean(features, window), expected)


def test_mean_over_windows_is_weighted_to_the_centre() -> None:
    corner, centre = torch.zeros(2, 1, 1, 1, 14, 14)
    corner[..., 0, 0] = centre[..., 7, 7] = 1
    window = (8, 7, 7)
    torch.testing.assert_close(window_mean(centre, window), 49 * window_mean(corner, window))


@pytest.mark.parametrize("mode", ["clips", "frames8"])
def test_half_precision_gives_nearly_the_same(
    encoder: MotionEncoder, clips: np.ndarray, mode: str
) -> None:
    half = MotionEncoder(copy.deepcopy(encoder.trunk).bfloat16(), mode)(clips[:1])
    full = MotionEncoder(encoder.trunk, mode)(clips[:1])
    assert half.dtype == torch.float32
    assert 0 < torch.linalg.norm(half - full) < 0.05 * torch.linalg.norm(full)


# A fresh process: here pytorchvideo is imported already. Where torchvision is installed, a finder
# in front hides it.
WITHOUT_TORCHVISION = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
from finevq.extract.encode.motion import build_slowfast
build_slowfast(18)
left = [name for name in sys.modules if name.split(".")[0] == "torchvision"]
sys.exit(f"left behind: {left}" if left else 0)
"""


def test_no_stand_in_for_torchvision_is_left_behind() -> None:
    command = [sys.executable, "-c", WITHOUT_TORCHVISION]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
