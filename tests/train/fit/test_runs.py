"""The folder of a run: what a stopped, finished or repeated run does."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from finevq.errors import CheckpointError, StoreError
from finevq.train.fit import training as fit
from finevq.train.fit.training import train
from finevq.train.model.checkpoint import digest

from .._published import write_internvl2
from ..conftest import MakeSettings
from ._runs import PARTS, Stopped, assert_same_weights, refuse, stop_at


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


def test_run_that_could_not_start_can_be_started_with_other_settings(
    dataset, make_store, make_settings: MakeSettings
) -> None:
    with pytest.raises(StoreError, match="have no features yet"):
        train(dataset, make_store(["made/train0.mp4"]), make_settings(epochs=1.0), {})
    train(dataset, make_store(dataset.ids), make_settings(epochs=1.0, seed=1), {})


def test_folder_with_a_checkpoint_of_unknown_origin_is_refused(
    dataset, store, make_settings: MakeSettings
) -> None:
    settings = make_settings()
    settings.out.mkdir()
    (settings.out / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds a checkpoint already"):
        train(dataset, store, settings, {})


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
