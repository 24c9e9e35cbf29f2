"""The sentences of the paper's question set (section 3.2, appendix B.2), in the official words."""

from collections.abc import Mapping, Sequence

from ..questions import LEVELS, level
from ..videos import DISTORTION_DIMENSIONS

SEVERITY_DIMENSIONS = ("noise", "artifact", "blur")
"""The dimensions that are rated by severity."""

SEVERITIES = ("severe", "strong", "mild", "slight", "undistorted")
"""The words for severity, worst first; the other dimensions have `LEVELS` (paper, section 3.2)."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "color": (
        "low saturation",
        "high saturation",
        "over dark",
        "over bright",
        "low contrast ratio",
        "high contrast ratio",
        "other color distortion",
    ),
    "noise": ("gaussian noise", "pulse noise", "stripe noise", "moire pattern", "other noise"),
    "artifact": ("compression artifact", "square artifact", "ring artifact", "other artifact"),
    "blur": (
        "resolution blur",
        "shooting system blur",
        "exposure blur",
        "gaussian blur",
        "motion blur",
        "compression blur",
        "other blur",
    ),
    "temporal": ("shaking", "flickering", "lagging", "other temporal distortion"),
}
"""The attributes of the official files, by dimension."""

NO_ATTRIBUTE = "None"
"""The option of "which exists" for a video without any distortion."""

GOOD_QUALITY = "Video quality is good"
"""The option of "which most" for a video without any distortion."""


def level_word(dimension: str, unit: float) -> str:
    """The level word of a dimension for a score in [0, 1]: five equal steps."""
    word = level(unit)
    return SEVERITIES[LEVELS.index(word)] if dimension in SEVERITY_DIMENSIONS else word


def yes_no_question(dimension: str) -> str:
    """Whether a video is distorted in a dimension."""
    subject = f"{dimension} distortion" if dimension in ("color", "temporal") else dimension
    return (
        f"If there is no {subject} in the video, please answer [No]. "
        f"If there is {subject} in the video, please answer [Yes]."
    )


def which_exists_question(options: Sequence[str]) -> str:
    """Which of these attributes a video has."""
    return (
        f"Please select one distortion type from below options{_lettered(options)}"
        "Just answer the corresponding letter."
    )


def which_most_question(options: Sequence[str]) -> str:
    """Which of these dimensions matters most for the quality of a video."""
    return (
        "Which distortion dimension has the greatest impact on video quality, choose from the "
        f"following options{_lettered(options)}(Just answer the corresponding letter)"
    )


def letter_of(option: str, options: Sequence[str]) -> str:
    """The letter that an option has in a "which" question."""
    return _LETTERS[options.index(option)]


_LETTERS = "ABCDEFGH"


def _lettered(options: Sequence[str]) -> str:
    """The options as `{A:[...], B:[...]}`."""
    text = ", ".join(f"{_LETTERS[place]}:[{name}]" for place, name in enumerate(options))
    return f"{{{text}}}"


def level_question(dimension: str) -> str:
    """How good a video is in a dimension or overall."""
    if dimension == "overall":
        return "How would you rate the overall quality of this video?"
    return f"Considering the {dimension} dimension, how would you rate the quality of this video?"


def level_answer(dimension: str, unit: float) -> str:
    """The answer to `level_question` for a score in [0, 1]."""
    word = level_word(dimension, unit)
    if dimension == "overall":
        return f"The overall quality of the video is {word}."
    return f"The {_rated(dimension)} of this video is {word}."


def describe_quality(units: Mapping[str, float], attributes: Mapping[str, Sequence[str]]) -> str:
    """One sentence: the overall level, then each dimension with its level and attributes.

    Args:
        units: scores in [0, 1] by dimension, for those that have one.
        attributes: by dimension, for all five of `DISTORTION_DIMENSIONS`.
    """
    parts = []
    for dimension in DISTORTION_DIMENSIONS:
        if dimension in units:
            word = level_word(dimension, units[dimension])
            listed = f" ({', '.join(attributes[dimension])})" if attributes[dimension] else ""
            parts.append(f"{word.replace('undistorted', 'no visible')} {_rated(dimension)}{listed}")
    start = "This video"
    if "overall" in units:
        start = f"The overall quality of this video is {level_word('overall', units['overall'])}"
    if not parts:
        return f"{start}."
    joined = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return f"{start}, with {joined}." if "overall" in units else f"{start} has {joined}."


def _rated(dimension: str) -> str:
    """What the level of a dimension is a level of: "blur", but "color quality"."""
    return dimension if dimension in SEVERITY_DIMENSIONS else f"{dimension} quality"
