"""What is stored of features, in each dtype, and which of them are failures."""

import numpy as np
import pytest
import zarr

from finevq.cache.care.verify import verify
from finevq.cache.records import Features
from finevq.cache.store import FeatureStore

from . import _made
from .conftest import MakeStore


def test_features_that_are_all_zero_are_features(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(["demo/0.mp4"])
    like = _made.features("demo/0.mp4")
    black = Features(0 * like.spatial, 0 * like.motion, like.source)
    store.write_shard(0, {"demo/0.mp4": black})
    assert not store.read("demo/0.mp4")[0].any()
    assert list(verify(store)) == []


def test_plain_zarr_reads_the_arrays(full_store: FeatureStore) -> None:
    group = zarr.open_group(f"{full_store.url}/tokens.zarr", mode="r")
    spatial = group["spatial"]
    assert isinstance(spatial, zarr.Array)
    assert (spatial.shape, spatial.chunks, spatial.shards) == (
        (8, 2, 3, 8),
        (1, 2, 3, 8),
        (4, 2, 3, 8),
    )
    np.testing.assert_array_equal(spatial[5], full_store.read("demo/5.mp4")[0])
    assert np.isnan(spatial[2]).all()  # failed
    assert np.isnan(spatial[7]).all()  # never planned


def test_float16_overflow_is_a_failure_that_names_the_cure(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(["demo/0.mp4", "demo/1.mp4"])
    big = _made.features("demo/0.mp4", scale=1e6)
    store.write_shard(0, {"demo/0.mp4": big, "demo/1.mp4": _made.features("demo/1.mp4")})
    record = store.records()["demo/0.mp4"]
    assert record.reason == "float16 overflow: store with cache.dtype = 'float32' (spatial)"
    assert record.source == big.source  # the file itself is sound
    assert store.records()["demo/1.mp4"].status == "ok"
    assert list(verify(store)) == []


def test_float32_store_holds_what_float16_cannot(make_store: MakeStore) -> None:
    store = make_store(dtype="float32")
    store.plan(["demo/0.mp4"])
    big = _made.features("demo/0.mp4", scale=1e6)
    store.write_shard(0, {"demo/0.mp4": big})
    np.testing.assert_array_equal(store.read("demo/0.mp4")[0], big.spatial)


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (np.nan, "float16", "NaN in the features (motion)"),
        (np.inf, "float16", "infinity in the features (motion)"),
        (-np.inf, "float32", "infinity in the features (motion)"),
        (-np.inf, "float16", "infinity in the features (motion)"),
        (-np.nan, "float32", "NaN in the features (motion)"),
        (-1e5, "float16", "float16 overflow: store with cache.dtype = 'float32' (motion)"),
        (1e300, "float32", "float32 overflow (motion)"),
    ],
)
def test_one_bad_value_is_a_failure(
    make_store: MakeStore, value: float, dtype: str, reason: str
) -> None:
    store = make_store(dtype=dtype)
    store.plan(["demo/0.mp4"])
    good = _made.features("demo/0.mp4")
    motion = good.motion.astype(np.float64)
    motion[-1, -1] = value
    store.write_shard(0, {"demo/0.mp4": Features(good.spatial, motion, good.source)})
    assert store.failures() == {"demo/0.mp4": reason}


def test_eight_bits_are_off_by_half_a_step_at_most(make_store: MakeStore) -> None:
    store = make_store(dtype="int8")
    _made.fill(store, _made.videos(3))
    spatial, motion = store.read("demo/1.mp4")
    given = _made.features("demo/1.mp4")
    assert spatial.dtype == motion.dtype == np.float16
    step = np.abs(given.spatial).max(axis=-1, keepdims=True) / 127
    rounding = np.abs(given.spatial) * 2**-11
    assert (np.abs(spatial - given.spatial) <= 0.5001 * step + rounding).all()
    np.testing.assert_array_equal(motion, given.motion.astype(np.float16))
    assert list(verify(store)) == []


def test_eight_bits_keep_zero_and_the_largest_value(make_store: MakeStore) -> None:
    store = make_store(dtype="int8")
    store.plan(["demo/0.mp4"])
    given = _made.features("demo/0.mp4")
    tokens = np.zeros_like(given.spatial)
    tokens[0, 0] = [-65504, 0, 0, 0, 0, 0, 0, 32752]
    tokens[0, 1, 0] = 1e-7
    store.write_shard(0, {"demo/0.mp4": Features(tokens, given.motion, given.source)})
    spatial, _ = store.read("demo/0.mp4")
    assert spatial[0, 0, [0, 1]].tolist() == [-65504, 0]
    assert not spatial[1].any()
    assert spatial[0, 1, 0] == np.float16(1e-7)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "NaN in the features (spatial)"),
        (1e5, "float16 overflow: store with cache.dtype = 'float32' (spatial)"),
    ],
)
def test_eight_bits_refuse_what_float16_refuses(
    make_store: MakeStore, value: float, reason: str
) -> None:
    store = make_store(dtype="int8")
    store.plan(["demo/0.mp4"])
    given = _made.features("demo/0.mp4")
    given.spatial[1, 2, 3] = value
    store.write_shard(0, {"demo/0.mp4": given})
    assert store.failures() == {"demo/0.mp4": reason}


def test_plain_zarr_reads_eight_bits(make_store: MakeStore) -> None:
    store = make_store(dtype="int8")
    _made.fill(store, _made.videos(3), failed=["demo/1.mp4"])
    group = zarr.open_group(f"{store.url}/tokens.zarr", mode="r")
    spatial, scale = np.asarray(group["spatial"]), np.asarray(group["spatial_scale"])
    tokens = (spatial * scale[..., None]).astype(np.float16)
    np.testing.assert_array_equal(tokens[2], store.read("demo/2.mp4")[0])
    assert np.isnan(tokens[1]).all()


def test_values_do_not_depend_on_memory_order(make_store: MakeStore) -> None:
    one, two = make_store("one"), make_store("two")
    _made.fill(one, ["demo/0.mp4"])
    two.plan(["demo/0.mp4"])
    given = _made.features("demo/0.mp4")
    turned = Features(np.asfortranarray(given.spatial), given.motion.astype(">f8"), given.source)
    two.write_shard(0, {"demo/0.mp4": turned})
    assert _made.files(one) == _made.files(two)
