"""Scoring of files: the numbers that evaluation finds through the store, in any company."""

import base64
import io
import shutil
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import finevq
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.cli import main as cli
from finevq.config import load_config
from finevq.dataset.questions import level
from finevq.dataset.settings import DatasetSettings
from finevq.dataset.videos import DIMENSIONS, Dataset, Video
from finevq.errors import CheckpointError
from finevq.evaluate.card import card_html
from finevq.evaluate.predict import Predictor, predict
from finevq.evaluate.score import Scorer, score
from finevq.evaluate.scorecard import ScoreCard
from finevq.evaluate.serve import Server
from finevq.evaluate.thumbnails import thumbnails
from finevq.extract.encoder import Encoder
from finevq.extract.run import Extractor
from finevq.train.base import load_base
from finevq.train.checkpoint import (
    CheckpointInfo,
    build_model,
    digest,
    load_checkpoint,
    read_info,
    save_checkpoint,
    write_info,
)

SMALL = ("spatial.frames=2", "motion.clips=1", "motion.size=32", "device=cpu")
RANGE = (1.0, 5.0)


def write_noise(path: Path, seed: int) -> Path:
    """A video of 16 frames that looks like no other."""
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for _ in range(16):
            pixels = noise.integers(0, 60 * (seed + 1), (64, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, a broken one, and an initialised checkpoint of the embedded backbones."""
    folder = tmp_path_factory.mktemp("score")
    for seed, name in enumerate("abc"):
        write_noise(folder / f"{name}.mp4", seed)
    (folder / "broken.mp4").write_bytes(b"not a video")
    settings = load_config(None, [f"extract.{change}" for change in SMALL])[0].extract
    encoder = Encoder(settings)
    base = load_base("embedded", "float32")
    info = CheckpointInfo(
        base="embedded",
        base_hash=base.hash,
        lora={"rank": 4, "alpha": 8, "dropout": 0.0},
        features=encoder.identity.content,
        shapes=encoder.shapes,
        dtype="float16",
        mos_range=RANGE,
        extract=settings.model_dump(),
        score_weight=1.0,
        run={},
    )
    torch.manual_seed(0)
    save_checkpoint(build_model(info, base)[0], info, folder / "checkpoint")
    return folder


@pytest.fixture(scope="module")
def cards(folder: Path) -> dict[str, ScoreCard]:
    """By name, of all files scored together."""
    names = ["a.mp4", "broken.mp4", "b.mp4", "missing.mp4", "c.mp4"]
    found = list(score([str(folder / name) for name in names], folder / "checkpoint"))
    assert [card.video for card in found] == [str(folder / name) for name in names]
    return dict(zip(names, found, strict=True))


def numbers(card: ScoreCard) -> list[float]:
    return [rating.score for rating in card.ratings.values()]


def test_file_that_cannot_be_decoded_has_an_error_and_the_others_go_on(
    cards: dict[str, ScoreCard],
) -> None:
    for name, card in cards.items():
        assert card.scale == RANGE
        if name in ("broken.mp4", "missing.mp4"):
            assert card.error
            assert card.ratings == {}
        else:
            assert card.error is None
            assert tuple(card.ratings) == DIMENSIONS
            assert {rating.level for rating in card.ratings.values()} <= {
                level(unit) for unit in (0.1, 0.3, 0.5, 0.7, 0.9)
            }
    assert len({tuple(numbers(cards[f"{name}.mp4"])) for name in "abc"}) == 3


def test_scores_do_not_depend_on_order_and_company(
    folder: Path, cards: dict[str, ScoreCard]
) -> None:
    for names in (["c.mp4", "a.mp4"], ["b.mp4"]):
        for card in score([str(folder / name) for name in names], folder / "checkpoint"):
            assert card == cards[Path(card.video).name]


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    videos = tuple(Video(f"made/{name}.mp4", folder / f"{name}.mp4", {}) for name in "abc")
    return Dataset(
        DatasetSettings(name="made", folder=folder, root=Path(), mos_range=RANGE, split="none"),
        videos,
    )


@pytest.fixture(params=["float16", "int8"])
def store(request: Any, folder: Path, dataset: Dataset, tmp_path: Path) -> FeatureStore:
    """The features of the videos, as a Dask worker stores them."""
    settings = load_config(None, [f"extract.{change}" for change in SMALL])[0].extract
    encoder = Encoder(settings)
    cache = CacheSettings(
        path=str(tmp_path / "features"), stage="", rows_per_shard=4, dtype=request.param
    )
    store = FeatureStore.create(cache.path, encoder.identity, encoder.shapes, cache)
    store.plan(dataset.ids)
    extractor = Extractor(store, settings)
    threads = torch.get_num_threads()
    extractor.setup(None)
    try:
        extractor.extract_shard(0, {video.id: str(video.path) for video in dataset})
    finally:
        extractor.teardown(None)
        torch.set_num_threads(threads)
    return store


def test_scores_are_those_of_extraction_and_prediction(
    folder: Path, dataset: Dataset, store: FeatureStore, tmp_path: Path
) -> None:
    checkpoint = shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    info = read_info(checkpoint)
    write_info(replace(info, dtype=store.layout.dtype), checkpoint)
    model, packer, _ = load_checkpoint(checkpoint)
    predictor = Predictor(model, packer, torch.device("cpu"))
    tables = predict(predictor, dataset, list(dataset), {}, store.read)
    table = pd.concat(tables).set_index(["video", "item"])
    cards = score([video.path for video in dataset], checkpoint)
    for video, card in zip(dataset, cards, strict=True):
        for dimension, rating in card.ratings.items():
            row = table.loc[(video.id, dimension)]
            assert rating.score == pytest.approx(row["prediction"], abs=1e-5)
            assert rating.level == row["prediction_text"]


def test_load_gives_a_typed_card(folder: Path, cards: dict[str, ScoreCard]) -> None:
    card = finevq.load(folder / "checkpoint").score(folder / "b.mp4")
    assert card == cards["b.mp4"]
    assert [reply.kind for reply in card.replies] == [f"yes-no {d}" for d in DIMENSIONS[:-1]]
    assert {reply.answer for reply in card.replies} <= {"Yes", "No"}
    assert card.seconds == pytest.approx(16 / 25)
    for rating in card.ratings.values():
        assert sum(rating.probabilities.values()) == pytest.approx(1)
        assert rating.percentile is None  # this checkpoint has no training.csv


def test_percentile_is_among_the_training_labels(folder: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    labels = [1.0, 1.1, 1.2, 5.0]  # an untrained head scores in the middle
    rows = [f"made/{i}.mp4,{'a' * 64},,,,,,{label}" for i, label in enumerate(labels)]
    rows.append(f"other/0.mp4,{'a' * 64},,,,,,80.0")  # of another scale
    header = ",".join(["video", "sha256", *DIMENSIONS])
    (checkpoint / "training.csv").write_text("\n".join([header, *rows]) + "\n")
    card = Scorer(checkpoint).score(folder / "a.mp4")
    assert card.ratings["overall"].percentile == 75
    assert card.ratings["blur"].percentile is None


def test_card_has_gauges_answers_and_pictures(folder: Path, cards: dict[str, ScoreCard]) -> None:
    card = cards["a.mp4"]
    page = card_html(card, "a<b>.mp4")
    assert "<h1>a&lt;b&gt;.mp4</h1>" in page
    assert page.count('class="gauge"') == 6
    assert page.count("data:image/jpeg;base64,") == 5
    assert f"{card.ratings['blur'].score:.2f}</strong>" in page
    assert "no score has a percentile" in page
    assert "default-src 'none'" in page
    assert "<script" not in page


def test_thumbnails_keep_the_shape_of_the_video(folder: Path) -> None:
    (url,) = thumbnails(folder / "a.mp4", 1)
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert image.size == (216, 144)  # of 96 x 64
    assert thumbnails(folder / "broken.mp4", 1) == []


def test_served_card_has_pictures_of_the_upload(folder: Path) -> None:
    with Server(("127.0.0.1", 0), Scorer(folder / "checkpoint").score, limit=10**6) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        body = (folder / "a.mp4").read_bytes()
        asked = Request(f"{server.url}card", body, {"X-Name": "a.mp4"}, method="PUT")
        with urlopen(asked) as reply:
            page = reply.read().decode()
        server.shutdown()
        thread.join()
    assert page.count("data:image/jpeg;base64,") == 5
    assert page.count('class="gauge"') == 6


def test_folder_is_scored_into_a_file_and_a_second_run_tries_what_failed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(folder / "a.mp4", clips)
    (clips / "b.mp4").write_bytes(b"not a video")
    out = tmp_path / "new" / "scores.csv"
    arguments = ["score", str(clips), f"--checkpoint={folder / 'checkpoint'}", f"--out={out}"]
    assert cli.main(arguments) == 2
    assert f"1 videos scored into {out}, 0 were there before; 1 failed" in capsys.readouterr().out
    shutil.copy(folder / "b.mp4", clips)
    assert cli.main(arguments) == 0
    assert f"1 videos scored into {out}, 1 were there before\n" in capsys.readouterr().out
    table = pd.read_csv(out)
    assert list(table["video"]) == [str(clips / name) for name in ("a.mp4", "b.mp4")]
    assert table["error"].isna().all()
    assert set(table["checkpoint"]) == {digest(folder / "checkpoint")}


def test_checkpoint_of_other_backbones_is_refused(
    folder: Path, tmp_path: Path, cards: dict[str, ScoreCard]
) -> None:
    model, _, info = load_checkpoint(folder / "checkpoint")
    info.features["motion"]["weights"] = "0" * 64
    save_checkpoint(model, info, tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"does not make: motion\.weights: 000000"):
        list(score([str(folder / "a.mp4")], tmp_path / "other"))
