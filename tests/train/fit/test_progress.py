"""The meter: what is counted, and what a share of the peak means."""

import pytest
import torch

from finevq.train.fit import progress
from finevq.train.fit.progress import Meter, flops_per_token, peak_of
from finevq.train.model.checkpoint import CheckpointInfo
from finevq.train.model.packing import collate

from .._made import LAYOUT, PROMPTS, model_of


def test_meter_counts_questions_and_tokens_without_padding(
    made_info: CheckpointInfo, monkeypatch
) -> None:
    _, packer = model_of(made_info)
    packed = [packer.pack(LAYOUT, some, learn=True) for some in (PROMPTS, PROMPTS[:2])]
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    meter = Meter(flops_per_token=100.0, peak=1000.0)
    meter.restart()
    meter.add_batch(collate(packed, pad_id=packer.pad_id))
    meter.waited = 1.0
    tokens = sum(len(one.input_ids) for one in packed)
    assert meter.rates() == pytest.approx(
        {
            "questions_per_s": (len(PROMPTS) + 2) / 4,
            "tokens_per_s": tokens / 4,
            "waiting": 0.25,
            "mfu": tokens * 100 / 4 / 1000,
        }
    )


def test_losses_are_means_over_steps_of_what_their_passes_add_up_to() -> None:
    meter = Meter(flops_per_token=1.0, peak=None, processes=2)
    language, score = torch.tensor(0.5), torch.tensor(0.25)
    meter.mean_losses(10)  # a run that goes on after 10 steps
    for _ in range(2):  # steps
        meter.loss = 0.0
        for _ in range(3):  # passes
            meter.add_losses(1.0, language, score)
    assert meter.loss == 6.0
    assert meter.mean_losses(12) == {"language_loss": 3.0, "score_loss": 1.5}
    assert meter.mean_losses(13) == {}


def test_rates_are_those_of_all_processes(monkeypatch) -> None:
    monkeypatch.setattr(progress.time, "perf_counter", lambda: 4.0)
    one, two = (Meter(1.0, 8.0, n, questions=6, tokens=8, started=2.0) for n in (1, 2))
    assert (one.rates()["questions_per_s"], two.rates()["questions_per_s"]) == (3.0, 6.0)
    assert one.rates()["mfu"] == two.rates()["mfu"] == 0.5  # of each device


def test_operations_are_those_that_torch_counts(made_info: CheckpointInfo) -> None:
    """Of the language model alone; torch counts attention in full, the formula the causal half."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model, _ = model_of(made_info)
    length = 64
    config = model.language_model.config
    embedded = torch.randn(1, length, config.hidden_size, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        decoder = model.language_model.get_decoder()
        decoder(inputs_embeds=embedded, use_cache=False).last_hidden_state.sum().backward()
    expected = flops_per_token(model, 2 * length) * length
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)


def test_peak_is_known_for_a_gpu_in_bfloat16_alone(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    gpu = torch.device("cuda", 0)
    assert peak_of(gpu, "bfloat16") == 989e12
    assert peak_of(gpu, "float32") is None
    assert peak_of(torch.device("cpu"), "bfloat16") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce 256")
    assert peak_of(gpu, "bfloat16") is None
