"""The device that the models compute on, and whether it can do what the settings ask for."""

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from ..errors import ConfigError
from .settings import ExtractSettings


def pick_device(name: str, key: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Args:
        name: one of these three.
        key: the setting that holds it, for the error message.

    Raises:
        ConfigError: "cuda" on a machine where torch sees no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f'{key} = "cuda": torch sees no GPU here; set it to "auto" or "cpu"')
    return torch.device(name)


def check_device(settings: ExtractSettings) -> torch.device:
    """The device that the settings ask for.

    Raises:
        ConfigError: the device is not there, or cannot compute the attention asked for.
    """
    device = pick_device(settings.device, "extract.device")
    _check_attention(settings, device)
    return device


def _check_attention(settings: ExtractSettings, device: torch.device) -> None:
    if settings.spatial.attention != "flash_attention_2":
        return
    if not is_flash_attn_2_available() or device.type != "cuda":
        reason = "needs the package flash-attn and a GPU, which are not both here"
    elif settings.precision == "float32":
        reason = 'needs extract.precision = "bfloat16" or "float16"'
    else:
        return
    raise ConfigError(
        f'extract.spatial.attention = "flash_attention_2": {reason}; or set it to "sdpa"'
    )
