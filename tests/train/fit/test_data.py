"""What a run learns from, and the features and videos that it refuses."""

import pytest

from finevq.dataset.videos import DIMENSIONS, load_dataset
from finevq.errors import CheckpointError, ConfigError, DatasetError, IdentityMismatch, StoreError
from finevq.train.fit import training as fit
from finevq.train.fit.start import initialise
from finevq.train.fit.training import train
from finevq.train.settings import LoraSettings

from ...conftest import dataset_in
from ..conftest import MakeSettings
from ._runs import weights

NO_LORA = LoraSettings(rank=0, alpha=1, dropout=0.0)


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
        (
            {"projector_rate": 0.0, "score_weight": 0.0, "lora": NO_LORA},
            r"projector_rate, train\.lora\.rank and .*score_weight are all 0, so that no weight",
        ),
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
