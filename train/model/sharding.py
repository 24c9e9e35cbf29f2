"""The frozen language model, divided among the processes of one run.

FSDP2 divides the frozen weights alone: they take most of the memory, and need no gradient and no
optimizer state. What trains stays whole in every process, under DDP, so that losses, saves and
resuming are those of a run that divides nothing.
"""

import logging

import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from ...errors import ConfigError
from .finevq import FineVQ

LOG = logging.getLogger(__name__)


def shard_frozen(model: FineVQ, device: torch.device) -> None:
    """Divide the frozen weights of the decoder layers; each layer is gathered while it computes.

    Args:
        model: on any device; its decoder layers move to `device`.
        device: of this process.

    Raises:
        ConfigError: there is only one process.
    """
    if not dist.is_initialized():
        raise ConfigError(
            "train.shard = true: there is one process, and nothing to divide; start several by "
            "`torchrun --nproc-per-node N -m finevq train`, or set it to false"
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in model.language_model.get_decoder().layers:
        trained = {weight for weight in layer.parameters() if weight.requires_grad}
        fully_shard(layer, mesh=mesh, ignored_params=trained)
    frozen = {name: w for name, w in model.named_parameters() if not w.requires_grad}
    ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(model, set(frozen))  # type: ignore[no-untyped-call]
    local = sum(
        w.to_local().nbytes if isinstance(w, DTensor) else w.nbytes for w in frozen.values()
    )
    if dist.get_rank() == 0:
        LOG.info(
            "frozen weights: %.1f of %.1f MB in each process",
            local / 1e6,
            sum(w.nbytes for w in frozen.values()) / 1e6,
        )
