"""Both backbones as one encoder: shapes, batches, memory and compilation."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from finevq.errors import ConfigError
from finevq.extract.decode.video import decode
from finevq.extract.encode.encoder import Encoder, encoder_on_cpu

from ._settings import settings

pytestmark = pytest.mark.usefixtures("copied_backbones")

OFFICIAL = ("spatial.frames=8", "motion.mode=frames8")


def test_frames8_sees_the_spatial_frames(video: Path) -> None:
    official = Encoder(settings(*OFFICIAL))
    decoded = decode(video, official.sampling)
    features = official.encode(decoded)
    assert features.motion.shape == official.shapes["motion"]
    changed = dataclasses.replace(decoded, clips=decoded.frames[None, ::-1].copy())
    assert not np.array_equal(official.encode(changed).motion, features.motion)


def test_attention_hardly_changes_the_features(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    eager = Encoder(settings("spatial.attention=eager"))
    assert eager.spatial.vit.config._attn_implementation == "eager"
    assert encoder.spatial.vit.config._attn_implementation == "sdpa"
    expected = encoder.encode(decoded).spatial
    np.testing.assert_allclose(eager.encode(decoded).spatial, expected, rtol=1e-3, atol=1e-3)


def test_features_have_the_announced_shapes_and_name_their_source(
    encoder: Encoder, video: Path
) -> None:
    decoded = dataclasses.replace(decode(video, encoder.sampling), concealed=3, missing=2)
    features = encoder.encode(decoded)
    assert features.spatial.shape == encoder.shapes["spatial"]
    assert features.motion.shape == encoder.shapes["motion"]
    for array in (features.spatial, features.motion):
        assert array.dtype == np.float32
        assert np.isfinite(array.astype(np.float16)).all()  # as a store of float16 keeps it
    assert features.source.sha256 == decoded.sha256
    assert (features.source.frames, features.source.decoder) == (40, decoded.decoder)
    assert (features.source.concealed, features.source.missing) == (3, 2)


def test_how_videos_are_decoded_is_as_set() -> None:
    changed = Encoder(settings("decode.damaged=score", "decode.decoder=decord")).sampling
    assert (changed.damaged, changed.decoder) == ("score", "decord")


def test_company_and_order_cannot_change_features(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    first = encoder.encode(decoded)
    encoder.encode(decode(video, Encoder(settings("spatial.frames=3")).sampling))
    again = encoder.encode(decoded)
    assert np.array_equal(first.spatial, again.spatial)
    assert np.array_equal(first.motion, again.motion)


def test_precision_changes_the_features_little(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    full = encoder.encode(decoded)
    half = Encoder(settings("precision=bfloat16")).encode(decoded)
    assert half.motion.dtype == half.spatial.dtype == np.float32
    assert 0 < np.abs(full.motion - half.motion).max() < 0.1 * np.abs(full.motion).max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_nearly_the_features_of_the_cpu(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    here = encoder.encode(decoded)
    there = Encoder(settings("device=cuda"))
    assert there.identity == encoder.identity
    features = there.encode(decoded)
    np.testing.assert_allclose(features.motion, here.motion, rtol=2e-2, atol=2e-2)


def test_company_does_not_change_features(encoder: Encoder, video: Path, encode, tmp_path) -> None:
    other = encode(tmp_path / "other.mp4", range(100, 130))
    decoded = [decode(path, encoder.sampling) for path in (video, other, video)]
    alone = [encoder.encode(each) for each in decoded]
    for made in (batched(encoder, 1, decoded), batched(encoder, 3, decoded)):
        assert [features.source for features in made] == [one.source for one in alone]
        for features, one in zip(made, alone, strict=True):
            for name in ("spatial", "motion"):
                here, expected = getattr(features, name), getattr(one, name)
                assert here.shape == expected.shape
                assert np.abs(here - expected).max() <= 1e-5 * np.abs(expected).max()
    one_by_one = batched(encoder, 1, decoded)
    assert all(
        np.array_equal(a.spatial, b.spatial) and np.array_equal(a.motion, b.motion)
        for a, b in zip(one_by_one, alone, strict=True)
    )


def batched(encoder: Encoder, size: int, videos: list[Any]) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "videos_per_batch", size)
        return encoder.encode_all(videos)


class SmallGpu(Encoder):
    """An encoder whose GPU memory holds `capacity` videos at once; a video is its own number."""

    def __init__(self, capacity: int, batch: int, *, compiled: bool = False) -> None:
        self.capacity, self.videos_per_batch = capacity, batch
        self.settings = settings(f"compile={'true' if compiled else 'false'}")
        self.tried: list[int] = []

    def _encode(self, videos: Any) -> Any:
        self.tried.append(self.videos_per_batch if self.settings.compile else len(videos))
        if self.tried[-1] > self.capacity:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return list(videos)


def test_full_gpu_memory_halves_the_batches_for_good() -> None:
    encoder = SmallGpu(capacity=2, batch=8)
    assert encoder.encode_all(range(9)) == list(range(9))
    assert encoder.tried == [8, 4, 2, 2, 2, 2, 1]
    assert encoder.encode_all(range(4)) == list(range(4))
    assert encoder.tried[-2:] == [2, 2]


def test_compiled_batches_are_halved_by_what_they_are_filled_up_to() -> None:
    encoder = SmallGpu(capacity=1, batch=4, compiled=True)
    assert encoder.encode_all(range(1)) == [0]
    assert encoder.tried == [4, 2, 1]


@pytest.mark.parametrize("compiled", [False, True])
def test_video_too_large_for_the_gpu_is_a_failure_alone(compiled: bool) -> None:
    results = SmallGpu(capacity=0, batch=2, compiled=compiled).encode_all(range(2))
    assert [result.reason for result in results] == ["needs more GPU memory than there is"] * 2


def test_a_cpu_takes_videos_one_by_one(encoder: Encoder) -> None:
    assert encoder.settings.videos_per_batch > 1
    assert encoder.videos_per_batch == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))),
    reason="torch.compile needs a C++ compiler, which is not here",
)
def test_compiled_backbones_give_nearly_the_same_features(encoder: Encoder, video: Path) -> None:
    compiled = Encoder(settings("compile=true"))
    assert compiled.identity == encoder.identity
    decoded = decode(video, encoder.sampling)
    expected, found = encoder.encode(decoded), compiled.encode(decoded)
    for name in ("spatial", "motion"):
        here, there = getattr(found, name), getattr(expected, name)
        assert 0 < np.abs(here - there).max() <= 1e-5 * np.abs(there).max()


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules whose `compile` was called, which does nothing here."""
    modules: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: modules.append(module))
    return modules


def test_batches_for_compiled_code_are_filled_up(
    compiling: list[nn.Module], encoder: Encoder, video: Path, encode, tmp_path: Path
) -> None:
    compiled = Encoder(settings("compile=true"))
    assert compiling == [compiled.spatial.vit, compiled.motion.trunk]
    sizes: list[int] = []
    for module in (compiled.spatial, compiled.motion):
        module.register_forward_pre_hook(lambda _, pixels: sizes.append(len(pixels[0])))
    other = encode(tmp_path / "other.mp4", range(100, 130))
    decoded = [decode(path, encoder.sampling) for path in (video, other, video)]
    made = batched(compiled, 2, decoded)
    assert sizes == [4, 2, 4, 2]  # two frames and one clip a video
    for features, one in zip(made, map(encoder.encode, decoded), strict=True):
        assert features.source == one.source
        np.testing.assert_allclose(features.spatial, one.spatial, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(features.motion, one.motion, rtol=1e-4, atol=1e-5)


def test_videos_kept_whole_are_encoded_by_a_slowfast_that_is_not_compiled(
    compiling: list[nn.Module],
) -> None:
    compiled = Encoder(settings("compile=true", "motion.mode=all"))
    assert compiling == [compiled.spatial.vit]


def test_compiler_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_later(module: nn.Module, **_: Any) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("No working C++ compiler found\nmore of it")

        module.register_forward_pre_hook(fail)

    monkeypatch.setattr(nn.Module, "compile", compile_later)
    with pytest.raises(ConfigError) as error:
        Encoder(settings("compile=true"))
    assert str(error.value) == (
        "extract.compile = true: torch.compile fails here (No working C++ compiler found); set it "
        "to false, or install the compiler that it needs"
    )


def test_identity_takes_no_compiler(compiling: list[nn.Module], encoder: Encoder) -> None:
    assert encoder_on_cpu(settings("compile=true")).identity == encoder.identity
    assert compiling == []
