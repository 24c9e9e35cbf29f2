import numpy as np
import pytest

from finevq.cache.arrays.quantise import dequantise, quantise
from finevq.cache.identity import Identity
from finevq.cache.records import Features, Source
from finevq.cache.settings import CacheSettings
from finevq.cache.store import FeatureStore
from finevq.cache.values import as_read


@pytest.mark.parametrize("scale", [1e-4, 1.0, 400.0])
def test_the_error_is_half_a_step(scale: float) -> None:
    rng = np.random.default_rng(0)
    tokens = (scale * rng.normal(size=(4, 5, 64))).astype(np.float32)
    codes, steps = quantise(tokens)
    assert codes.dtype == np.int8
    assert steps.shape == (4, 5)
    assert np.abs(codes).max(axis=-1).min() == 127
    error = np.abs(codes * steps[..., None] - tokens)
    assert (error <= 0.5001 * steps[..., None]).all()


def test_a_token_has_a_scale_of_its_own() -> None:
    tokens = np.stack([np.full(4, 1000.0), np.full(4, 0.001)])
    np.testing.assert_allclose(dequantise(*quantise(tokens)), tokens, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1e-45])
def test_tokens_too_small_for_a_scale_are_zero(value: float) -> None:
    restored = dequantise(*quantise(np.full((2, 3), value, np.float32)))
    np.testing.assert_array_equal(restored, 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_features_as_read_are_those_of_a_store(tmp_path, dtype) -> None:
    rng = np.random.default_rng(0)
    spatial, motion = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 8), (2, 5)))
    features = Features(spatial, motion, Source("a" * 64, 40, 25.0, 1.6, "pyav"))
    settings = CacheSettings(path="x", stage="", rows_per_shard=1, dtype=dtype)
    shapes = {"spatial": (2, 3, 8), "motion": (2, 5)}
    store = FeatureStore.create(str(tmp_path / "store"), Identity({}), shapes, settings)
    store.plan(["a"])
    store.write_shard(0, {"a": features})
    for read, expected in zip(store.read("a"), as_read(features, dtype), strict=True):
        np.testing.assert_array_equal(read, expected)
        assert read.dtype == expected.dtype
