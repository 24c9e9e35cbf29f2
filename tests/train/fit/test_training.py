"""Training: what changes and what does not, on one process, two, or with readers."""

import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from finevq.errors import ConfigError
from finevq.train.fit import training as fit
from finevq.train.fit.training import train
from finevq.train.model.checkpoint import build_model, load_checkpoint, read_info

from ..conftest import MakeSettings
from ._runs import NO_DROPOUT, assert_close_weights, assert_same_weights, weights


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


def test_run_in_bfloat16_keeps_its_weights_in_float32(
    dataset, store, make_settings: MakeSettings
) -> None:
    settings = make_settings(epochs=1.0, precision="bfloat16")
    train(dataset, store, settings, {})
    for name, tensor in weights(settings.out).items():
        assert tensor.dtype == torch.float32, name
        assert tensor.isfinite().all(), name


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
