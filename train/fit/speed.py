"""How fast a run is: questions and tokens a second, the share of waiting, the use of the GPU."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..model.finevq import FineVQ

PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A6000": 155e12,
    "4090": 165e12,
}
"""Dense bfloat16 operations a second by the makers' data sheets, for what MFU is a share of."""


@dataclass
class Meter:
    """Counts what a process trains on; one of several counts its own share.

    Attributes:
        flops_per_token: operations of a training step, see `flops_per_token`.
        peak: operations a second of the device, None where it is not known.
        processes: of the run; each is taken to be as fast as this one.
        waited: seconds spent waiting for data. On a GPU that still computes meanwhile the device
            waits for less.
        loss: of the step, as far as its forward passes are done.
    """

    flops_per_token: float
    peak: float | None
    processes: int = 1
    questions: int = 0
    tokens: int = 0
    waited: float = 0.0
    loss: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    _learned: dict[str, float] = field(default_factory=dict)
    _asked: int = 0

    def count(self, batch: dict[str, Tensor]) -> None:
        """Take note of a batch, as `finevq.train.model.packing.collate` makes it."""
        self.questions += int((batch["decisions"] >= 0).sum())
        self.tokens += int((batch["segments"] >= 0).sum())

    def learn(self, loss: float, language: Tensor, score: Tensor) -> None:
        """Take note of a forward pass: the loss, and the two it is of; shares of the step's."""
        self.loss += self.processes * loss
        for name, value in (("language_loss", language), ("score_loss", score)):
            self._learned[name] = self._learned.get(name, 0.0) + self.processes * float(value)

    def losses(self, step: int) -> dict[str, float]:
        """The two losses, means over the steps since this was last asked, up to `step`."""
        steps = max(step - self._asked, 1)
        found = {name: total / steps for name, total in self._learned.items()}
        self._learned, self._asked = {}, step
        return found

    def rates(self) -> dict[str, float]:
        """What a run has done since it began, for people and trackers."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        found = {
            "questions_per_s": self.processes * self.questions / seconds,
            "tokens_per_s": self.processes * self.tokens / seconds,
            "waiting": self.waited / seconds,
        }
        if self.peak is not None:
            found["mfu"] = self.tokens * self.flops_per_token / seconds / self.peak
        return found

    def restart(self) -> None:
        """Begin anew, after something that is no training."""
        self.questions = self.tokens = 0
        self.waited, self.began = 0.0, time.perf_counter()

    def line(self) -> str:
        """The rates as text."""
        rates = self.rates()
        text = (
            f"{rates['questions_per_s']:.1f} questions/s, {rates['tokens_per_s']:.0f} tokens/s, "
            f"{rates['waiting']:.1%} waiting for data"
        )
        return text + (f", MFU {rates['mfu']:.0%}" if "mfu" in rates else "")


def flops_per_token(model: FineVQ, length: int) -> float:
    """Operations that a token of a training step needs, forward and backward.

    Two for each weight forward, two backward, and two more for one that trains; and attention,
    causal, over half the sequence on average. Left out are the vocabulary (looking a word up
    multiplies nothing, and few tokens have their next one predicted), the projectors, and what is
    computed twice.

    Args:
        model: whose language model reads the token.
        length: of the sequence.
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
