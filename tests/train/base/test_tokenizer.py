"""Tokenizers: the ids are those of SentencePiece itself, whatever stands around special tokens."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from finevq.errors import CheckpointError
from finevq.train.base.tokenizer import (
    InternLM2Tokenizer,
    fast_tokenizer,
    internlm2_tokenizer,
)
from finevq.weights import Weights

from .._published import ADDED, write_internvl2

SPACES = " \t\n\u3000\u00a0"
TEXT = st.text(
    st.sampled_from(f"aeiou qualtyvidofs.?,1{SPACES}")
    | st.sampled_from("你是由上海，。！Ａ")  # noqa: RUF001
    | st.characters(exclude_characters="<>|/[]", exclude_categories=["Cs"]),
    max_size=30,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("internlm2")
    write_internvl2(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> InternLM2Tokenizer:
    return internlm2_tokenizer(Weights(str(folder)))


@pytest.fixture(scope="module")
def pieces(folder: Path) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(parts=st.lists(TEXT | st.sampled_from(ADDED), max_size=8))
def test_ids_are_those_of_sentencepiece_between_special_tokens(
    tokenizer: InternLM2Tokenizer, pieces: SentencePieceProcessor, folder: Path, parts: list[str]
) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    special = {t["content"]: int(n) for n, t in config["added_tokens_decoder"].items()}
    joined: list[str] = []  # two texts side by side are one text
    for part in parts:
        if joined and part not in special and joined[-1] not in special:
            joined[-1] += part
        else:
            joined.append(part)
    expected = [
        number
        for part in joined
        for number in ([special[part]] if part in special else pieces.encode(part))
    ]
    assert tokenizer.encode("".join(parts), add_special_tokens=False) == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=TEXT)
def test_decoding_gives_the_text_back(tokenizer: InternLM2Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_space_before_a_special_token_stays_a_piece_of_its_own(
    tokenizer: InternLM2Tokenizer, pieces: SentencePieceProcessor
) -> None:
    ids = tokenizer.encode("Frame1: <img>  <img>\n", add_special_tokens=False)
    image = tokenizer.encode("<img>", add_special_tokens=False)[0]
    assert ids.count(image) == 2
    before = ids[ids.index(image) - 1]
    assert pieces.id_to_piece(before) == "▁"
    # Decoding puts a space beside each special token, as transformers does with the original.
    assert tokenizer.decode(ids) == "Frame1:  <img>    <img> \n"


def test_special_tokens_replace_unused_pieces(tokenizer: InternLM2Tokenizer) -> None:
    assert tokenizer.encode("<|im_end|><|im_start|>", add_special_tokens=False) == [3, 4]
    assert tokenizer.decode([4, 3]) == "<|im_start|> <|im_end|>"
    assert len(tokenizer) == 524


@pytest.mark.parametrize(("adds", "begin"), [(None, [1]), (True, [1]), (False, [])])
def test_begin_token_is_added_when_asked_for(
    tmp_path: Path, adds: bool | None, begin: list[int]
) -> None:
    write_internvl2(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    setting = {} if adds is None else {"add_bos_token": adds}
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    tokenizer = internlm2_tokenizer(Weights(str(tmp_path)))
    assert tokenizer.encode("") == begin
    assert tokenizer.encode("", add_special_tokens=False) == []


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    write_internvl2(tmp_path)
    weights = Weights(str(tmp_path))
    (tmp_path / "tokenizer.model").write_bytes(b"\x00 not a model")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: damaged"):
        internlm2_tokenizer(weights)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: missing"):
        internlm2_tokenizer(weights)


@pytest.mark.parametrize("content", ["{}", '{"added_tokens_decoder": {"one": {"content": "a"}}}'])
def test_settings_without_added_tokens_are_refused(tmp_path: Path, content: str) -> None:
    write_internvl2(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: has no added_tokens"):
        internlm2_tokenizer(Weights(str(tmp_path)))


def test_fast_tokenizer_without_files_is_refused_in_one_line(tmp_path: Path) -> None:
    write_internvl2(tmp_path)
    for file in ("tokenizer.model", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(CheckpointError, match="its tokenizer cannot be read") as caught:
        fast_tokenizer(Weights(str(tmp_path)))
    assert "\n" not in str(caught.value)
