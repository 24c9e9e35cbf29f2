"""The card of one video: six gauges, words, answers and pictures on one self-contained page."""

from pathlib import Path

from ...errors import FineVQError
from ..score.scorecard import ScoreCard
from .page import template
from .thumbnails import thumbnails

PICTURES = 5
"""Thumbnails on a card."""


def write_card(path: Path, card: ScoreCard) -> None:
    """Write the card of a video that could be rated.

    Args:
        path: the HTML file to write; its folder is made if need be.
        card: one without an error. Its video is decoded once more, for the pictures.

    Raises:
        FineVQError: the file cannot be written.
    """
    page = card_html(card, Path(card.video).name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, "utf-8", "replace")  # the video's name need not be UTF-8
    except OSError as error:
        raise FineVQError(f"{path}: cannot be written: {error.strerror}") from error


def card_html(card: ScoreCard, title: str) -> str:
    """The card as a page, with `title` as the name of the video."""
    low, high = card.scale
    html: str = template("card.html", card.scale).render(
        card=card,
        title=title,
        pictures=thumbnails(card.video, PICTURES),
        digits=1 if high - low > 10 else 2,
        shares={
            name: min(100.0, max(0.0, 100 * (rating.score - low) / (high - low)))
            for name, rating in card.ratings.items()
        },
        has_percentiles=any(rating.percentile is not None for rating in card.ratings.values()),
    )
    return html + "\n"
