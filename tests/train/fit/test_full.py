"""Training all weights of the language model (train.full)."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from finevq.dataset.videos import Dataset
from finevq.errors import CheckpointError, ConfigError
from finevq.train.base.language_model import load_base
from finevq.train.fit.training import train
from finevq.train.model.checkpoint import digest, load_checkpoint, read_info, write_info
from finevq.train.model.trained_weights import LANGUAGE_MODEL
from finevq.train.settings import LoraSettings

NO_LORA = LoraSettings(rank=0, alpha=1, dropout=0.0)
PARTS = {"train": 3, "val": 2, "test": 2}


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset(PARTS)


@pytest.fixture
def store(dataset, make_store):
    return make_store(dataset.ids)


@pytest.fixture
def settings(make_settings):
    return make_settings(
        full=True, lora=NO_LORA, epochs=2.0, probe_epochs=0, videos_per_batch=1
    )  # a single step has a learning rate of 0


def test_every_weight_of_the_language_model_learns_and_is_kept(dataset, store, settings) -> None:
    info = train(dataset, store, settings, {})
    assert info.full
    stored = load_file(settings.out / LANGUAGE_MODEL)
    before = load_base("embedded", "float32").language_model.state_dict()
    assert stored.keys() == before.keys()
    same = {name for name, tensor in stored.items() if torch.equal(tensor, before[name])}
    assert same == set()
    model, _, _ = load_checkpoint(settings.out)
    for name, tensor in model.language_model.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_digest_knows_the_language_model(dataset, store, settings) -> None:
    train(dataset, store, settings, {})
    before = digest(settings.out)
    file = settings.out / LANGUAGE_MODEL
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    assert digest(settings.out) != before


def test_missing_language_model_is_named(dataset, store, settings) -> None:
    train(dataset, store, settings, {})
    (settings.out / LANGUAGE_MODEL).unlink()
    with pytest.raises(CheckpointError, match=r"language_model\.safetensors: missing"):
        load_checkpoint(settings.out)


def test_run_goes_on_from_one_that_was_full_only_if_it_is_full(
    dataset, store, settings, make_settings, tmp_path
) -> None:
    train(dataset, store, settings, {})
    first = settings.model_copy(update={"out": tmp_path / "on", "start": str(settings.out)})
    assert train(dataset, store, first, {}).full
    lora = make_settings(out=tmp_path / "lora", start=str(settings.out), epochs=1.0)
    with pytest.raises(CheckpointError, match=r"trained with train\.full = true"):
        train(dataset, store, lora, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": LoraSettings(rank=4, alpha=8, dropout=0.0)}, r"set train\.lora\.rank = 0, not 4"),
        ({"precision": "float16"}, "weights that train cannot be float16"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    dataset, store, settings, changes, message
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(dataset, store, settings.model_copy(update=changes), {})


def test_a_checkpoint_without_the_word_is_not_full(dataset, store, settings) -> None:
    """Those of before: checkpoint.json says nothing of it."""
    train(dataset, store, settings, {})
    write_info(replace(read_info(settings.out), full=False), settings.out)
    file = settings.out / "checkpoint.json"
    file.write_text(file.read_text("utf-8").replace('"full": false,', ""), "utf-8")
    assert not read_info(settings.out).full
