"""Choosing the epoch, trackers, and steps that are not finite."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from finevq.dataset.videos import DIMENSIONS
from finevq.errors import ConfigError
from finevq.train.fit import trainer
from finevq.train.fit.trainer import FineVQTrainer, NonFiniteLoss, validation_srcc
from finevq.train.fit.training import train
from finevq.train.fit.training_set import read_training_set
from finevq.train.model.checkpoint import digest, load_checkpoint
from finevq.train.model.finevq import FineVQ

from ..conftest import MakeSettings
from ._runs import refuse, weights


def srcc(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    return validation_srcc(EvalPrediction(predictions=scores, label_ids=targets))


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


def test_projectors_learn_at_their_own_rate(dataset, store, make_settings, tmp_path: Path) -> None:
    found = {}
    for rate in (0.0, 0.1, 1.0):
        settings = make_settings(out=tmp_path / str(rate), epochs=2.0, projector_rate=rate)
        train(dataset, store, settings, {})
        found[rate] = weights(settings.out)

    def moved(rate: float) -> float:
        steps = [w - found[0.0][n] for n, w in found[rate].items() if n.startswith("projectors")]
        return float(torch.cat([step.flatten() for step in steps]).norm())

    assert moved(0.1) / moved(1.0) == pytest.approx(0.1, rel=0.5)


def test_projectors_with_a_rate_of_0_stay_as_they_start(
    make_dataset, make_store, make_settings: MakeSettings, tmp_path: Path
) -> None:
    dataset = make_dataset({"train": 3})  # without a part val, which might choose the same epoch
    store = make_store(dataset.ids)
    short, long = (
        make_settings(out=tmp_path / str(epochs), epochs=epochs, projector_rate=0.0)
        for epochs in (1.0, 3.0)
    )
    for settings in (short, long):
        train(dataset, store, settings, {})
    before, after = weights(short.out), weights(long.out)
    changed = {name.split("/")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"adapter", "score_head"}


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


def test_float16_trains_on_a_gpu_alone(dataset, store, make_settings: MakeSettings) -> None:
    with pytest.raises(
        ConfigError, match=r'train\.precision = "float16": .* needs a GPU'
    ) as caught:
        train(dataset, store, make_settings(precision="float16", device="cpu"), {})
    assert "\n" not in str(caught.value)


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
