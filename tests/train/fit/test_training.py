"""Training: what changes, what does not, and what a stopped or repeated run does."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EvalPrediction

from finevq.dataset.videos import DIMENSIONS, Dataset, load_dataset
from finevq.errors import CheckpointError, ConfigError, DatasetError, IdentityMismatch, StoreError
from finevq.train.base.language_model import load_base
from finevq.train.fit import trainer
from finevq.train.fit import training as fit
from finevq.train.fit.reading import Samples, Source
from finevq.train.fit.start import initialise
from finevq.train.fit.trainer import FineVQTrainer, NonFiniteLoss, validation_srcc
from finevq.train.fit.training import train
from finevq.train.fit.training_set import read_training_set
from finevq.train.model.checkpoint import (
    build_model,
    digest,
    load_checkpoint,
    read_info,
    write_info,
)
from finevq.train.model.finevq import FineVQ
from finevq.train.settings import LoraSettings

from ...conftest import dataset_in
from .._published import write_internvl2
from ..conftest import MakeSettings

PARTS = {"train": 5, "val": 3, "test": 1}


class Stopped(BaseException):
    """A stop by the user or the machine, which nothing catches."""


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, line: str) -> None:
        if done == step:
            raise Stopped

    return progress


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("must not be called")


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset(PARTS)


@pytest.fixture
def store(dataset, make_store):
    return make_store(dataset.ids)


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = ["adapter/adapter_model", "projectors", "score_head"]
    files = files if (out / "adapter").exists() else files[1:]
    return {f"{f}/{n}": t for f in files for n, t in load_file(out / f"{f}.safetensors").items()}


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_run_trains_what_is_to_be_trained_and_leaves_a_whole_checkpoint(
    dataset, store, make_settings: MakeSettings, monkeypatch
) -> None:
    models = []

    def remembering(info, base, vision):
        model, packer = build_model(info, base, vision)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        models.append((model, before))
        return model, packer

    monkeypatch.setattr(fit, "build_model", remembering)
    settings = make_settings()
    steps = []
    info = train(dataset, store, settings, {"device": "cpu"}, lambda *at: steps.append(at[:2]))

    ((model, before),) = models
    moved = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    trained = {n for n, weight in model.named_parameters() if weight.requires_grad}
    assert moved == trained
    assert all(n.startswith("language_model.") for n in before.keys() - trained)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]  # 5 videos by 3, twice
    files = {str(p.relative_to(settings.out)) for p in settings.out.rglob("*") if p.is_file()}
    kept = {name for name in files if not name.startswith("trainer/")}
    assert kept - {"adapter/README.md"} == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "projectors.safetensors",
        "score_head.safetensors",
        "checkpoint.json",
        "training.csv",
        "run.json",
    }
    adapter = load_file(settings.out / "adapter" / "adapter_model.safetensors")
    assert all("lora_" in name for name in adapter)
    assert read_info(settings.out) == info
    assert info.extract == {"device": "cpu"}
    assert info.features == store.layout.identity.content
    assert (info.mos_range, info.dtype, info.base) == ((0.0, 100.0), "float16", "embedded")
    loaded, _, _ = load_checkpoint(settings.out)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_finished_run_is_left_as_it_is_and_another_is_refused(
    dataset, store, make_dataset, make_settings: MakeSettings, monkeypatch
) -> None:
    settings = make_settings(epochs=1.0)
    info = train(dataset, store, settings, {})
    before = digest(settings.out)
    monkeypatch.setattr(fit, "build_model", refuse)
    assert train(dataset, store, settings, {}) == info
    # Where it runs is not what is run.
    assert train(dataset, store, make_settings(epochs=1.0, device="auto"), {}) == info
    with pytest.raises(CheckpointError, match="holds a run with other settings; set these as"):
        train(dataset, store, make_settings(epochs=1.0, seed=1), {})
    relabelled = make_dataset(PARTS, labels={"train0.mp4": {"blur": 50.0}})
    with pytest.raises(CheckpointError, match="holds a run with other data; set these as"):
        train(relabelled, store, settings, {})
    assert digest(settings.out) == before


def test_stopped_run_goes_on_to_the_weights_of_an_undisturbed_one(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    whole = make_settings(out=tmp_path / "whole", epochs=3.0)
    train(dataset, store, whole, {})
    stopped = make_settings(out=tmp_path / "stopped", epochs=3.0)
    with pytest.raises(Stopped):
        train(dataset, store, stopped, {}, stop_at(3))  # in the middle of the second epoch
    assert not (stopped.out / "checkpoint.json").exists()
    steps = []
    train(dataset, store, stopped, {}, lambda done, total, line: steps.append(done))
    assert steps == [3, 4, 5, 6]  # the first epoch is not done again
    assert_same_weights(stopped.out, whole.out)


def test_run_goes_on_at_the_exact_step_where_it_was_saved(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    whole = make_settings(out=tmp_path / "whole", videos_per_batch=1, accumulate=2)
    train(dataset, store, whole, {})
    stopped = whole.model_copy(update={"out": tmp_path / "stopped", "save_every": 2})
    with pytest.raises(Stopped):
        train(dataset, store, stopped, {}, stop_at(5))  # of 3 an epoch, saved after 4
    steps = []
    train(dataset, store, stopped, {}, lambda done, total, line: steps.append(done))
    assert steps == [5, 6]
    assert_same_weights(stopped.out, whole.out)


def test_run_goes_on_with_as_many_processes_alone(
    dataset, store, make_settings: MakeSettings
) -> None:
    settings = make_settings(epochs=1.0)
    with pytest.raises(Stopped):
        train(dataset, store, settings, {}, stop_at(1))
    file = settings.out / "run.json"
    run = json.loads(file.read_text())
    file.write_text(json.dumps(run | {"processes": 2}))
    with pytest.raises(CheckpointError, match="holds a run with other processes"):
        train(dataset, store, settings, {})
    file.write_text(json.dumps(run))
    info = train(dataset, store, settings, {})
    file.write_text(json.dumps(run | {"processes": 2}))
    assert train(dataset, store, settings, {}) == info  # finished: nothing is left to do


def test_run_stopped_while_it_saved_goes_on_from_the_save_before(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    settings = make_settings()
    with pytest.raises(Stopped):
        train(dataset, store, settings, {}, stop_at(3))
    half = settings.out / "trainer" / "checkpoint-4"
    half.mkdir()
    (half / "projectors.safetensors").write_bytes(b"half")
    steps = []
    train(dataset, store, settings, {}, lambda done, total, line: steps.append(done))
    assert steps == [3, 4]
    whole = make_settings(out=tmp_path / "whole")
    train(dataset, store, whole, {})
    assert_same_weights(settings.out, whole.out)


def test_epoch_with_the_best_validation_srcc_is_kept(
    dataset, store, make_settings: MakeSettings, monkeypatch
) -> None:
    ranks = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(trainer, "validation_srcc", lambda prediction: {"srcc": next(ranks)})
    saved = []
    save = FineVQTrainer._save

    def remembering(self, output_dir=None, state_dict=None):
        save(self, output_dir, state_dict)
        saved.append(digest(Path(output_dir)))

    monkeypatch.setattr(FineVQTrainer, "_save", remembering)
    settings = make_settings(epochs=3.0, videos_per_batch=5)
    train(dataset, store, settings, {})
    assert len(set(saved)) == 3
    assert digest(settings.out) == saved[1]


def test_without_a_validation_part_the_last_epoch_is_kept(
    make_dataset, make_store, make_settings: MakeSettings, monkeypatch
) -> None:
    dataset = make_dataset({"train": 3})
    monkeypatch.setattr(trainer, "validation_srcc", refuse)
    settings = make_settings(epochs=1.0)
    train(dataset, make_store(dataset.ids), settings, {})
    last = settings.out / "trainer" / "checkpoint-1"
    assert digest(settings.out) == digest(last)


@pytest.mark.parametrize("count", [2, 3], ids=["too few", "all equal"])
def test_validation_part_that_cannot_rank_keeps_the_last_epoch(
    make_dataset, make_store, make_settings: MakeSettings, caplog, count
) -> None:
    labels = {f"train{i}.mp4": {"blur": 20.0 * i} for i in range(3)}
    labels |= {f"val{i}.mp4": {"blur": 50.0 if count == 3 else 10.0 * i} for i in range(count)}
    dataset = make_dataset({"train": 3, "val": count}, labels=labels)
    settings = make_settings(epochs=3.0, patience=1)
    train(dataset, make_store(dataset.ids), settings, {})
    assert digest(settings.out) == digest(settings.out / "trainer" / "checkpoint-3")
    assert "no dimension with 3 labels that differ: the last epoch is kept" in caplog.text


def test_copy_of_a_validation_video_is_not_trained_on(
    dataset, make_store, make_settings: MakeSettings
) -> None:
    same = dict.fromkeys(["made/train1.mp4", "made/val2.mp4"], "7" * 64)
    store = make_store(dataset.ids, sha256=same)
    with pytest.raises(DatasetError, match=r"made/train1\.mp4 is .* the content of made/val2\.mp4"):
        train(dataset, store, make_settings(), {})
    assert not make_settings().out.exists()


def test_videos_without_features_or_labels_do_not_stop_a_run(
    make_dataset, make_store, make_settings: MakeSettings
) -> None:
    labels = {f"train{i}.mp4": {"blur": 20.0 * i} for i in range(2)}
    dataset = make_dataset({"train": 4, "val": 1}, labels=labels)
    store = make_store(dataset.ids, failed=["made/train1.mp4"])
    train(dataset, store, make_settings(epochs=1.0), {})
    assert all(tensor.isfinite().all() for tensor in weights(make_settings().out).values())


def test_missing_features_are_an_error_that_counts_them(
    dataset, make_store, make_settings: MakeSettings
) -> None:
    store = make_store([video for video in dataset.ids if video != "made/val2.mp4"])
    with pytest.raises(StoreError, match=r"1 of 3 videos of the part val .* made/val2\.mp4; run"):
        train(dataset, store, make_settings(), {})


def test_run_that_could_not_start_can_be_started_with_other_settings(
    dataset, make_store, make_settings: MakeSettings
) -> None:
    with pytest.raises(StoreError, match="have no features yet"):
        train(dataset, make_store(["made/train0.mp4"]), make_settings(epochs=1.0), {})
    train(dataset, make_store(dataset.ids), make_settings(epochs=1.0, seed=1), {})


@pytest.mark.parametrize(
    ("parts", "labels"),
    [({"val": 2}, None), ({"train": 2, "val": 2}, {"val0.mp4": {"blur": 1.0}})],
    ids=["no video", "no label"],
)
def test_train_part_without_anything_to_learn_is_refused(
    make_dataset, make_store, make_settings: MakeSettings, parts, labels
) -> None:
    dataset = make_dataset(parts, labels=labels)
    with pytest.raises(DatasetError, match="part train of split parts has no labelled video"):
        train(dataset, make_store(dataset.ids), make_settings(), {})


def test_folder_with_a_checkpoint_of_unknown_origin_is_refused(
    dataset, store, make_settings: MakeSettings
) -> None:
    settings = make_settings()
    settings.out.mkdir()
    (settings.out / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds a checkpoint already"):
        train(dataset, store, settings, {})


def test_run_in_bfloat16_keeps_its_weights_in_float32(
    dataset, store, make_settings: MakeSettings
) -> None:
    settings = make_settings(epochs=1.0, precision="bfloat16")
    train(dataset, store, settings, {})
    for name, tensor in weights(settings.out).items():
        assert tensor.dtype == torch.float32, name
        assert tensor.isfinite().all(), name


def test_float16_trains_on_a_gpu_alone(dataset, store, make_settings: MakeSettings) -> None:
    with pytest.raises(
        ConfigError, match=r'train\.precision = "float16": .* needs a GPU'
    ) as caught:
        train(dataset, store, make_settings(precision="float16", device="cpu"), {})
    assert "\n" not in str(caught.value)


def test_damaged_run_json_is_a_one_line_error(dataset, store, make_settings: MakeSettings) -> None:
    settings = make_settings()
    settings.out.mkdir()
    (settings.out / "run.json").write_text('{"settings": ')
    with pytest.raises(CheckpointError, match=r"run\.json: damaged") as caught:
        train(dataset, store, settings, {})
    assert "\n" not in str(caught.value)


def test_run_json_says_what_the_run_was_given(dataset, store, make_settings: MakeSettings) -> None:
    settings = make_settings()
    with pytest.raises(Stopped):
        train(dataset, store, settings, {}, stop_at(1))
    run = json.loads((settings.out / "run.json").read_text())
    assert run["features"] == store.layout.identity.digest
    assert run["settings"]["lora"] == {"rank": 4, "alpha": 8, "dropout": 0.05}
    assert run["settings"].keys().isdisjoint({"out", "device", "shard", "readers", "trackers"})


def test_killed_run_goes_on_to_the_weights_of_an_undisturbed_one(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    """SIGKILL in the middle of the second epoch leaves nothing to clean up."""
    whole = make_settings(out=tmp_path / "whole", epochs=3.0)
    train(dataset, store, whole, {})
    killed = make_settings(out=tmp_path / "killed", epochs=3.0)
    code = f"""
import os, signal
from pathlib import Path
from finevq.cache.store import FeatureStore
from finevq.dataset.settings import DatasetSettings
from finevq.dataset.videos import load_dataset
from finevq.train.fit.training import train
from finevq.train.settings import TrainSettings
def kill(done, total, line):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
dataset = load_dataset(DatasetSettings.model_validate_json({dataset.settings.model_dump_json()!r}))
settings = TrainSettings.model_validate_json({killed.model_dump_json()!r})
train(dataset, FeatureStore.open({store.url!r}), settings, {{}}, kill)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    steps = []
    train(dataset, store, killed, {}, lambda done, total, line: steps.append(done))
    assert steps == [3, 4, 5, 6]
    assert_same_weights(killed.out, whole.out)


def assert_close_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-5, msg=name)


NO_DROPOUT = LoraSettings(rank=4, alpha=8, dropout=0.0)


def test_step_of_several_passes_is_that_of_one_large_batch(
    dataset, store, make_settings: MakeSettings, tmp_path
) -> None:
    whole = make_settings(out=tmp_path / "whole", lora=NO_DROPOUT)
    parts = make_settings(out=tmp_path / "parts", lora=NO_DROPOUT, videos_per_batch=1, accumulate=3)
    for settings in (whole, parts):
        train(dataset, store, settings, {})
    assert_close_weights(parts.out, whole.out)


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_two_processes_are_as_one_with_twice_the_batch(
    make_dataset, make_store, make_settings: MakeSettings, tmp_path, shard: bool
) -> None:
    # Videos have different numbers of questions: a mean of the processes' means would differ.
    dataset = make_dataset({"train": 4, "val": 3})
    store = make_store(dataset.ids)
    one = make_settings(out=tmp_path / "one", lora=NO_DROPOUT, videos_per_batch=2)
    info = train(dataset, store, one, {})
    changed = {"out": str(tmp_path / "two"), "videos_per_batch": 1, "trackers": [], "shard": shard}
    config = json.loads(one.model_dump_json()) | changed
    overrides = [
        "dataset.name=made",
        f"dataset.folder={dataset.settings.folder}",
        "dataset.split=parts",
        "extract.spatial.frames=2",
        f"cache.path={store.url}",
    ]
    for name in ("lora", "vision_lora"):
        overrides += [f"train.{name}.{k}={v}" for k, v in config.pop(name).items()]
    overrides += [f"train.{key}={json.dumps(value)}" for key, value in config.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "finevq", "train"]
    for override in overrides:
        command += ["--set", override]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"checkpoint in {tmp_path / 'two'}\n"
    held = re.search(r"frozen weights: (\S+) of (\S+) MB in each process", run.stderr)
    assert (held is not None) == shard
    assert held is None or float(held[1]) < 0.9 * float(held[2])
    assert_close_weights(tmp_path / "two", one.out)
    assert read_info(tmp_path / "two").base_hash == info.base_hash


def test_one_process_has_nothing_to_shard(dataset, store, make_settings: MakeSettings) -> None:
    with pytest.raises(ConfigError, match=r"train\.shard = true: there is one process"):
        train(dataset, store, make_settings(shard=True), {})


@pytest.mark.parametrize(("what", "step"), [("loss", 3), ("gradient", 3), ("gradient", 6)])
def test_step_that_is_not_finite_stops_the_run_and_keeps_the_last_save(
    dataset, store, make_settings: MakeSettings, monkeypatch, what, step
) -> None:
    """Even the last step of an epoch, after which the weights would be saved."""
    forward = FineVQ.forward
    passes = []

    def failing(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        if output.loss is not None and self.training:
            passes.append(1)
            if len(passes) == step and what == "loss":
                output.loss = output.loss * float("nan")
            elif len(passes) == step:
                output.loss.register_hook(lambda gradient: gradient * float("nan"))
        return output

    monkeypatch.setattr(FineVQ, "forward", failing)
    settings = make_settings(epochs=3.0)
    with pytest.raises(NonFiniteLoss) as caught:
        train(dataset, store, settings, {})
    message = str(caught.value)
    became = "the loss became nan" if what == "loss" else "a gradient became infinite or NaN"
    named = re.fullmatch(
        rf"{became} in step {step}, with the videos ((?:made/train\d\.mp4(?:, )?){{2,3}}); the "
        r"last save, (\S+), is a checkpoint\. Lower train\.learning_rate, .*",
        message,
    )
    assert named, message
    assert not (settings.out / "checkpoint.json").exists()
    model, _, info = load_checkpoint(Path(named[2]))
    assert info.run["data"]
    training_set = read_training_set(Path(named[2]))
    assert training_set is not None
    assert len(training_set) == 5
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_run_ends_when_validation_gets_no_better(
    dataset, store, make_settings: MakeSettings, monkeypatch
) -> None:
    ranks = iter([0.2, 0.9, 0.5, 0.8, 1.0])
    monkeypatch.setattr(trainer, "validation_srcc", lambda prediction: {"srcc": next(ranks)})
    steps = []
    settings = make_settings(epochs=5.0, videos_per_batch=5, patience=2)
    train(dataset, store, settings, {}, lambda done, total, line: steps.append(done))
    assert steps == [1, 2, 3, 4]
    assert digest(settings.out) == digest(settings.out / "trainer" / "checkpoint-2")


def test_reading_processes_change_nothing(
    make_dataset, make_store, make_settings: MakeSettings, tmp_path
) -> None:
    dataset = make_dataset({"train": 3})  # without a part val: one process less to start
    store = make_store(dataset.ids)
    one = make_settings(out=tmp_path / "one", epochs=1.0)
    other = make_settings(out=tmp_path / "other", epochs=1.0, readers=1)
    for settings in (one, other):
        train(dataset, store, settings, {})
    assert_same_weights(one.out, other.out)


def test_tensorboard_has_the_curves(dataset, store, make_settings: MakeSettings) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = make_settings(trackers=("tensorboard",))
    train(dataset, store, settings, {})
    (folder,) = {file.parent for file in settings.out.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    curves = set(events.Tags()["scalars"])
    assert {"train/loss", "eval/srcc", "train/questions_per_s", "train/waiting"} <= curves
    assert [event.step for event in events.Scalars("eval/srcc")] == [2, 4]


def test_unknown_tracker_is_refused(dataset, store, make_settings: MakeSettings) -> None:
    with pytest.raises(ConfigError, match=r"^train\.trackers: 'tensorbord' is not installed"):
        train(dataset, store, make_settings(trackers=("tensorbord",)), {})


def test_progress_says_how_it_goes(dataset, store, make_settings: MakeSettings, caplog) -> None:
    lines = []
    with caplog.at_level("INFO", logger="finevq"):
        train(dataset, store, make_settings(), {}, lambda done, total, line: lines.append(line))
    speed = r"\d+\.\d questions/s, \d+ tokens/s, \d+\.\d% waiting for data"
    assert re.fullmatch(rf"loss \d+\.\d{{3}}, {speed}", lines[0])
    assert re.fullmatch(rf"loss \d+\.\d{{3}}, SRCC -?\d\.\d{{3}}, {speed}", lines[-1])
    assert re.search(
        rf"epoch 1\.00: training loss \d+\.\d{{4}}, {speed}, 0:00:\d\d left", caplog.text
    )


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


@pytest.mark.parametrize(
    ("extraction", "message"),
    [
        ({"spatial": {"frames": 8}}, r"made with extract\.spatial\.frames = 2, .* has 8: train"),
        (
            {"spatial": {"sampler": "official"}},
            r"other frames \(middles of equal segments\) than .*sampler = 'official'",
        ),
        ({"spatial": {"adapter": "runs/x"}}, r"were made without a LoRA .*adapter = 'runs/x'"),
    ],
)
def test_features_made_with_other_settings_are_refused(
    dataset, store, make_settings: MakeSettings, extraction, message
) -> None:
    with pytest.raises(IdentityMismatch, match=message):
        train(dataset, store, make_settings(), extraction)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"language_weight": 0.0, "score_weight": 0.0}, r"are both 0, so that there is nothing"),
        ({"frames": 3}, r"train\.frames = 3: the features at .* hold 2 frames a video"),
        ({"clips": 2}, r"train\.clips = 2: the features at .* hold 1 clips a video"),
        ({"max_tokens": 150}, r"train\.max_tokens = 150: the six ratings"),
    ],
)
def test_settings_that_the_features_do_not_allow_are_refused(
    dataset, store, make_settings: MakeSettings, given, message
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(dataset, store, make_settings(**given), {})
    assert not make_settings().out.exists()


def test_store_of_another_dataset_is_named(dataset, make_store, make_settings) -> None:
    store = make_store(["LIVE-VQC/A001.mp4"])
    with pytest.raises(StoreError, match=r"none of the 5 .* it has LIVE-VQC/A001\.mp4, asked for"):
        train(dataset, store, make_settings(), {})


def test_several_datasets_are_learned_each_on_its_own_scale(
    dataset, tmp_path, make_store, make_settings: MakeSettings, monkeypatch
) -> None:
    folder = tmp_path / "other"
    labels = {"train0.mp4": {"blur": 4.0}, "train1.mp4": {"blur": 2.0}, "val0.mp4": {"blur": 5.0}}
    made = dataset_in(folder, {"train": 2, "val": 1}, labels=labels, questions=[])
    scale = made.settings.model_copy(update={"name": "other", "mos_range": (1.0, 5.0)})
    other = load_dataset(scale)
    store = make_store([*dataset.ids, *other.ids])
    seen = {}

    def remembering(model, samples, published):
        for sample in samples:
            video = samples.sequences[sample.number][0].id
            seen[video] = sample.packed.targets[:6]
        initialise(model, samples, published)

    monkeypatch.setattr(fit, "initialise", remembering)
    settings = make_settings(epochs=1.0)
    info = train(dataset, store, settings, {}, also=[other])
    assert [v for v in seen if v.startswith("other/")] == ["other/train0.mp4", "other/train1.mp4"]
    blur = DIMENSIONS.index("blur")
    assert [float(seen[f"other/train{i}.mp4"][blur]) for i in range(2)] == [0.75, 0.25]
    assert seen["other/train0.mp4"].isnan().sum() == 5
    assert len(seen) == 7
    assert info.mos_range == (0.0, 100.0)
    with pytest.raises(CheckpointError, match="holds a run with other data"):
        train(dataset, store, settings, {})
    with pytest.raises(DatasetError, match="two of the datasets are named 'made'"):
        train(dataset, store, settings, {}, also=[dataset])


def test_video_with_too_many_questions_takes_several_sequences(
    dataset, store, make_settings: MakeSettings
) -> None:
    steps = []
    settings = make_settings(epochs=1.0, videos_per_batch=1, max_tokens=240)
    train(dataset, store, settings, {}, lambda done, total, line: steps.append(total))
    assert steps[0] == 8  # 3 of the 5 videos have two questions more


def srcc(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    return validation_srcc(EvalPrediction(predictions=scores, label_ids=targets))


def test_validation_srcc_averages_the_dimensions_that_define_it() -> None:
    ranks = np.arange(4.0)
    targets = np.tile(ranks[:, None], (1, 6))
    scores = targets.copy()
    scores[:, 1] = -ranks  # noise: -1
    scores[:, 2] = 7.0  # artifact: constant scores
    targets[2:, 3] = np.nan  # blur: two labels
    targets[0, 4] = np.nan  # temporal: three labels
    targets[:, 5] = 1.0  # overall: constant labels
    found = srcc(scores, targets)
    defined = {"srcc_color": 1.0, "srcc_noise": -1.0, "srcc_temporal": 1.0}
    assert found == pytest.approx({"srcc": 1 / 3, **defined})


def test_validation_srcc_of_nothing_is_the_worst() -> None:
    assert srcc(np.zeros((4, 6)), np.full((4, 6), np.nan)) == {"srcc": -1.0}


def test_validation_srcc_looks_at_the_ratings_only() -> None:
    rng = np.random.default_rng(0)
    ratings, questions = rng.random((5, 6)), rng.random((5, 3))
    scores = np.hstack([ratings, questions])
    targets = np.hstack([ratings, np.full((5, 3), np.nan)])
    found = srcc(scores, targets)
    assert found.keys() == {"srcc", *(f"srcc_{dimension}" for dimension in DIMENSIONS)}
    assert found["srcc"] == pytest.approx(1.0)


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


def test_stopped_run_does_not_go_on_with_another_base(
    dataset, store, make_settings: MakeSettings, tmp_path: Path
) -> None:
    write_internvl2(tmp_path / "base")
    settings = make_settings(base=str(tmp_path / "base"))
    with pytest.raises(Stopped):
        train(dataset, store, settings, {}, stop_at(3))
    file = tmp_path / "base" / "model.safetensors"
    tensors = load_file(file)
    tensors["language_model.model.norm.weight"] += 1
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match="holds a run with other base; set these as"):
        train(dataset, store, settings, {})
