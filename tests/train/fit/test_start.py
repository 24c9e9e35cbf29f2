"""How a run starts: by fitting the score head alone, or as the checkpoint that it starts from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from finevq.cache.identity import Identity
from finevq.dataset.videos import DIMENSIONS
from finevq.errors import CheckpointError, IdentityMismatch
from finevq.train.base.language_model import load_base
from finevq.train.fit import training as fit
from finevq.train.fit.reading import Collator, Samples, Source
from finevq.train.fit.start import fit_score_head, initialise
from finevq.train.fit.training import train
from finevq.train.fit.training_set import read_training_set
from finevq.train.model.checkpoint import (
    CheckpointInfo,
    build_model,
    load_checkpoint,
    read_info,
    write_info,
)
from finevq.train.model.finevq import FineVQ
from finevq.train.model.official import import_checkpoint
from finevq.train.model.packing import Packer
from finevq.train.model.spec import Spec
from finevq.train.prompts import rating
from finevq.train.settings import LoraSettings

from ...conftest import IDENTITY, SHAPES, dataset_in
from .._made import model_of, scores_of
from .._published import write_finevq, write_internvl2
from ..conftest import MakeSettings
from ._runs import NO_DROPOUT, refuse, weights

CPU = torch.device("cpu")


def fitted(dataset, store, info, *, epochs: int) -> tuple[FineVQ, dict[str, Tensor], Samples]:
    """A model after the fit, its weights before, and the samples it was fitted to."""
    model, packer = model_of(info)
    samples = Samples(store, [Source(dataset, list(dataset), {})], packer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_score_head(model, samples, Collator(packer), epochs=epochs, device=CPU)
    return model, before, samples


def score_loss(model: FineVQ, packer: Packer, samples: Samples) -> float:
    with torch.no_grad():
        batch = Collator(packer)(list(samples))
        del batch["samples"]
        return float(model.eval()(**batch).score_loss)


def test_the_loss_falls_and_nothing_but_the_head_changes(
    make_dataset, make_store, made_info
) -> None:
    dataset = make_dataset({"train": 6})
    store = make_store(dataset.ids)
    model, before, samples = fitted(dataset, store, made_info, epochs=300)
    untrained, packer = model_of(made_info)
    assert score_loss(model, packer, samples) < 0.5 * score_loss(untrained, packer, samples)
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {f"score_head.{name}" for name in model.score_head.state_dict()}


def test_no_passes_leave_the_head_as_it_is(make_dataset, make_store, made_info) -> None:
    dataset = make_dataset({"train": 2})
    model, before, _ = fitted(dataset, make_store(dataset.ids), made_info, epochs=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dimension", ["color", "overall"])
def test_a_missing_label_is_left_out(make_dataset, make_store, made_info, dimension: str) -> None:
    labels = {f"train{n}.mp4": dict.fromkeys(DIMENSIONS, 50.0) for n in range(3)}
    for row in labels.values():
        del row[dimension]
    dataset = make_dataset({"train": 3}, labels=labels)
    model, _, _ = fitted(dataset, make_store(dataset.ids), made_info, epochs=1)
    assert all(tensor.isfinite().all() for tensor in model.score_head.state_dict().values())


@pytest.fixture
def imported(tmp_path: Path) -> CheckpointInfo:
    """A published FineVQ checkpoint at `tmp_path`/imported."""
    write_finevq(tmp_path / "published")
    return import_checkpoint(
        str(tmp_path / "published"),
        tmp_path / "imported",
        features=Identity(IDENTITY),
        shapes=SHAPES,
        dtype="float16",
        extract={},
        precision="float32",
    )


def test_start_from_an_imported_finevq_keeps_its_wording_and_score_head(
    make_dataset, make_store, make_settings: MakeSettings, tmp_path, imported, caplog
) -> None:
    dataset = make_dataset({"train": 3})
    settings = make_settings(
        base=imported.base,
        start=str(tmp_path / "imported"),
        lora=LoraSettings(**imported.lora),
        epochs=1.0,
        learning_rate=1e-9,
        max_tokens=2048,
    )
    with caplog.at_level("INFO", logger="finevq"):
        info = train(dataset, make_store(dataset.ids), settings, {})
    line = "and reads videos as it does: official wording, a final ReLU in the score head, frames"
    assert line in caplog.text
    assert info.spec == imported.spec == Spec(profile="official", final_relu=True)
    assert info.run["spec"]["profile"] == "official"
    model, packer, _ = load_checkpoint(settings.out)
    assert isinstance(model.score_head[-1], nn.ReLU)
    assert packer.spec == imported.spec
    # Nearly nothing was learned: the scores are those of the checkpoint that it started from.
    prompts = [rating(dimension, profile="official") for dimension in DIMENSIONS]
    expected = scores_of(*load_checkpoint(tmp_path / "imported")[:2], prompts)
    torch.testing.assert_close(scores_of(model, packer, prompts), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("profile", ["finevq", "official"])
def test_training_asks_in_the_wording_of_the_spec(
    make_dataset, make_store, made_info, profile
) -> None:
    dataset = make_dataset({"train": 1})
    _, packer = model_of(replace(made_info, spec=Spec(profile=profile)))
    samples = Samples(make_store(dataset.ids), [Source(dataset, list(dataset), {})], packer)
    ((_, prompts),) = samples.sequences
    expected = [rating(dimension, profile=profile) for dimension in DIMENSIONS]
    assert [(p.text, p.stem) for p in prompts] == [(p.text, p.stem) for p in expected]


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        (Spec(frames=1), {}, r"reads 1 of 2 stored frames, not 2 \(train\.frames = all\): set"),
        (Spec(), {"frames": 1}, r"reads 2 of 2 stored frames, not 1 .*set train\.frames to 2, or"),
        (Spec(clips=0), {}, r"reads 0 of 1 stored clips, not 1 .*set train\.clips to 0, or"),
    ],
)
def test_start_that_reads_other_frames_or_clips_is_refused(
    make_dataset,
    make_store,
    make_settings: MakeSettings,
    tmp_path,
    made_info,
    trained,
    given,
    message,
) -> None:
    dataset = make_dataset({"train": 1})
    start = tmp_path / "start"
    start.mkdir()
    write_info(replace(made_info, spec=trained), start)
    settings = make_settings(start=str(start), **given)
    with pytest.raises(CheckpointError, match=message) as caught:
        train(dataset, make_store(dataset.ids), settings, {})
    assert "\n" not in str(caught.value)
    assert not settings.out.exists()


def test_start_that_reads_the_same_by_another_number_is_accepted(
    make_dataset, make_store, make_settings: MakeSettings, tmp_path
) -> None:
    dataset = make_dataset({"train": 1})
    store = make_store(dataset.ids)
    first = make_settings(out=tmp_path / "first", frames=2, epochs=1.0)
    train(dataset, store, first, {})
    second = make_settings(out=tmp_path / "second", start=str(first.out), epochs=1.0)
    info = train(dataset, store, second, {})
    assert info.spec == Spec()
    assert "spec" not in info.run  # the settings say it all
    assert read_info(first.out).spec == Spec(frames=2)


def test_run_starts_from_another_checkpoint(
    dataset, store, make_settings: MakeSettings, tmp_path, monkeypatch
) -> None:
    first = make_settings(
        out=tmp_path / "first", lora=NO_DROPOUT.model_copy(update={"rank": 0}), score_weight=0.0
    )
    train(dataset, store, first, {})
    assert not (first.out / "adapter").exists()
    monkeypatch.setattr(fit, "initialise", refuse)
    monkeypatch.setattr(fit, "fit_score_head", refuse)
    second = make_settings(out=tmp_path / "second", start=str(first.out), learning_rate=1e-9)
    train(dataset, store, second, {})
    before, after = weights(first.out), weights(second.out)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)
    assert any(name.startswith("adapter") for name in after)


def test_videos_that_a_start_was_trained_on_are_remembered(
    dataset, make_dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    first = make_settings(out=tmp_path / "first", epochs=1.0)
    train(dataset, store, first, {})
    other = dataset_in(tmp_path / "other", {"test": 5, "train": 1, "val": 3})
    second = make_settings(out=tmp_path / "second", start=str(first.out), epochs=1.0)
    train(other, store, second, {})
    seen = read_training_set(second.out)
    assert seen is not None
    assert seen["video"].tolist() == [f"made/train{i}.mp4" for i in range(5)]
    assert seen["sha256"].is_unique


def test_start_of_another_base_or_features_is_refused(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    first = make_settings(out=tmp_path / "first", epochs=1.0)
    info = train(dataset, store, first, {})
    again = make_settings(out=tmp_path / "again", start=str(first.out))
    write_info(replace(info, features={"spatial": {"frames": 9}}), first.out)
    with pytest.raises(IdentityMismatch, match=r"was trained on other features: .*spatial\.frames"):
        train(dataset, store, again, {})
    write_info(replace(info, base_hash="0" * 64), first.out)
    with pytest.raises(CheckpointError, match=r"has the base model embedded \(000000000000\), not"):
        train(dataset, store, again, {})


@pytest.mark.parametrize(("key", "value"), [("rank", 2), ("alpha", 16)])
def test_start_with_another_lora_is_refused(
    dataset, store, make_settings: MakeSettings, tmp_path, key, value
) -> None:
    first = make_settings(out=tmp_path / "first", epochs=1.0)
    train(dataset, store, first, {})
    lora = first.lora.model_copy(update={key: value})
    again = make_settings(out=tmp_path / "again", start=str(first.out), lora=lora)
    with pytest.raises(CheckpointError, match=rf"has a LoRA with a {key} of .*, not {value}: set"):
        train(dataset, store, again, {})


def test_run_on_a_published_base_starts_from_its_projector(
    dataset, store, make_settings: MakeSettings, tmp_path: Path, monkeypatch
) -> None:
    published = write_internvl2(tmp_path / "base")
    settings = make_settings(base=str(tmp_path / "base"), precision="bfloat16", epochs=1.0)
    starts = []

    def remembering(model, samples, state):
        initialise(model, samples, state)
        starts.append(model.spatial_projector[1].weight.clone())

    monkeypatch.setattr(fit, "initialise", remembering)
    info = train(dataset, store, settings, {})
    assert torch.equal(starts[0], published["mlp1.1.weight"].float())
    assert (info.base, info.precision) == (settings.base, "bfloat16")
    model, _, _ = load_checkpoint(settings.out)
    assert not torch.equal(model.spatial_projector[1].weight, starts[0])
    trained = weights(settings.out)
    assert all(t.dtype == torch.float32 for t in trained.values())
    assert any(t.abs().max() > 0 for n, t in trained.items() if "lora_B" in n)


def test_published_projector_of_another_width_is_not_used(store, dataset, made_info) -> None:
    base = load_base("embedded", "float32")
    model, packer = build_model(made_info, base)
    samples = Samples(store, [Source(dataset, list(dataset), {})], packer)
    initialise(model, samples, None)
    expected = model.spatial_projector[1].weight.clone()
    model.spatial_projector[1].weight.data.zero_()
    initialise(model, samples, {"0.weight": torch.ones(48)})
    assert torch.equal(model.spatial_projector[1].weight, expected)
