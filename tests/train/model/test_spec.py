"""How a checkpoint reads a video: written, read, and derived from what early versions wrote."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finevq.errors import CheckpointError
from finevq.train.model.checkpoint import SPEC_KEYS, CheckpointInfo, read_info, write_info
from finevq.train.model.spec import DEFAULT, Spec

OTHER = Spec(profile="official", final_relu=True, frames=1, clips=0)


@pytest.fixture
def file(made_info: CheckpointInfo, tmp_path: Path) -> Path:
    """The checkpoint.json of a checkpoint that reads videos in another way than by default."""
    write_info(replace(made_info, spec=OTHER), tmp_path)
    return tmp_path / "checkpoint.json"


def change(file: Path, *without: str, **changes: Any) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: content[key] for key in content if key not in without}))


def test_spec_is_read_as_it_was_written(file: Path) -> None:
    assert read_info(file.parent).spec == OTHER


def test_early_versions_find_the_keys_that_they_read(file: Path) -> None:
    content = json.loads(file.read_text())
    assert content["format"] == 2
    assert {key: content[key] for key in SPEC_KEYS} == content["spec"]


def test_checkpoint_of_an_early_version_has_its_keys_as_spec(file: Path) -> None:
    change(file, "spec")
    assert read_info(file.parent).spec == OTHER
    change(file, *SPEC_KEYS)  # before there were such keys, every checkpoint read by default
    assert read_info(file.parent).spec == DEFAULT


def test_spec_alone_is_enough(file: Path) -> None:
    change(file, *SPEC_KEYS)
    assert read_info(file.parent).spec == OTHER


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": 2},
        {"spec": {"profile": "official", "pool": 2}},
        {"spec": {"profile": "other"}},
        {"spec": None},
    ],
    ids=["differs from its keys", "unknown setting", "unknown wording", "null"],
)
def test_spec_that_cannot_be_followed_is_refused(file: Path, changes: dict[str, Any]) -> None:
    without = () if "frames" in changes else SPEC_KEYS
    change(file, *without, **changes)
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: damaged"):
        read_info(file.parent)


def test_spec_is_one_line_for_a_log() -> None:
    assert str(OTHER) == "official wording, a final ReLU in the score head, frames 1, clips 0"
    assert str(DEFAULT).startswith("finevq wording, no final ReLU in the score head, frames all")
