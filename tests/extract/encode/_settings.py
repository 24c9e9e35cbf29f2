"""Settings of the embedded backbones that encode a video in a moment."""

from finevq.config import load_config
from finevq.extract.settings import ExtractSettings

SMALL = ("spatial.frames=2", "motion.clips=1", "motion.size=32", "device=cpu")


def settings(*changes: str) -> ExtractSettings:
    """Small settings of the embedded backbones, and changes to them."""
    changes = tuple(f"extract.{change}" for change in SMALL + changes)
    return load_config(None, changes)[0].extract
