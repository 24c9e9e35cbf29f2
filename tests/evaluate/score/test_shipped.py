"""What ships: a small base, its backbones and a finished checkpoint, and when it is taken."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import ClassVar

import pytest

import finevq
from finevq.cli import main as cli
from finevq.cli import scoring
from finevq.config import load_config
from finevq.dataset.questions import LEVELS, level
from finevq.dataset.videos import DIMENSIONS
from finevq.errors import CheckpointError
from finevq.evaluate.pages.card import card_html
from finevq.evaluate.score.scorecard import Rating, Reply, ScoreCard
from finevq.evaluate.score.scorer import Scorer
from finevq.train.base.language_model import load_base
from finevq.train.model.checkpoint import SHIPPED, digest, read_info
from finevq.weights import SMALL

MOST_BYTES = 20_000_000
"""Of all that ships, so that the wheel stays small."""


def test_what_ships_is_whole_and_small() -> None:
    info = read_info(SHIPPED)
    assert (info.base, info.precision, info.full) == ("embedded", "float32", False)
    assert info.base_hash == load_base("embedded", "float32").hash
    assert info.mos_range == (0.0, 100.0)
    files = [path for path in SMALL.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".csv"}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_nothing_of_the_machine_that_made_it_ships() -> None:
    text = (SHIPPED / "checkpoint.json").read_text("utf-8")
    paths = [value for value in _strings(json.loads(text)) if value.startswith(("/", "~"))]
    assert paths == []


def _strings(tree: object) -> list[str]:
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in _strings(value)]
    if isinstance(tree, list):
        return [text for value in tree for text in _strings(value)]
    return [tree] if isinstance(tree, str) else []


def test_scorer_without_a_checkpoint_takes_the_one_that_ships(caplog) -> None:
    scorer = finevq.load()
    assert scorer.info == read_info(SHIPPED)
    assert scorer.facts["Model"].startswith("the small model that ships")
    assert scorer.facts["Checkpoint"].endswith(digest(SHIPPED)[:12])
    assert [record.message for record in caplog.records if "small one that ships" in record.message]
    caplog.clear()
    assert Scorer(SHIPPED).info == scorer.info
    assert not caplog.records


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path | None]:
    """The checkpoints that `finevq score` has loaded; no video is rated."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").touch()
    taken: list[Path | None] = []

    class Taken:
        def __init__(self, checkpoint: Path | None, *args: object, **more: object) -> None:
            taken.append(checkpoint)

        facts: ClassVar = {"Model": "a model", "Checkpoint": "its folder"}

        def score_all(self, videos: list[str]) -> list[ScoreCard]:
            return []

    monkeypatch.setattr("finevq.evaluate.score.scorer.Scorer", Taken)
    return taken


def test_command_takes_what_is_named_then_configured_then_trained_then_shipped(chosen) -> None:
    assert cli.main(["score", "clip.mp4"]) == 0
    assert cli.main(["score", "clip.mp4", "--set", "train.out=mine"]) == 0
    default = load_config()[0].train.out
    default.mkdir(parents=True)
    (default / "checkpoint.json").touch()
    assert cli.main(["score", "clip.mp4"]) == 0
    assert cli.main(["score", "clip.mp4", "--checkpoint", "named"]) == 0
    assert chosen == [None, Path("mine"), default, Path("named")]


def test_configured_checkpoint_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        Scorer(tmp_path / "mine")


def rating(score: float, word: str) -> Rating:
    apart = abs(LEVELS.index(word) - LEVELS.index(level(score / 100)))
    return Rating(score, word, dict.fromkeys(LEVELS, 0.2), score, None, apart)


@pytest.mark.parametrize(
    ("score", "word", "disagrees"),
    [(8.4, "excellent", True), (8.4, "bad", False), (19, "poor", False), (59, "bad", True)],
)
def test_card_says_where_word_and_score_disagree(score, word, disagrees) -> None:
    found = rating(score, word)
    assert found.disagrees == disagrees
    ratings = dict.fromkeys(DIMENSIONS, rating(90, "excellent")) | {"color": found}
    card = ScoreCard("clip.mp4", (0.0, 100.0), ratings)
    note = f"word and score disagree, the score means {level(score / 100)}"
    assert card_html(card, "clip", {}).count(note) == disagrees
    assert scoring._card_text(card).count(note) == disagrees


def test_card_says_how_many_frames_are_damaged() -> None:
    ratings = dict.fromkeys(DIMENSIONS, rating(90, "excellent"))
    sound = ScoreCard("clip.mp4", (0.0, 100.0), ratings)
    damaged = replace(sound, concealed=14, missing=1)
    note = "the decoder made up 14 frames, 1 frame missing"
    for card, count in ((sound, 0), (damaged, 1)):
        assert card_html(card, "clip", {}).count(note) == count
        assert scoring._card_text(card).count(note) == count


def test_card_begins_with_the_overall_score_and_says_what_is_seen() -> None:
    answers = {"noise": "Yes", "blur": "No"}
    replies = [Reply(f"yes-no {d}", a, {"Yes": 0.5, "No": 0.5}) for d, a in answers.items()]
    card = ScoreCard("a.mp4", (0.0, 100.0), dict.fromkeys(DIMENSIONS, rating(90, "excellent")))
    _, first, *_, last = scoring._card_text(replace(card, replies=replies)).splitlines()
    assert first.split()[0] == "overall"
    assert last == "  distortions seen: noise"
    assert scoring._card_text(card).endswith("distortions seen: none")
    page = card_html(card, "a.mp4", {})
    places = [page.index(f'<h3 class="dimension">{d}</h3>') for d in DIMENSIONS]
    assert min(places) == places[DIMENSIONS.index("overall")]


def test_card_says_which_model_rated_and_when() -> None:
    card = ScoreCard("a.mp4", (0.0, 100.0), dict.fromkeys(DIMENSIONS, rating(90, "excellent")))
    page = card_html(card, "a.mp4", {"Model": "<the> model"})
    assert "<dd>&lt;the&gt; model</dd>" in page
    assert f"<dd>{date.today()}</dd>" in page
