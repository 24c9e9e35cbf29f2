import numpy as np
import pytest

from finevq.cache.care import statistics as module
from finevq.cache.care.statistics import statistics
from finevq.cache.store import FeatureStore

from .. import _made
from ..conftest import MakeStore

MOMENTS = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}


def expected(values: np.ndarray) -> dict[str, float]:
    values = values.astype(np.float64)
    found = {name: float(moment(values)) for name, moment in MOMENTS.items()}
    return found | {"zeros": float((values == 0).mean())}


@pytest.mark.parametrize("graph", [256, 2])
def test_statistics_are_those_of_the_videos_with_features(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch, graph: int
) -> None:
    monkeypatch.setattr(module, "GROUP_SIZE", 3)
    monkeypatch.setattr(module, "_ROWS_A_GRAPH", graph)
    found = statistics(full_store, 100)
    rows = [full_store.read(v) for v in _made.videos(7) if v != "demo/2.mp4"]
    assert found["videos"] == 6
    for place, name in enumerate(("spatial", "motion")):
        values = np.stack([row[place] for row in rows])
        groups = found[name].pop("groups")
        assert found[name] == pytest.approx(expected(values), rel=1e-5)
        last = values.shape[-1] - 1
        assert [group.pop("channels") for group in groups][-1] == [last - last % 3, last]
        for first, group in enumerate(groups):
            part = values[..., 3 * first : 3 * first + 3]
            assert group == pytest.approx(expected(part), rel=1e-5, abs=1e-6)


def test_zeros_are_counted(make_store: MakeStore) -> None:
    store = make_store()
    store.plan(["a"])
    given = _made.features("a")
    given.motion[0] = 0
    store.write_shard(0, {"a": given})
    assert statistics(store, 1)["motion"]["zeros"] == 0.5


def test_a_sample_is_spread_over_the_store(
    full_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    sound = FeatureStore.read

    def watched(self: FeatureStore, video: str) -> tuple[np.ndarray, np.ndarray]:
        read.append(video)
        return sound(self, video)

    monkeypatch.setattr(FeatureStore, "read", watched)
    assert statistics(full_store, 3)["videos"] == 3
    assert sorted(read) == ["demo/0.mp4", "demo/3.mp4", "demo/5.mp4"]


def test_a_store_without_features_has_none(make_store: MakeStore) -> None:
    store = make_store()
    assert statistics(store, 10) == {"videos": 0}
    _made.fill(store, _made.videos(2), failed=_made.videos(2))
    assert statistics(store, 10) == {"videos": 0}
