"""How a run goes: losses, questions and tokens a second, the share of waiting, use of the GPU."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..model.finevq import FineVQ

LOG = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with the number of finished steps, their total, and a line on how the run goes."""

PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A6000": 155e12,
    "4090": 165e12,
}
"""Dense bfloat16 operations a second, by the makers' data sheets; MFU is a share of them."""


@dataclass
class Meter:
    """Counts questions, tokens and losses of one process; of several each counts its own share.

    Attributes:
        flops_per_token: operations of a training step a token, see the function of that name.
        peak: operations a second of the device, None where that is not known.
        processes: number of processes of the run; each is taken to be as fast as this one.
        questions: answered since the meter was started.
        tokens: read since then.
        waited: seconds spent waiting for data since then. A GPU that still computes meanwhile
            waits for less.
        loss: loss of the step, as far as its forward passes are done.
        started: time at which the meter was started.
    """

    flops_per_token: float
    peak: float | None
    processes: int = 1
    questions: int = 0
    tokens: int = 0
    waited: float = 0.0
    loss: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    _loss_sums: dict[str, float] = field(default_factory=dict)
    _summed_from: int = 0

    def add_batch(self, batch: dict[str, Tensor]) -> None:
        """Count the questions and tokens of a batch of `finevq.train.model.packing.collate`."""
        self.questions += int((batch["decisions"] >= 0).sum())
        self.tokens += int((batch["segments"] >= 0).sum())

    def add_losses(self, loss: float, language: Tensor, score: Tensor) -> None:
        """Add a forward pass: its shares in the step's loss and in the two parts of that."""
        self.loss += self.processes * loss
        for name, value in (("language_loss", language), ("score_loss", score)):
            self._loss_sums[name] = self._loss_sums.get(name, 0.0) + self.processes * float(value)

    def mean_losses(self, step: int) -> dict[str, float]:
        """Means of the two losses over the steps from the last call of this up to `step`."""
        steps = max(step - self._summed_from, 1)
        means = {name: total / steps for name, total in self._loss_sums.items()}
        self._loss_sums, self._summed_from = {}, step
        return means

    def rates(self) -> dict[str, float]:
        """Rates since the meter was started, by the names that trackers show."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        rates = {
            "questions_per_s": self.processes * self.questions / seconds,
            "tokens_per_s": self.processes * self.tokens / seconds,
            "waiting": self.waited / seconds,
        }
        if self.peak is not None:
            rates["mfu"] = self.tokens * self.flops_per_token / seconds / self.peak
        return rates

    def restart(self) -> None:
        """Start anew, so that what was not training does not count."""
        self.questions = self.tokens = 0
        self.waited, self.started = 0.0, time.perf_counter()

    def line(self) -> str:
        """The rates as text."""
        rates = self.rates()
        text = (
            f"{rates['questions_per_s']:.1f} questions/s, {rates['tokens_per_s']:.0f} tokens/s, "
            f"{rates['waiting']:.1%} waiting for data"
        )
        return text + (f", MFU {rates['mfu']:.0%}" if "mfu" in rates else "")


class Reporter(TrainerCallback):
    """Calls a run's `Progress` after every step, and writes losses and rates to the log."""

    def __init__(self, meter: Meter, progress: Progress) -> None:
        self.meter = meter
        self.progress = progress
        self.srcc: float | None = None
        self.first_step = 0
        self.started = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock at the run's first step in this process."""
        self.first_step, self.started = state.global_step, time.perf_counter()
        self.meter.mean_losses(state.global_step)
        self.meter.restart()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write losses, rates and the validation SRCC to the log."""
        logs: dict[str, float] = kwargs.get("logs") or {}
        if not state.is_world_process_zero:
            return
        if "eval_srcc" in logs:
            self.srcc = logs["eval_srcc"]
            LOG.info("epoch %.2f: validation SRCC %.4f", state.epoch, self.srcc)
        elif "loss" in logs:
            done = max(state.global_step - self.first_step, 1)
            steps_left = state.max_steps - self.first_step - done
            left = (time.perf_counter() - self.started) / done * steps_left
            LOG.info(
                "epoch %.2f: training loss %.4f, %s, %d:%02d:%02d left",
                state.epoch,
                logs["loss"],
                self.meter.line(),
                left // 3600,
                left % 3600 // 60,
                left % 60,
            )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the meter anew: validation and saving are not training."""
        self.meter.restart()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Call the run's `Progress`."""
        if not state.is_world_process_zero:
            return
        srcc = "" if self.srcc is None else f", SRCC {self.srcc:.3f}"
        line = f"loss {self.meter.loss:.3f}{srcc}, {self.meter.line()}"
        self.progress(state.global_step, state.max_steps, line)


def flops_per_token(model: FineVQ, length: int) -> float:
    """Operations that a token of a training step needs, forward and backward.

    Two for each weight forward, two backward, and two more for a weight that trains; and causal
    attention, over half the sequence on average. Left out are the vocabulary (looking a word up
    multiplies nothing, and few tokens have their next one predicted), the projectors, and what
    gradient checkpointing computes twice.

    Args:
        model: the model whose language model reads the token.
        length: tokens of the sequence.
    """
    named = model.language_model.named_parameters()
    weights = [w for n, w in named if "embed_tokens" not in n and "lm_head" not in n]
    total = sum(weight.numel() for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    config = model.language_model.config
    attention = 2 * length * int(config.hidden_size) * int(config.num_hidden_layers)
    return 4.0 * total + 2.0 * trained + 3.0 * attention


def peak_of(device: torch.device, precision: str) -> float | None:
    """Operations a second of a device in bfloat16, None for one that is not in `PEAKS`."""
    if device.type != "cuda" or precision != "bfloat16":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)
