"""The motion encoder: shapes, pathways, and no trace of the stand-in for torchvision."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from finevq.extract.motion import WIDTH, MotionEncoder, build_slowfast

SIZE = 32


@pytest.fixture(scope="module")
def encoder() -> MotionEncoder:
    torch.manual_seed(0)
    return MotionEncoder(build_slowfast(18))


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


# A fresh process: here pytorchvideo is imported already. Where torchvision is installed, a finder
# in front hides it.
WITHOUT_TORCHVISION = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
from finevq.extract.motion import build_slowfast
build_slowfast(18)
left = [name for name in sys.modules if name.split(".")[0] == "torchvision"]
sys.exit(f"left behind: {left}" if left else 0)
"""


def test_no_stand_in_for_torchvision_is_left_behind() -> None:
    command = [sys.executable, "-c", WITHOUT_TORCHVISION]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
