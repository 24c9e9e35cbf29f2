"""The JSON lines of the official FineVQ and FineVD data: scores and both kinds of questions.

The flaws of the files are corrected here and counted: byte-order marks inside names, options that
are Chinese or misspelt, questions that stand in two files.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DatasetError
from ..questions import level, rated_dimension

ENGLISH = {
    "饱和度过低": "low saturation",
    "饱和度过高": "high saturation",
    "过暗": "over dark",
    "过亮": "over bright",
    "对比度不足": "low contrast ratio",
    "对比度过高": "high contrast ratio",
    "其他色彩失真": "other color distortion",
    "高斯噪声": "gaussian noise",
    "脉冲噪声": "pulse noise",
    "条纹噪声": "stripe noise",
    "摩尔纹": "moire pattern",
    "其他噪声": "other noise",
    "压缩伪影": "compression artifact",
    "块效应": "square artifact",
    "振铃效应": "ring artifact",
    "其他伪影": "other artifact",
    "分辨率模糊": "resolution blur",
    "拍摄系统模糊": "shooting system blur",
    "曝光模糊": "exposure blur",
    "高斯模糊": "gaussian blur",
    "运动模糊": "motion blur",
    "压缩模糊": "compression blur",
    "其他模糊": "other blur",
    "抖动": "shaking",
    "频闪": "flickering",
    "卡顿": "lagging",
    "其他时序失真": "other temporal distortion",
}
"""The options of the "which" questions in the official Chinese files, and in English."""

SPELLING = {
    "gussian noise": "gaussian noise",
    "guassian blur": "gaussian blur",
    "sqaure artifact": "square artifact",
    "other tempporal distortion": "other temporal distortion",
}
"""The options that the official English files misspell, and their right spelling."""

_OPTION = re.compile(r"([A-Z]):\[([^\]]*)\]")


@dataclass
class OfficialData:
    """The content of official files.

    Attributes:
        labels: MOS from 0 to 100, by the video's name and then by dimension.
        questions: lines for questions.jsonl, as objects.
        parts: train, val or test by the video's name, from the name of its file.
        rows: how many objects each file has.
        notes: what was corrected and what is inconsistent, a sentence each.
    """

    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_official(paths: list[Path]) -> OfficialData:
    """Read official files; a video that is in several gets all of their labels and questions.

    A question that one file asks in Chinese and another in English is kept once.

    Raises:
        DatasetError: a line is not in the official layout, a video is in two parts, or it has two
            different MOS in a dimension or two different answers to a question.
    """
    data = OfficialData()
    corrections: Counter[str] = Counter()
    answers: dict[tuple[str, str], str] = {}
    for path in paths:
        part = next((p for p in ("train", "val", "test") if p in re.split(r"[_.-]", path.stem)), "")
        data.rows[path.name] = 0
        for place, entry in _entries(path):
            data.rows[path.name] += 1
            video, text, answer = _parsed(place, entry, corrections)
            data.labels.setdefault(video, {})
            if part and data.parts.setdefault(video, part) != part:
                raise DatasetError(f"{place}: {video!r} is in {part} and in {data.parts[video]}")
            dimension = rated_dimension(text)
            if dimension:
                _add_score(data, place, video, dimension, entry.get("mos"), answer, corrections)
            elif answers.setdefault((video, text), answer) != answer:
                raise DatasetError(f"{place}: {video!r} has two answers to the same question")
            else:
                data.questions.append(_question(video, text, answer))
    before = len(data.questions)
    unique = {(q["video"], q["conversations"][0]["value"]): q for q in data.questions}
    data.questions = list(unique.values())
    corrections["questions asked in both languages were kept once"] = before - len(unique)
    data.notes = [f"{count} {what}" for what, count in sorted(corrections.items()) if count]
    return data


def _entries(path: Path) -> Any:
    """The objects of a file, each with its place in the file, for messages."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a UTF-8 file: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{path}, line {number}", json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{path}, line {number}: not JSON: {error}") from error


def _parsed(place: str, entry: Any, corrections: Counter[str]) -> tuple[str, str, str]:
    """Video, question and answer of an object, corrected."""
    try:
        human, ai = entry["conversations"]
        video, text, answer = str(entry["video"]), human["value"], ai["value"].strip()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{place}: not in the official layout ({type(error).__name__}: {error})"
        ) from error
    if "\ufeff" in video:
        corrections["byte-order marks taken out of names"] += 1
        video = video.replace("\ufeff", "")
    text = text.removeprefix("<|video|>").strip()
    return video, _OPTION.sub(lambda option: _english(option, corrections), text), answer


def _english(option: re.Match[str], corrections: Counter[str]) -> str:
    letter, words = option.groups()
    if words in ENGLISH:
        corrections["Chinese options put into English"] += 1
    elif words in SPELLING:
        corrections["misspelt options corrected"] += 1
    return f"{letter}:[{ENGLISH.get(words) or SPELLING.get(words) or words}]"


def _add_score(
    data: OfficialData,
    place: str,
    video: str,
    dimension: str,
    mos: Any,
    answer: str,
    corrections: Counter[str],
) -> None:
    if not isinstance(mos, int | float) or not 0 <= mos <= 100:
        raise DatasetError(f"{place}: the rating of {video!r} has the mos {mos!r}, not 0 to 100")
    if data.labels[video].setdefault(dimension, float(mos)) != mos:
        raise DatasetError(f"{place}: {video!r} has two MOS in {dimension}")
    if level(mos / 100) not in answer:
        corrections[
            "level words that are not those of the MOS in [0, 100]; levels are made from the MOS"
        ] += 1


def _question(video: str, text: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": text}, {"from": "ai", "value": answer}]
    return {"video": video, "conversations": turns}
