"""Tokenizers of base models, made from the files of the checkpoint; none of its code is run.

InternLM2's tokenizer is SentencePiece itself. Its BPE model could be rewritten as a list of merges
for a fast tokenizer, but some of the scores that order the merges are equal, and another order of
these gives other tokens for the same text.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Protocol

from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer

from ...errors import CheckpointError
from ...weights import Weights


class Tokenizer(Protocol):
    """The methods of a tokenizer that packing uses; those of transformers have them too."""

    def __len__(self) -> int:
        """The size of the vocabulary with all added tokens."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids; special tokens are recognised in the text, and added in front if asked for."""
        ...

    def decode(self, token_ids: list[int]) -> Any:
        """The text of token ids, a str; transformers' types also allow a list of texts."""
        ...


class InternLM2Tokenizer:
    """SentencePiece pieces between special tokens, which are split off first.

    White space beside a special token is kept, and no space is put in front of a text.
    """

    def __init__(
        self, pieces: SentencePieceProcessor, special: dict[str, int], begin: Sequence[int] = ()
    ) -> None:
        """Combine a SentencePiece model with the tokens that were added to it.

        Args:
            pieces: the model.
            special: id of each special token; a token with the id of a piece replaces it.
            begin: ids that stand in front of every text when special tokens are to be added.
        """
        self._pieces = pieces
        self._ids = special
        self._texts = {number: token for token, number in special.items()}
        self._begin = list(begin)
        longest_first = sorted(special, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def __len__(self) -> int:
        return max(self._pieces.get_piece_size(), *(number + 1 for number in self._texts))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        ids = self._begin.copy() if add_special_tokens else []
        for part in self._split.split(text):
            ids += [self._ids[part]] if part in self._ids else self._pieces.encode(part)
        return ids

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids, with a space beside each special token, as the original has it."""
        parts: list[str] = []
        for special, run in groupby(token_ids, key=self._texts.__contains__):
            if special:
                parts += [self._texts[number] for number in run]
            else:
                parts.append(self._pieces.decode(list(run)))
        return " ".join(parts)


def internlm2_tokenizer(weights: Weights) -> InternLM2Tokenizer:
    """The tokenizer of tokenizer.model and the special tokens of the JSON files beside it.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    path = weights.file("tokenizer.model")
    try:
        pieces = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged, not a SentencePiece model") from error
    settings = weights.json("tokenizer_config.json")
    special = {pieces.id_to_piece(i): i for i in (pieces.bos_id(), pieces.eos_id()) if i >= 0}
    try:
        for number, token in settings["added_tokens_decoder"].items():
            special[token["content"]] = int(number)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{weights.file('tokenizer_config.json')}: has no added_tokens_decoder of the form "
            '{"92543": {"content": "<|im_start|>"}}'
        ) from error
    begin = [pieces.bos_id()] if settings.get("add_bos_token", True) else []
    return InternLM2Tokenizer(pieces, special, begin)


def fast_tokenizer(weights: Weights) -> Tokenizer:
    """The tokenizer that transformers makes of the checkpoint's files.

    Raises:
        CheckpointError: a file is missing or damaged, or the tokenizer is code.
    """
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(weights.model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{weights.model}: its tokenizer cannot be read: {reason}") from error
    return tokenizer
