"""transformers.Trainer for FineVQ: exact losses on many devices, and saves of what is trained.

The two losses of a step are sums over all its forward passes and devices, divided by the numbers
of tokens and scores in all of them. So a step on 4 devices with 2 passes of 2 videos is the step of
one device with 16 videos, whatever the videos' numbers of questions and labels.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import get_available_reporting_integrations

from ...dataset.videos import DIMENSIONS
from ...errors import ConfigError, FineVQError
from ..model.finevq import FineVQ, loss_counts
from ..model.trained_weights import load_weights, save_weights
from ..settings import TrainSettings
from .progress import Meter, Progress, Reporter, flops_per_token, peak_of
from .reading import Collator, Samples

LOG = logging.getLogger(__name__)

FEWEST_LABELS = 3
"""A dimension with fewer labels on the validation part has no rank correlation that says much."""

LOGGED = 0.01
"""Share of a run's steps after which losses and rates are logged."""


class NonFiniteLoss(FineVQError):
    """The loss, or a gradient of it, became infinite or NaN."""


class FineVQTrainer(Trainer):
    """Trainer that saves and loads only what is trained; the base model stays where it is."""

    def __init__(
        self,
        model: FineVQ,
        settings: TrainSettings,
        samples: Samples,
        validation: Samples | None,
        progress: Progress,
    ) -> None:
        """Prepare a run.

        Args:
            model: on any device.
            settings: the training's.
            samples: to train on.
            validation: to choose the epoch by; with None the last epoch is kept.
            progress: is called after every step.

        Raises:
            ConfigError: a tracker or device that is not there.
        """
        super().__init__(
            model=model,
            args=arguments(settings, validate=validation is not None),
            train_dataset=samples,
            eval_dataset=validation,
            data_collator=Collator(samples.packer),
            compute_metrics=validation_srcc,
        )
        self.model_accepts_loss_kwargs = True  # the counts of a whole step, see compute_loss
        self.remove_callback(PrinterCallback)
        self.samples = samples
        self.projector_rate = settings.projector_rate
        self.step_samples: list[int] = []  # numbers of the samples in the current step
        length = len(samples[0].packed.input_ids)
        self.meter = Meter(
            flops_per_token(model, length),
            peak_of(self.args.device, settings.precision),
            self.accelerator.num_processes,
        )
        self.add_callback(Reporter(self.meter, progress))
        self.add_callback(_Saver(self, settings.save_every))
        if settings.patience and validation is not None:
            self.add_callback(EarlyStoppingCallback(settings.patience))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As Trainer makes it, with a learning rate of the projectors' own."""
        fresh = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        own = {id(weight) for part in self._finevq().projectors for weight in part.parameters()}
        for group in list(optimizer.param_groups) if fresh else []:
            weights = group["params"]
            group["params"] = [w for w in weights if id(w) not in own]
            optimizer.add_param_group(
                group
                | {
                    "params": [w for w in weights if id(w) in own],
                    "lr": group["lr"] * self.projector_rate,
                }
            )
        return optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The batches of a step on this device, and its loss counts on all devices."""
        began = time.perf_counter()
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.meter.waited += time.perf_counter() - began
        self.meter.loss, self.step_samples = 0.0, []
        for batch in batches:
            self.meter.add_batch(batch)
            self.step_samples += batch["samples"].tolist()
        if not batches:
            return batches, None
        counts = torch.stack([loss_counts(batch["labels"], batch["targets"]) for batch in batches])
        total: Tensor = self.accelerator.reduce(counts.sum(dim=0).to(device), "sum")
        return batches, total

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The share of one forward pass in the step's loss.

        Raises:
            NonFiniteLoss: it is infinite or NaN while training.
        """
        numbers, inputs = inputs["samples"], {k: v for k, v in inputs.items() if k != "samples"}
        if not model.training:
            output = model(**inputs)
            return (output.loss, output) if return_outputs else output.loss
        # Devices' gradients are averaged afterwards; the loss is a sum over them.
        output = model(**inputs, counts=num_items_in_batch)
        loss = output.loss * self.accelerator.num_processes
        value = float(output.loss.detach())
        if not np.isfinite(value):
            raise NonFiniteLoss(
                f"the loss became {value} in step {self.state.global_step + 1}, with the videos "
                f"{self.samples.names(numbers.tolist())}"
            )
        self.meter.add_losses(value, output.language_loss, output.score_loss)
        return loss

    def check_gradients(self) -> None:
        """Refuse a step that would make the weights infinite or NaN.

        Raises:
            NonFiniteLoss: a gradient is.
        """
        gradients = [w.grad for w in self._finevq().parameters() if w.grad is not None]
        if self.args.fp16 or torch.nn.utils.get_total_norm(gradients).isfinite():
            return  # in float16 Trainer leaves such a step out and lowers the gradients' scale
        raise NonFiniteLoss(
            f"a gradient became infinite or NaN in step {self.state.global_step + 1}, with the "
            f"videos {self.samples.names(self.step_samples)}"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the loss with the rates and the two losses beside it."""
        if "loss" in logs:
            logs = logs | self.meter.rates() | self.meter.mean_losses(self.state.global_step)
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_weights(self._finevq(), Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self._finevq(), Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        assert best is not None
        load_weights(self._finevq(), Path(best))

    def _finevq(self) -> FineVQ:
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, FineVQ)
        return model


class _Saver(TrainerCallback):
    """Saves every few steps, and stops a step whose gradients would spoil the weights."""

    def __init__(self, trainer: FineVQTrainer, save_every: int) -> None:
        self.trainer = trainer
        self.save_every = save_every

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.check_gradients()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.save_every and state.global_step % self.save_every == 0:
            control.should_save = True


def validation_srcc(prediction: EvalPrediction) -> dict[str, float]:
    """SRCC of each dimension on the validation part, and their mean, by which the epoch is chosen.

    A dimension with fewer labels than `FEWEST_LABELS`, or with constant scores, is left out of the
    mean; the mean of none is -1, the worst there is.
    """
    scores: NDArray[Any] = np.asarray(prediction.predictions)
    targets: NDArray[Any] = np.asarray(prediction.label_ids)
    srcc: dict[str, float] = {}
    for column, dimension in enumerate(DIMENSIONS):  # the ratings come first in every video
        known = ~np.isnan(targets[:, column])
        score, target = scores[known, column], targets[known, column]
        if len(score) >= FEWEST_LABELS and np.ptp(score) > 0 and np.ptp(target) > 0:
            srcc[f"srcc_{dimension}"] = float(spearmanr(score, target).statistic)
    return {"srcc": float(np.mean(list(srcc.values()))) if srcc else -1.0, **srcc}


def arguments(settings: TrainSettings, *, validate: bool) -> TrainingArguments:
    """The settings as Trainer's arguments.

    Raises:
        ConfigError: a tracker or device that is not there.
    """
    available = get_available_reporting_integrations()
    for tracker in settings.trackers:
        if tracker not in available:
            raise ConfigError(
                f"train.trackers: {tracker!r} is not installed or not known to transformers; here "
                f"are {', '.join(available) or 'none'}"
            )
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError('train.device = "cuda": torch sees no GPU; set it to "auto" or "cpu"')
    on_gpu = settings.device != "cpu" and torch.cuda.is_available()
    if settings.precision == "float16" and not on_gpu:
        raise ConfigError(
            'train.precision = "float16": training scales its gradients, which needs a GPU; set it '
            'to "bfloat16" or "float32"'
        )
    args = TrainingArguments(
        output_dir=str(settings.out / "trainer"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.videos_per_batch,
        per_device_eval_batch_size=settings.videos_per_batch,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,  # below 1 it is a share of all steps
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        use_cpu=not on_gpu,
        seed=settings.seed,
        eval_strategy="epoch" if validate else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=validate,
        metric_for_best_model="srcc" if validate else None,
        greater_is_better=True if validate else None,
        restore_callback_states_from_checkpoint=True,  # the epochs that patience has counted
        ddp_find_unused_parameters=False,  # every weight that trains is used in every step
        label_names=["targets"],
        logging_steps=LOGGED,
        remove_unused_columns=False,
        report_to=list(settings.trackers),
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=settings.readers,
        # Readers start anew: the store's connections must not be those of another process.
        dataloader_multiprocessing_context="spawn" if settings.readers else None,
        dataloader_persistent_workers=settings.readers > 0,
        dataloader_prefetch_factor=2 if settings.readers else None,
    )
    if args.n_gpu > 1:  # Trainer would copy the model to all of them in every step
        LOG.warning(
            "one of %d GPUs is used; torchrun --nproc-per-node %d uses all", args.n_gpu, args.n_gpu
        )
        args._n_gpu = 1
    return args
