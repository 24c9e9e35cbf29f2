import math

import pytest

from finevq.cache.identity import Identity

OURS = {"spatial": {"weights": "3fa2c1" + "0" * 58, "frames": 8}, "code": 1}


def test_digest_ignores_the_order_of_keys() -> None:
    assert Identity({"a": 1, "b": 2}) == Identity({"b": 2, "a": 1})


def test_digest_is_a_known_value() -> None:
    # sha256 of '{"a":1}': a change of this value makes every store on disk unusable.
    digest = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert Identity({"a": 1}).digest == digest


def test_tuples_are_lists_as_in_store_json() -> None:
    assert Identity({"size": (448, 448)}).content == {"size": [448, 448]}
    assert Identity({"size": (448, 448)}) == Identity({"size": [448, 448]})


def test_equal_identities_do_not_differ() -> None:
    assert Identity(OURS).difference(Identity(OURS)) == []


def test_difference_names_dotted_keys_and_shortens_hashes() -> None:
    asked = {"spatial": {"weights": "91bc02" + "f" * 58, "frames": 4}, "code": 1}
    assert Identity(OURS).difference(Identity(asked)) == [
        "spatial.frames: 8 in the store, 4 asked for",
        "spatial.weights: 3fa2c1.. in the store, 91bc02.. asked for",
    ]


def test_difference_shows_keys_that_one_side_lacks() -> None:
    assert Identity({"a": {"old": "x"}}).difference(Identity({"a": {"new": None}})) == [
        "a.new: absent in the store, null asked for",
        "a.old: x in the store, absent asked for",
    ]


@pytest.mark.parametrize(
    ("stored", "asked"), [({"a": 1}, {"a": 1.0}), ({"a": {}}, {}), ({"a": True}, {"a": 1})]
)
def test_other_digests_always_show_a_difference(stored: dict, asked: dict) -> None:
    assert Identity(stored).digest != Identity(asked).digest
    assert Identity(stored).difference(Identity(asked))


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Identity({"a": math.nan})
