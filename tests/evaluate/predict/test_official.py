"""Taking over a published FineVQ checkpoint: its features, its identity and its scores."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.config import load_config
from finevq.dataset.videos import DIMENSIONS
from finevq.errors import CheckpointError, IdentityMismatch
from finevq.evaluate.predict.official import import_checkpoint
from finevq.evaluate.score.scorer import Scorer
from finevq.extract.encode.embedded import embedded_slowfast
from finevq.extract.encode.encoder import Encoder
from finevq.extract.settings import ExtractSettings
from finevq.train.model.checkpoint import CheckpointInfo, read_info

from ...extract import _published as vision
from ...train import _published as language
from ..score.test_scorer import write_noise

SIZE = 224
"""The smallest that the official motion branches take."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole FineVQ checkpoint of stage two, with every part small."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision, "SIZE", SIZE)
        patch.setattr(language, "SPATIAL", 4 * vision.HIDDEN)
        patch.setattr(language, "MOTION", 2304)
        language.write_finevq(folder)
        vit = vision.original_vit()
    vit = {name: 0.2 * tensor for name, tensor in vit.items()}
    tensors = load_file(folder / "model.safetensors")
    tensors |= vision.as_peft_names(vit, vision.lora_of(vit))
    tensors |= {
        f"slowfast_model.feature_extraction.{name}": tensor
        for name, tensor in embedded_slowfast().state_dict().items()
    }
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    image = vision.CONFIG | {
        "force_image_size": SIZE,
        "vision_config": vision.VISION_CONFIG | {"image_size": SIZE},
    }
    language.write_json(folder / "config.json", image | config)
    return folder


def take_over(published: Path, out: Path, **changes: Any) -> CheckpointInfo:
    config = load_config(None, ["extract.device=cpu"])[0]
    given: dict[str, Any] = {
        "motion": "frames8",
        "extract": config.extract,
        "dtype": "float16",
        "precision": "float32",
    }
    return import_checkpoint(str(published), out, **given | changes)


@pytest.fixture(scope="module")
def ours(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ours") / "checkpoint"
    take_over(published, out)
    return out


def test_it_scores_a_video_in_six_dimensions(ours: Path, tmp_path: Path) -> None:
    card = Scorer(ours).score(write_noise(tmp_path / "a.mp4", 1))
    assert card.error is None
    assert list(card.ratings) == list(DIMENSIONS)


def test_its_settings_make_the_features_that_it_needs(ours: Path) -> None:
    settings = load_config(ours / "extract.toml", ["extract.device=cpu"])[0].extract
    assert Encoder(settings).identity == read_info(ours).identity


def test_the_vision_adapter_belongs_to_the_features(ours: Path) -> None:
    info = read_info(ours)
    settings = ExtractSettings.model_validate(info.extract)
    spatial = settings.spatial.model_copy(update={"adapter": ""})
    without = Encoder(settings.model_copy(update={"spatial": spatial}))
    (difference,) = without.identity.difference(info.identity)
    assert difference.startswith("spatial.adapter: null in the store")


@pytest.mark.parametrize("mode", ["frames8", "all"])
def test_the_motion_branch_belongs_to_the_features(
    published: Path, tmp_path: Path, mode: Any
) -> None:
    info = take_over(published, tmp_path / "out", motion=mode)
    assert info.features["motion"]["mode"] == mode


def test_a_store_of_other_features_is_refused(ours: Path, published: Path, tmp_path: Path) -> None:
    other = take_over(published, tmp_path / "other", motion="all")
    store = FeatureStore.open_or_create(
        str(tmp_path / "features"),
        other.identity,
        other.shapes,
        CacheSettings(path=str(tmp_path / "features"), stage="", rows_per_shard=4, dtype="float16"),
    )
    with pytest.raises(IdentityMismatch, match=r"motion\.mode: all in the store, frames8 asked"):
        read_info(ours).check_features(store)


def test_without_a_vision_lora_there_is_no_adapter(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    kept = {n: t for n, t in tensors.items() if not ("vision_model" in n and "lora_" in n)}
    save_file(kept, folder / "model.safetensors")
    info = take_over(folder, tmp_path / "out")
    assert info.features["spatial"]["adapter"] is None
    assert not (tmp_path / "out" / "vision_adapter").exists()


def test_a_folder_with_a_checkpoint_is_left_alone(ours: Path, published: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a checkpoint already"):
        take_over(published, ours)


def test_a_plain_base_model_is_named_as_such(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    plain = {n: t for n, t in tensors.items() if "lora_" not in n and "mlpscore" not in n}
    save_file(plain, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"has no score head .* name it as train\.base"):
        take_over(folder, tmp_path / "out")


def test_the_scores_follow_the_vision_adapter(ours: Path, tmp_path: Path) -> None:
    video = str(write_noise(tmp_path / "a.mp4", 1))
    before = Scorer(ours).score(video)
    info = read_info(ours)
    file = Path(info.extract["spatial"]["adapter"]) / "adapter_model.safetensors"
    kept = file.read_bytes()
    try:
        tensors = {n: torch.zeros_like(t) for n, t in load_file(file).items()}
        save_file(tensors, file)
        with pytest.raises(CheckpointError, match=r"spatial\.adapter"):
            Scorer(ours)
    finally:
        file.write_bytes(kept)
    assert Scorer(ours).score(video) == before
