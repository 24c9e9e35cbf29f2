"""FineVQ: fine-grained video quality assessment over precomputed, verified features.

The stages are the packages `finevq.dataset`, `finevq.extract`, `finevq.cache`, `finevq.train` and
`finevq.evaluate`; the command line is `finevq` (or `python -m finevq`). From Python, a checkpoint
rates files, here the small one that ships:

    card = finevq.load().score("holiday.mp4")
    card.ratings["overall"].score
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .evaluate.score.scorer import Scorer

__version__ = "0.1.0"


def load(checkpoint: "str | Path | None" = None) -> "Scorer":
    """Load a checkpoint to rate video files with: `score(path)` gives a `ScoreCard`.

    Args:
        checkpoint: its folder; None for the small one that ships.

    Raises:
        CheckpointError: it is missing or damaged, or was trained on features that this
            installation cannot make.
    """
    from .evaluate.score.scorer import Scorer  # torch is loaded only when it is needed

    return Scorer(checkpoint)
