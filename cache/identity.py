"""What a store's features were made with: settings, weight hashes, code versions."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_HASH = re.compile(r"[0-9a-f]{16,}")
_ABSENT = "absent"


@dataclass(frozen=True)
class Identity:
    """All settings, weights and code versions that decide the values of a video's features.

    Two identities are equal when their digests are.

    Attributes:
        content: Nested dict of JSON values; tuples become lists. It must not be changed afterwards.
        digest: SHA-256, in hex, of the canonical JSON of `content`.

    Raises:
        TypeError: `content` holds something that JSON cannot.
        ValueError: `content` holds NaN or an infinity.
    """

    content: dict[str, Any] = field(compare=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        text = canonical_json(self.content)
        # Through JSON once: a fresh identity then holds the same types as one read from store.json.
        object.__setattr__(self, "content", json.loads(text))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def difference(self, other: "Identity") -> list[str]:
        """Say in which values this identity, the store's, differs from the one asked for.

        Returns:
            One line a value, `spatial.weights: 3fa2c1.. in the store, 91bc02.. asked for`, in
            alphabetical order; empty when the two are equal.
        """
        return differing_lines(self.content, other.content)


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def differing_lines(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return one line for each dotted key whose value differs between two nested dicts."""
    stored_leaves, asked_leaves = dict(_leaves(stored)), dict(_leaves(asked))
    return [
        f"{key}: {_short(stored_leaves.get(key, _ABSENT))} in the store, "
        f"{_short(asked_leaves.get(key, _ABSENT))} asked for"
        for key in sorted(stored_leaves.keys() | asked_leaves.keys())
        if stored_leaves.get(key) != asked_leaves.get(key)
    ]


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each dotted key with its value as JSON text, as 1 and 1.0 have different digests."""
    for key, child in value.items():
        if isinstance(child, Mapping) and child:
            yield from _leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", canonical_json(child)


def _short(text: str) -> str:
    bare = text.strip('"')
    return f"{bare[:6]}.." if _HASH.fullmatch(bare) else bare
