"""Both backbones as one encoder: what is part of its identity, and what is not."""

import copy
import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import LoraConfig, get_peft_model
from torch import nn

from finevq.config import load_config
from finevq.errors import CheckpointError, ConfigError
from finevq.extract import encoder as encoder_module
from finevq.extract.decode import decode
from finevq.extract.encoder import Encoder, identify, pick_device, weight_hash
from finevq.extract.settings import ExtractSettings

from ._published import in_whole, original_vit, write_checkpoint

SMALL = ("spatial.frames=2", "motion.clips=1", "motion.size=32", "device=cpu")


def settings(*changes: str) -> ExtractSettings:
    """Small settings of the embedded backbones, and changes to them."""
    changes = tuple(f"extract.{change}" for change in SMALL + changes)
    return load_config(None, changes)[0].extract


@pytest.fixture(scope="module", autouse=True)
def _backbones_made_once():
    """They do not depend on the settings, and making them is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        vits = {pieces: encoder_module.embedded_vit(pieces) for pieces in (True, False)}
        trunk = encoder_module.embedded_slowfast()
        # An encoder casts its backbones, so each gets its own.
        patch.setattr(
            encoder_module, "embedded_vit", lambda pieces=True: copy.deepcopy(vits[pieces])
        )
        patch.setattr(encoder_module, "embedded_slowfast", lambda: copy.deepcopy(trunk))
        yield


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(settings())


@pytest.mark.parametrize(
    "change",
    [
        "spatial.frames=3",
        "spatial.sampler=official",
        "motion.clips=2",
        "motion.size=64",
        "precision=bfloat16",
    ],
)
def test_setting_that_changes_features_changes_the_identity(encoder: Encoder, change: str) -> None:
    other = Encoder(settings(change)).identity
    assert other != encoder.identity
    key = change.split("=")[0]
    (line,) = encoder.identity.difference(other)
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "change",
    [
        "device=auto",
        "spatial.attention=eager",
        "decode.processes=3",
        "decode.timeout_s=5.0",
        "decode.videos_per_process=7",
        "cluster.workers=5",
        "cluster.threads=2",
        "cluster.scheduler=tcp://host:8786",
    ],
)
def test_setting_of_how_the_work_is_done_does_not(encoder: Encoder, change: str) -> None:
    assert Encoder(settings(change)).identity == encoder.identity


@pytest.mark.parametrize("part", ["spatial", "motion"])
def test_weights_are_part_of_the_identity(
    encoder: Encoder, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"spatial": "embedded_vit", "motion": "embedded_slowfast"}[part]
    changed = getattr(encoder_module, name)()
    with torch.no_grad():
        next(iter(changed.parameters())).view(-1)[0] += 1e-3
    monkeypatch.setattr(encoder_module, name, lambda *given: changed)
    (line,) = encoder.identity.difference(Encoder(settings()).identity)
    assert line.startswith(f"{part}.weights: ")


def test_adapter_is_part_of_the_identity_and_the_encoder_keeps_its_hash(
    encoder: Encoder, tmp_path: Path, video: Path
) -> None:
    config = LoraConfig(r=2, target_modules=["fc1"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 with transformers 5.23
        get_peft_model(encoder_module.embedded_vit(), config).save_pretrained(str(tmp_path))
    adapted = Encoder(settings(f"spatial.adapter={tmp_path}", "precision=bfloat16"))
    first, second = encoder.identity.difference(adapted.identity)
    assert first.startswith("precision: ")
    assert second.startswith("spatial.adapter: null in the store, ")
    decoded = decode(video, encoder.sampling)
    plain = Encoder(settings("precision=bfloat16")).encode(decoded)
    assert not np.array_equal(adapted.encode(decoded).spatial, plain.spatial)


OFFICIAL = ("spatial.frames=8", "motion.mode=frames8")


@pytest.mark.parametrize("mode", ["frames8", "all"])
def test_setting_that_a_mode_does_not_use_is_not_in_its_identity(mode: str) -> None:
    first = Encoder(settings("spatial.frames=8", f"motion.mode={mode}", "motion.clips=1"))
    second = Encoder(
        settings("spatial.frames=8", f"motion.mode={mode}", "motion.clips=5", "motion.size=64")
    )
    assert first.identity == second.identity
    assert first.shapes == second.shapes
    assert first.shapes["motion"] == (1, 2304)


def test_modes_have_identities_of_their_own() -> None:
    modes = ("clips", "frames8", "all")
    encoders = [Encoder(settings("spatial.frames=8", f"motion.mode={mode}")) for mode in modes]
    assert len({made.identity.digest for made in encoders}) == 3


def test_frames8_sees_the_spatial_frames(video: Path) -> None:
    official = Encoder(settings(*OFFICIAL))
    decoded = decode(video, official.sampling)
    features = official.encode(decoded)
    assert features.motion.shape == official.shapes["motion"]
    changed = dataclasses.replace(decoded, clips=decoded.frames[None, ::-1].copy())
    assert not np.array_equal(official.encode(changed).motion, features.motion)


@pytest.mark.parametrize("frames", [4, 9])
def test_frames8_needs_eight_frames(frames: int) -> None:
    message = (
        rf'extract\.motion\.mode = "frames8": needs extract\.spatial\.frames = 8, not {frames}'
    )
    with pytest.raises(ConfigError, match=message):
        Encoder(settings("motion.mode=frames8", f"spatial.frames={frames}"))


@pytest.mark.parametrize("mode", ["frames8", "all"])
def test_official_modes_need_frames_that_fill_the_pooling_window(mode: str, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()))
    changes = ("spatial.frames=8", f"motion.mode={mode}", f"spatial.model={model}")
    with pytest.raises(ConfigError, match=f'mode = "{mode}": needs frames of at least 224 pixels'):
        Encoder(settings(*changes))


def test_published_weights_make_an_encoder(video: Path, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, in_whole(original_vit()))
    made = Encoder(settings(f"spatial.model={model}"))
    assert made.shapes["spatial"] == (2, 4, 256)
    features = made.encode(decode(video, made.sampling))
    assert features.spatial.shape == made.shapes["spatial"]


@pytest.mark.parametrize(
    ("there", "precision", "message"),
    [
        (False, "bfloat16", "needs the package flash-attn and a GPU, which are not both here"),
        (True, "float32", r'needs extract\.precision = "bfloat16" or "float16"'),
    ],
)
def test_flash_attention_that_cannot_be_used_is_refused(
    there: bool, precision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "is_flash_attn_2_available", lambda: there)
    monkeypatch.setattr(encoder_module, "pick_device", lambda name, key: torch.device("cuda"))
    with pytest.raises(ConfigError, match=message):
        Encoder(settings("spatial.attention=flash_attention_2", f"precision={precision}"))


def test_attention_hardly_changes_the_features(encoder: Encoder, video: Path) -> None:
    decoded = decode(video, encoder.sampling)
    eager = Encoder(settings("spatial.attention=eager"))
    assert eager.spatial.vit.config._attn_implementation == "eager"
    assert encoder.spatial.vit.config._attn_implementation == "sdpa"
    expected = encoder.encode(decoded).spatial
    np.testing.assert_allclose(eager.encode(decoded).spatial, expected, rtol=1e-3, atol=1e-3)


def test_weight_hash_sees_names_shapes_types_and_buffers() -> None:
    def module(**tensors: Any) -> nn.Module:
        made = nn.Module()
        for name, tensor in tensors.items():
            made.register_buffer(name, tensor)
        return made

    one = torch.arange(4.0)
    modules = [
        module(a=one),
        module(b=one),
        module(a=one.view(2, 2)),
        module(a=one.bfloat16()),
        module(a=one + 1),
        module(a=one, b=one),
    ]
    assert len({weight_hash(m) for m in modules}) == len(modules)
    assert weight_hash(module(a=one, b=one + 1)) == weight_hash(module(b=one + 1, a=one))


def test_features_have_the_announced_shapes_and_name_their_source(
    encoder: Encoder, video: Path
) -> None:
    decoded = decode(video, encoder.sampling)
    features = encoder.encode(decoded)
    assert features.spatial.shape == encoder.shapes["spatial"]
    assert features.motion.shape == encoder.shapes["motion"]
    for array in (features.spatial, features.motion):
        assert array.dtype == np.float32
        assert np.isfinite(array.astype(np.float16)).all()  # as a store of float16 keeps it
    assert features.source.sha256 == decoded.sha256
    assert (features.source.frames, features.source.decoder) == (40, decoded.decoder)


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


@pytest.mark.parametrize("key", ["spatial", "motion"])
def test_model_that_is_not_there_is_refused(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hub(*args: object) -> None:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("finevq.weights.hf_hub_download", no_hub)
    with pytest.raises(CheckpointError, match="someone/big: no folder of that name"):
        Encoder(settings(f"{key}.model=someone/big"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'train\.device = "cuda": torch sees no GPU here'):
        pick_device("cuda", "train.device")
    assert pick_device("auto", "train.device") == torch.device("cpu")


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


class Crowded(Encoder):
    """Stands in for a GPU whose memory holds so many videos at once; a video is its own number."""

    def __init__(self, room: int, batch: int, *, compiled: bool = False) -> None:
        self.room, self.videos_per_batch = room, batch
        self.settings = settings(f"compile={'true' if compiled else 'false'}")
        self.tried: list[int] = []

    def _encode(self, videos: Any) -> Any:
        self.tried.append(self.videos_per_batch if self.settings.compile else len(videos))
        if self.tried[-1] > self.room:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return list(videos)


def test_full_gpu_memory_halves_the_batches_for_good() -> None:
    encoder = Crowded(room=2, batch=8)
    assert encoder.encode_all(range(9)) == list(range(9))
    assert encoder.tried == [8, 4, 2, 2, 2, 2, 1]
    assert encoder.encode_all(range(4)) == list(range(4))
    assert encoder.tried[-2:] == [2, 2]


def test_compiled_batches_are_halved_by_what_they_are_filled_up_to() -> None:
    encoder = Crowded(room=1, batch=4, compiled=True)
    assert encoder.encode_all(range(1)) == [0]
    assert encoder.tried == [4, 2, 1]


@pytest.mark.parametrize("compiled", [False, True])
def test_video_too_large_for_the_gpu_is_a_failure_alone(compiled: bool) -> None:
    results = Crowded(room=0, batch=2, compiled=compiled).encode_all(range(2))
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
    """What was to be compiled, and is not."""
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
    assert identify(settings("compile=true")).identity == encoder.identity
    assert compiling == []
