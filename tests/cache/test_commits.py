import json
from typing import Any

import pytest

from finevq.cache.commits import commit_bytes, parse_commit
from finevq.cache.records import RowRecord, Source
from finevq.errors import StoreError

SOURCE = Source("ab" * 32, 240, None, None, "decord")
OK = RowRecord("demo/a.mp4", "ok", None, SOURCE, "00" * 16)
FAILED = RowRecord("demo/b.mp4", "failed", "no frames", None, None)


def test_round_trip() -> None:
    rows = {8: OK, 9: FAILED}
    assert parse_commit(commit_bytes(2, rows), 2, "here") == rows


def test_bytes_do_not_depend_on_the_order_of_rows() -> None:
    assert commit_bytes(2, {9: FAILED, 8: OK}) == commit_bytes(2, {8: OK, 9: FAILED})


def test_every_changed_byte_is_found() -> None:
    good = commit_bytes(2, {8: OK, 9: FAILED})
    survivors = []
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1
        try:
            parse_commit(bytes(damaged), 2, "here")
        except StoreError:
            continue
        survivors.append(chr(good[position]))
    assert survivors == []


@pytest.mark.parametrize("damaged", [b"", b"[]", b"{", b"{}", b"\xff", b'{"digest": ""}'])
def test_damage_is_an_error_that_names_the_file(damaged: bytes) -> None:
    with pytest.raises(StoreError, match=r"^here/000002\.json is damaged .*delete it and extract"):
        parse_commit(damaged, 2, "here/000002.json")


def test_truncation_is_found() -> None:
    good = commit_bytes(2, {8: OK})
    for length in range(len(good) - 2):
        with pytest.raises(StoreError):
            parse_commit(good[:length], 2, "here")


def test_commit_of_another_shard_is_refused() -> None:
    with pytest.raises(StoreError, match="it belongs to shard 3"):
        parse_commit(commit_bytes(3, {12: OK}), 2, "here")


@pytest.mark.parametrize(
    "change",
    [
        {"status": "failed"},
        {"status": "perhaps"},
        {"checksum": None},
        {"source": None},
        {"reason": "why"},
        {"video": 7},
        {"more": 1},
    ],
)
def test_impossible_records_are_refused(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finevq.cache.commits._digest", lambda body: "same")
    body = json.loads(commit_bytes(2, {8: OK}))
    body["rows"]["8"] |= change
    with pytest.raises(StoreError, match="is damaged"):
        parse_commit(json.dumps(body).encode(), 2, "here")


def test_commits_of_before_damaged_videos_were_scored_are_of_intact_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("finevq.cache.commits._digest", lambda body: "same")
    body = json.loads(commit_bytes(2, {8: OK}))
    for count in ("concealed", "missing"):
        assert body["rows"]["8"]["source"].pop(count) == 0
    assert parse_commit(json.dumps(body).encode(), 2, "here") == {8: OK}


@pytest.mark.parametrize("frames", ["240", 24.5, None])
def test_source_checks_its_types(frames: Any) -> None:
    with pytest.raises(ValueError, match="frames"):
        Source(sha256="ab" * 32, frames=frames, fps=30.0, seconds=8.0, decoder="decord")
