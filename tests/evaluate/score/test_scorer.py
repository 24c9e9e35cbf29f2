"""Scoring of files: the numbers that evaluation finds through the store, in any company."""

import base64
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
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
from finevq.evaluate.pages.card import card_html
from finevq.evaluate.pages.serve import Server
from finevq.evaluate.pages.thumbnails import thumbnails
from finevq.evaluate.predict.predictions import predict
from finevq.evaluate.predict.predictor import Predictor
from finevq.evaluate.score.scorecard import ScoreCard
from finevq.evaluate.score.scorer import Scorer
from finevq.extract.encode.encoder import Encoder
from finevq.extract.job.run import Extractor
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import (
    CheckpointInfo,
    build_model,
    digest,
    load_checkpoint,
    read_info,
    save_checkpoint,
    write_info,
)

SMALL = ("spatial.frames=2", "motion.clips=1", "motion.size=32", "device=cpu")
SETTINGS = load_config(None, [f"extract.{change}" for change in SMALL])[0].extract
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
    encoder = Encoder(SETTINGS)
    base = load_base("embedded", "float32")
    info = CheckpointInfo(
        base="embedded",
        base_hash=base.hash,
        lora={"rank": 4, "alpha": 8, "dropout": 0.0},
        features=encoder.identity.content,
        shapes=encoder.shapes,
        dtype="float16",
        mos_range=RANGE,
        extract=SETTINGS.model_dump(),
        score_weight=1.0,
        run={},
    )
    torch.manual_seed(0)
    save_checkpoint(build_model(info, base)[0], info, folder / "checkpoint")
    return folder


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return scorer_of(folder / "checkpoint")


def scorer_of(checkpoint: Path) -> Scorer:
    return Scorer(checkpoint, SETTINGS, device="cpu")


@pytest.fixture(scope="module")
def cards(folder: Path, scorer: Scorer) -> dict[str, ScoreCard]:
    """By name, of all files scored together."""
    names = ["a.mp4", "broken.mp4", "b.mp4", "missing.mp4", "c.mp4"]
    found = list(scorer.score_all([folder / name for name in names]))
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


def out_of_memory(*_: object) -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("part", "fault", "reason"),
    [
        ("encoder._encode", lambda real: out_of_memory, "needs more GPU memory than there is"),
        ("predictor.answer", lambda real: out_of_memory, "needs more GPU memory than there is"),
        (
            "encoder._encode",
            lambda real: lambda videos: [replace(f, motion=f.motion * 1e9) for f in real(videos)],
            r"float16 overflow.*\(motion\)",
        ),
        (
            "encoder._encode",
            lambda real: (
                lambda videos: [replace(f, spatial=f.spatial * np.nan) for f in real(videos)]
            ),
            r"NaN in the features \(spatial\)",
        ),
        (
            "predictor.answer",
            lambda real: lambda *given: [replace(a, score=float("nan")) for a in real(*given)],
            "the model's answers are not finite",
        ),
    ],
    ids=["memory of the backbones", "memory of the model", "overflow", "NaN", "NaN score"],
)
def test_a_file_that_the_networks_fail_on_has_an_error_and_the_others_go_on(
    folder: Path,
    cards: dict[str, ScoreCard],
    scorer: Scorer,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    fault: Callable[[Any], Any],
    reason: str,
) -> None:
    owner, name = part.split(".")
    faulty, calls = getattr(scorer, owner), iter(range(9))
    real = getattr(faulty, name)
    once = lambda *given: (real if next(calls) else fault(real))(*given)  # noqa: E731
    monkeypatch.setattr(faulty, name, once)
    first, second = scorer.score_all([folder / "a.mp4", folder / "b.mp4"])
    assert first.ratings == {}
    assert re.match(reason, first.error or "")
    assert numbers(second) == numbers(cards["b.mp4"])


def test_scores_do_not_depend_on_order_and_company(
    folder: Path, scorer: Scorer, cards: dict[str, ScoreCard]
) -> None:
    for names in (["c.mp4", "a.mp4"], ["b.mp4"]):
        for card in scorer.score_all([folder / name for name in names]):
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
    encoder = Encoder(SETTINGS)
    cache = CacheSettings(
        path=str(tmp_path / "features"), stage="", rows_per_shard=4, dtype=request.param
    )
    store = FeatureStore.create(cache.path, encoder.identity, encoder.shapes, cache)
    store.plan(dataset.ids)
    extractor = Extractor(store, SETTINGS, dataset.root)
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
    cards = scorer_of(checkpoint).score_all([video.path for video in dataset])
    for video, card in zip(dataset, cards, strict=True):
        for dimension, rating in card.ratings.items():
            row = table.loc[(video.id, dimension)]
            assert rating.score == pytest.approx(row["prediction"], abs=1e-5)
            assert rating.level == row["prediction_text"]


def test_load_gives_a_typed_card(folder: Path, cards: dict[str, ScoreCard]) -> None:
    card = finevq.load(folder / "checkpoint").score(folder / "b.mp4")
    assert numbers(card) == pytest.approx(numbers(cards["b.mp4"]), abs=1e-3)  # by a GPU, maybe
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
    card = scorer_of(checkpoint).score(folder / "a.mp4")
    assert card.ratings["overall"].percentile == 75
    assert card.ratings["blur"].percentile is None


def test_card_has_gauges_answers_and_pictures(folder: Path, cards: dict[str, ScoreCard]) -> None:
    card = cards["a.mp4"]
    page = card_html(card, "a<b>.mp4", {})
    assert "<h1>a&lt;b&gt;.mp4</h1>" in page
    assert page.count('class="gauge"') == 6
    assert page.count("data:image/jpeg;base64,") == 5
    assert f"{card.ratings['blur'].score:.2f}</strong>" in page
    assert "cannot say where this video stands" in page
    assert "default-src 'none'" in page
    assert "<script" not in page


def test_thumbnails_keep_the_shape_of_the_video(folder: Path) -> None:
    (url,) = thumbnails(folder / "a.mp4", 1)
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert image.size == (216, 144)  # of 96 x 64
    assert thumbnails(folder / "broken.mp4", 1) == []


def test_served_card_has_pictures_of_the_upload(folder: Path, scorer: Scorer) -> None:
    with Server(("127.0.0.1", 0), scorer.score, limit=10**6, facts={}) as server:
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
        scorer_of(tmp_path / "other")


def test_the_features_are_the_checkpoints_and_the_way_to_them_the_users(folder: Path) -> None:
    changes = ("spatial.frames=3", "decode.processes=2", "decode.timeout_s=5", "device=cpu")
    changes += ("decode.damaged=score", "decode.decoder=decord")
    settings = load_config(None, [f"extract.{change}" for change in changes])[0].extract
    found = Scorer(folder / "checkpoint", settings, device="cpu").settings
    assert found.spatial.frames == SETTINGS.spatial.frames
    assert found.motion == SETTINGS.motion
    decode = settings.decode.model_copy(update={"decoder": "pyav"})  # as of the training
    assert (found.decode, found.device) == (decode, "cpu")


def test_damaged_video_is_rated_if_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "c.mp4").read_bytes())
    quarter = len(content) // 4
    content[2 * quarter : 3 * quarter] = bytes(quarter)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    changes = [f"extract.{change}" for change in (*SMALL, "decode.damaged=score")]
    lenient = Scorer(folder / "checkpoint", load_config(None, changes)[0].extract, device="cpu")
    card = lenient.score(damaged)
    assert card.error is None
    assert card.concealed + card.missing > 0
    assert str(card.damage).startswith(f"damaged: the decoder made up {card.concealed} frame")
    found = scorer_of(folder / "checkpoint").score(damaged)
    assert str(found.error).startswith("is damaged: ")


def test_a_checkpoint_of_before_damaged_videos_were_scored_is_read(
    folder: Path, tmp_path: Path
) -> None:
    checkpoint = shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    info = read_info(checkpoint)
    for key in ("damaged", "decoder"):
        del info.extract["decode"][key]
    write_info(info, checkpoint)
    assert Scorer(checkpoint, device="cpu").settings.decode == SETTINGS.decode


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_checkpoint_that_was_trained_on_a_gpu_is_used_without_one(
    folder: Path, tmp_path: Path
) -> None:
    checkpoint = shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    info = read_info(checkpoint)
    write_info(replace(info, extract=info.extract | {"device": "cuda"}), checkpoint)
    assert finevq.load(checkpoint).encoder.device.type == "cpu"


@pytest.mark.parametrize("command", [["score", "a.mp4"], ["serve"]])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--set", "nonsense.key=1"], "unknown key nonsense.key"),
        (["-c", "gone.toml"], "gone.toml: no such file"),
        pytest.param(
            ["--set", "train.device=cuda"],
            'train.device = "cuda": torch sees no GPU',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here"),
        ),
        pytest.param(
            ["--set", "extract.device=cuda"],
            'extract.device = "cuda": torch sees no GPU',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here"),
        ),
    ],
)
def test_the_configuration_counts_beside_a_named_checkpoint(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    given: list[str],
    message: str,
) -> None:
    checkpoint = f"--checkpoint={folder / 'checkpoint'}"
    assert cli.main([*command, checkpoint, *given]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("two", [["--json", "--html=a"], ["--out=a.csv", "--html=a"]])
def test_one_form_of_result_at_a_time(capsys: pytest.CaptureFixture[str], two: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["score", "a.mp4", *two])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_card_is_written_into_a_new_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "card.html"
    video = shutil.copy(folder / "a.mp4", tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    arguments = ["score", str(video), f"--checkpoint={folder / 'checkpoint'}"]
    assert cli.main([*arguments, f"--html={page}"]) == 0
    assert "<h1>caf?.mp4</h1>" in page.read_text("utf-8")
    assert cli.main([*arguments, f"--html={tmp_path}"]) == 2
    assert f"{tmp_path}: cannot be written: Is a directory" in capsys.readouterr().err


def test_lines_of_json_are_text_whatever_a_file_is_called(
    folder: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    video = shutil.copy(folder / "a.mp4", tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    arguments = ["score", str(video), f"--checkpoint={folder / 'checkpoint'}"]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["video"] == str(video)
    assert cli.main(arguments) == 0
    assert b"caf\xe9.mp4 (scores" in capsysbinary.readouterr().out


def test_a_port_that_cannot_be_is_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", f"--checkpoint={folder / 'checkpoint'}"]
    assert cli.main([*arguments, "--port=99999"]) == 2
    assert "cannot listen on 127.0.0.1:99999" in capsys.readouterr().err
    assert cli.main([*arguments, "--limit=0"]) == 2
    assert "--limit 0: " in capsys.readouterr().err
