"""The end-to-end stage: it starts as the cached one, and leaves features of its own."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.dataset.videos import Dataset
from finevq.errors import ConfigError, IdentityMismatch, VideoError
from finevq.extract.decode.video import decode
from finevq.extract.encode.encoder import Encoder
from finevq.extract.settings import ExtractSettings
from finevq.train.base.language_model import load_base
from finevq.train.fit.end_to_end import FrameReader, VisionEncoder, train_end_to_end
from finevq.train.fit.reading import Collator, Samples, Source
from finevq.train.fit.training import checkpoint_gradients, train
from finevq.train.model.checkpoint import CheckpointInfo, build_model, load_checkpoint
from finevq.train.model.finevq import FineVQ
from finevq.train.settings import LoraSettings

from ..conftest import MakeSettings

SMALL = ("extract.device=cpu", "extract.spatial.frames=2", "extract.motion.clips=1")
EXTRACTION = load_config(None, [*SMALL, "extract.motion.size=32"])[0].extract
LORA = LoraSettings(rank=2, alpha=4, dropout=0.0)


def write_video(path: Path, seed: int) -> None:
    """Twelve frames of H.264: a coarse random pattern, another for each seed."""
    draw = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(12):
            pattern = draw.integers(0, 256, (8, 8, 3), np.uint8)
            pixels = np.repeat(np.repeat(pattern, 8, axis=0), 8, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(EXTRACTION)


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    made = make_dataset({"train": 3, "val": 3})
    for seed, video in enumerate(made):
        write_video(video.path, seed)
    return made


@pytest.fixture
def store(dataset: Dataset, encoder: Encoder, tmp_path: Path) -> FeatureStore:
    cache = CacheSettings(
        path=str(tmp_path / "features"), stage="", rows_per_shard=8, dtype="float32"
    )
    made = FeatureStore.open_or_create(cache.path, encoder.identity, encoder.shapes, cache)
    made.plan(dataset.ids)
    made.write_shard(0, {v.id: encoder.encode(decode(v.path, encoder.sampling)) for v in dataset})
    return made


def model_with_vision(store: FeatureStore, info: CheckpointInfo) -> tuple[FineVQ, Samples]:
    """A model with an image encoder of its own, and nothing to read yet."""
    shapes = {name: tuple(shape) for name, shape in store.layout.shapes.items()}
    vision = VisionEncoder(Encoder(EXTRACTION).spatial, LORA)
    torch.manual_seed(0)
    model, packer = build_model(
        replace(info, shapes=shapes), load_base("embedded", "float32"), vision
    )
    return model.eval(), packer


def read(dataset: Dataset, store: FeatureStore, packer, encoder: Encoder, *, frames: bool):
    samples = Samples(store, [Source(dataset, list(dataset)[:2], {})], packer)
    if frames:
        samples = samples.with_frames(FrameReader(replace(encoder.sampling, mode="frames8")))
    batch = Collator(packer)([samples[0], samples[1]])
    del batch["samples"]
    return batch


def gradients(model: FineVQ, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch).loss.backward()
    return {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


def test_with_the_lora_at_zero_the_loss_is_the_cached_one(
    dataset, store, encoder, made_info
) -> None:
    model, packer = model_with_vision(store, made_info)
    cached = read(dataset, store, packer, encoder, frames=False)
    live = read(dataset, store, packer, encoder, frames=True)
    assert live["spatial"].dtype == torch.uint8
    torch.testing.assert_close(model.vision(live["spatial"]), cached["spatial"])
    expected, found = gradients(model, cached), gradients(model, live)
    with torch.no_grad():
        losses = [float(model(**batch).loss) for batch in (live, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    # Beside them the image encoder's second LoRA matrices learn from the first step on.
    new = found.keys() - expected.keys()
    assert all(name.startswith("vision.vit.") and ".lora_" in name for name in new)
    kinds = {name.split(".lora_")[0].split(".")[-1] for name in new}
    assert kinds == {"q_proj", "k_proj", "v_proj", "projection_layer", "fc1", "fc2"}
    # The embedded encoder has no queries and keys, and its second block no attention at all: what
    # is zero behind a LoRA leaves it without a gradient.
    learn = {
        n
        for n in new
        if "lora_B" in n and "q_proj" not in n and "k_proj" not in n
        if "layer.1.attention" not in n
    }
    assert all(found[name].norm() > 0 for name in learn)


def test_checkpointed_gradients_are_the_same(dataset, store, encoder, made_info) -> None:
    model, packer = model_with_vision(store, made_info)
    batch = read(dataset, store, packer, encoder, frames=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    expected = gradients(model, batch)
    checkpoint_gradients(model)
    calls = []
    hook = model.vision.vit.base_model.model.encoder.layer[0].mlp.register_forward_hook(
        lambda *given: calls.append(1)
    )
    with hook:
        found = gradients(model, batch)
    assert len(calls) == 2  # computed again for the backward pass
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


def test_run_leaves_an_adapter_whose_features_are_the_checkpoints(
    dataset, store, make_settings: MakeSettings
) -> None:
    settings = make_settings(videos_per_batch=1, gradient_checkpointing=True)
    info = train_end_to_end(dataset, store, settings, EXTRACTION)
    adapter = settings.out / "vision_adapter"
    trained = load_file(adapter / "adapter_model.safetensors")
    assert any(t.abs().max() > 0 for name, t in trained.items() if "lora_B" in name)
    # The old features are refused, by evaluation and by training with the new settings.
    with pytest.raises(IdentityMismatch, match=r"not those that .*spatial\.adapter"):
        info.check_features(store)
    extraction = ExtractSettings.model_validate(info.extract)
    assert Path(extraction.spatial.adapter) == adapter
    other = make_settings(out=settings.out.parent / "other")
    with pytest.raises(IdentityMismatch, match="were made without a LoRA"):
        train(dataset, store, other, extraction.model_dump())
    # The checkpoint's own are made by the settings that it holds.
    assert Encoder(extraction).identity.digest == info.identity.digest
    model, _, _ = load_checkpoint(settings.out)
    assert model.vision is None


def test_stage_goes_on_from_a_checkpoint_of_cached_features(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    cached = make_settings(out=tmp_path / "cached", epochs=1.0)
    train(dataset, store, cached, EXTRACTION.model_dump())
    settings = make_settings(start=str(cached.out), epochs=1.0, learning_rate=1e-9)
    train_end_to_end(dataset, store, settings, EXTRACTION)
    for name in ("projectors", "score_head", "adapter/adapter_model"):
        before, after = (
            load_file(out / f"{name}.safetensors") for out in (cached.out, settings.out)
        )
        for key, tensor in before.items():
            torch.testing.assert_close(after[key], tensor, rtol=0, atol=1e-6)


def test_features_of_other_weights_or_settings_are_refused(
    dataset, make_store, make_settings: MakeSettings
) -> None:
    with pytest.raises(IdentityMismatch, match="were made with other settings or weights: "):
        train_end_to_end(dataset, make_store(dataset.ids), make_settings(), EXTRACTION)


def test_stage_without_a_new_lora_is_refused(dataset, store, make_settings: MakeSettings) -> None:
    none = make_settings(vision_lora=LORA.model_copy(update={"rank": 0}))
    with pytest.raises(ConfigError, match="trains a new LoRA"):
        train_end_to_end(dataset, store, none, EXTRACTION)
    spatial = EXTRACTION.spatial.model_copy(update={"adapter": "old"})
    adapted = EXTRACTION.model_copy(update={"spatial": spatial})
    with pytest.raises(ConfigError, match="trains a new LoRA"):
        train_end_to_end(dataset, store, make_settings(), adapted)


def test_video_that_is_gone_is_named(dataset, store, make_settings: MakeSettings) -> None:
    next(iter(dataset)).path.write_bytes(b"no video any more")
    with pytest.raises(VideoError, match=r"^made/train0\.mp4: "):
        train_end_to_end(dataset, store, make_settings(epochs=1.0), EXTRACTION)
