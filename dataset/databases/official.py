"""The JSON lines of the official FineVQ and FineVD data: scores, yes-or-no and which questions."""

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
"""The options of the "which" questions: the official Chinese files and what they mean."""

SPELLING = {
    "gussian noise": "gaussian noise",
    "guassian blur": "gaussian blur",
    "sqaure artifact": "square artifact",
    "other tempporal distortion": "other temporal distortion",
}
"""Options that the official English files misspell, so that both languages agree."""

_OPTION = re.compile(r"([A-Z]):\[([^\]]*)\]")


@dataclass
class Official:
    """What the files hold, by the video's name.

    Attributes:
        labels: MOS from 0 to 100 by dimension.
        questions: lines for questions.jsonl, as objects.
        parts: train, val or test, from the name of the file that a video stands in.
        rows: objects of each file.
        notes: what was mended, and what contradicts itself.
    """

    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_official(paths: list[Path]) -> Official:
    """Read official files; a video in several gets all of their labels and questions.

    Byte-order marks are taken out of names, Chinese options become English, misspelt ones are
    mended; a question that two files ask in the two languages is kept once.

    Raises:
        DatasetError: a line in another layout, two MOS or two answers for the same thing, or a
            video in two parts.
    """
    found = Official()
    mended: Counter[str] = Counter()
    answers: dict[tuple[str, str], str] = {}
    for path in paths:
        part = next((p for p in ("train", "val", "test") if p in re.split(r"[_.-]", path.stem)), "")
        found.rows[path.name] = 0
        for place, entry in _entries(path):
            found.rows[path.name] += 1
            video, text, answer = _parsed(place, entry, mended)
            found.labels.setdefault(video, {})
            if part and found.parts.setdefault(video, part) != part:
                raise DatasetError(f"{place}: {video!r} is in {part} and in {found.parts[video]}")
            dimension = rated_dimension(text)
            if dimension:
                _add_score(found, place, video, dimension, entry.get("mos"), answer, mended)
            elif answers.setdefault((video, text), answer) != answer:
                raise DatasetError(f"{place}: {video!r} has two answers to the same question")
            else:
                found.questions.append(_question(video, text, answer))
    before = len(found.questions)
    unique = {(q["video"], q["conversations"][0]["value"]): q for q in found.questions}
    found.questions = list(unique.values())
    mended["questions asked in both languages were kept once"] = before - len(unique)
    found.notes = [f"{count} {what}" for what, count in sorted(mended.items()) if count]
    return found


def _entries(path: Path) -> Any:
    """The objects of a file, each with its place for messages."""
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


def _parsed(place: str, entry: Any, mended: Counter[str]) -> tuple[str, str, str]:
    """Video, question and answer of an object, mended."""
    try:
        human, ai = entry["conversations"]
        video, text, answer = str(entry["video"]), human["value"], ai["value"].strip()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{place}: not in the official layout ({type(error).__name__}: {error})"
        ) from error
    if "\ufeff" in video:
        mended["byte-order marks taken out of names"] += 1
        video = video.replace("\ufeff", "")
    text = text.removeprefix("<|video|>").strip()
    return video, _OPTION.sub(lambda option: _english(option, mended), text), answer


def _english(option: re.Match[str], mended: Counter[str]) -> str:
    letter, words = option.groups()
    if words in ENGLISH:
        mended["Chinese options put into English"] += 1
    elif words in SPELLING:
        mended["misspelt options mended"] += 1
    return f"{letter}:[{ENGLISH.get(words) or SPELLING.get(words) or words}]"


def _add_score(
    found: Official,
    place: str,
    video: str,
    dimension: str,
    mos: Any,
    answer: str,
    mended: Counter[str],
) -> None:
    if not isinstance(mos, int | float) or not 0 <= mos <= 100:
        raise DatasetError(f"{place}: the rating of {video!r} has the mos {mos!r}, not 0 to 100")
    if found.labels[video].setdefault(dimension, float(mos)) != mos:
        raise DatasetError(f"{place}: {video!r} has two MOS in {dimension}")
    if level(mos / 100) not in answer:
        mended["level words that are not that fifth of [0, 100]; levels are made from the MOS"] += 1


def _question(video: str, text: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": text}, {"from": "ai", "value": answer}]
    return {"video": video, "conversations": turns}
