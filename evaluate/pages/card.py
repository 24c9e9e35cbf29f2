"""The card of one video: six gauges, words, answers and pictures on one self-contained page."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from ...dataset.questions import LEVELS
from ...errors import FineVQError
from ..score.scorecard import ScoreCard
from .page import template
from .thumbnails import thumbnails

PICTURES = 5
"""Thumbnails on a card."""


def write_card(path: Path, card: ScoreCard, facts: Mapping[str, str]) -> None:
    """Write the card of a video that could be rated.

    Args:
        path: the HTML file to write; its folder is made if need be.
        card: one without an error. Its video is decoded once more, for the pictures.
        facts: what the card says of the model, by name.

    Raises:
        FineVQError: the file cannot be written.
    """
    page = card_html(card, Path(card.video).name, facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, "utf-8", "replace")  # the video's name need not be UTF-8
    except OSError as error:
        raise FineVQError(f"{path}: cannot be written: {error.strerror}") from error


def card_html(card: ScoreCard, title: str, facts: Mapping[str, str]) -> str:
    """The card as a page, with `title` as the name of the video; else as in `write_card`."""
    low, high = card.scale
    video = {} if card.seconds is None else {"Video": f"{card.seconds:.1f} s"}
    damage = {} if card.damage is None else {"Damage": card.damage.removeprefix("damaged: ")}
    html: str = template("card.html", card.scale).render(
        card=card,
        title=title,
        facts={**video, **damage},
        model={**facts, "Rated on": date.today().isoformat()},
        levels=LEVELS,
        pictures=thumbnails(card.video, PICTURES),
        shares={
            name: min(100.0, max(0.0, 100 * (rating.score - low) / (high - low)))
            for name, rating in card.ratings.items()
        },
        has_percentiles=any(rating.percentile is not None for rating in card.ratings.values()),
    )
    return html + "\n"
