"""The dataset and the store of a small run."""

import pytest

from finevq.dataset.videos import Dataset

from ._runs import PARTS


@pytest.fixture
def dataset(make_dataset) -> Dataset:
    return make_dataset(PARTS)


@pytest.fixture
def store(dataset, make_store):
    return make_store(dataset.ids)
