"""Fitting the score head alone: it learns, and nothing else changes."""

import pytest
import torch
from torch import Tensor

from finevq.dataset.videos import DIMENSIONS
from finevq.train.fit.probe import fit_score_head
from finevq.train.fit.reading import Collator, Samples, Source
from finevq.train.model.finevq import FineVQ
from finevq.train.model.packing import Packer

from .._made import model_of

CPU = torch.device("cpu")


def fitted(dataset, store, info, *, epochs: int) -> tuple[FineVQ, dict[str, Tensor], Samples]:
    """A model after the fit, its weights before, and the samples it was fitted to."""
    model, packer = model_of(info)
    samples = Samples(store, [Source(dataset, list(dataset), {})], packer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_score_head(model, samples, Collator(packer), epochs=epochs, device=CPU)
    return model, before, samples


def score_loss(model: FineVQ, packer: Packer, samples: Samples) -> float:
    with torch.no_grad():
        batch = Collator(packer)(list(samples))
        del batch["samples"]
        return float(model.eval()(**batch).score_loss)


def test_the_loss_falls_and_nothing_but_the_head_changes(
    make_dataset, make_store, made_info
) -> None:
    dataset = make_dataset({"train": 6})
    store = make_store(dataset.ids)
    model, before, samples = fitted(dataset, store, made_info, epochs=60)
    untrained, packer = model_of(made_info)
    assert score_loss(model, packer, samples) < 0.5 * score_loss(untrained, packer, samples)
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {f"score_head.{name}" for name in model.score_head.state_dict()}


def test_no_passes_leave_the_head_as_it_is(make_dataset, make_store, made_info) -> None:
    dataset = make_dataset({"train": 2})
    model, before, _ = fitted(dataset, make_store(dataset.ids), made_info, epochs=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dimension", ["color", "overall"])
def test_a_missing_label_is_left_out(make_dataset, make_store, made_info, dimension: str) -> None:
    labels = {f"train{n}.mp4": dict.fromkeys(DIMENSIONS, 50.0) for n in range(3)}
    for row in labels.values():
        del row[dimension]
    dataset = make_dataset({"train": 3}, labels=labels)
    model, _, _ = fitted(dataset, make_store(dataset.ids), made_info, epochs=1)
    assert all(tensor.isfinite().all() for tensor in model.score_head.state_dict().values())
