"""The device: the one that is asked for, or one clear line."""

import pytest
import torch

from finevq.config import load_config
from finevq.errors import ConfigError
from finevq.extract import device as device_module
from finevq.extract.device import pick_device
from finevq.extract.encode.encoder import Encoder


@pytest.mark.parametrize(
    ("there", "precision", "message"),
    [
        (False, "bfloat16", "needs the package flash-attn and a GPU, which are not both here"),
        (True, "float32", r'needs extract\.precision = "bfloat16" or "float16"'),
    ],
)
def test_flash_attention_that_cannot_be_used_is_refused(
    there: bool, precision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "is_flash_attn_2_available", lambda: there)
    monkeypatch.setattr(device_module, "pick_device", lambda name, key: torch.device("cuda"))
    changes = ["extract.spatial.attention=flash_attention_2", f"extract.precision={precision}"]
    with pytest.raises(ConfigError, match=message):
        Encoder(load_config(None, changes)[0].extract)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'train\.device = "cuda": torch sees no GPU here'):
        pick_device("cuda", "train.device")
    assert pick_device("auto", "train.device") == torch.device("cpu")
