"""Reading published weights: safetensors files, whole or sharded, and PyTorch's `.pth`.

A checkpoint is opened by its index, and only the tensors that are asked for are read: of 16 GB the
extractor reads the 0.6 GB of the image encoder. Code that comes with a checkpoint is never run.
"""

import hashlib
import json
import pickle
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import CheckpointError

SMALL = Path(__file__).with_name("small")
"""What ships: the trained weights of the embedded backbones and language model (recipes/small), and
`checkpoint`, a finished checkpoint on them."""

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def share_as_umask_says(folder: Path) -> None:
    """Give the files of a folder the permissions of any new file.

    Safetensors lets their owner alone read the weights that it writes, so that nobody else could
    use a checkpoint on a shared disk.
    """
    new = folder / f".{uuid.uuid4().hex}"
    new.touch()
    mode = new.stat().st_mode
    new.unlink()
    for path in folder.rglob("*.safetensors"):
        path.chmod(mode)


class Weights:
    """The tensors of one checkpoint by name, read when they are asked for.

    Tensors of models that PEFT has wrapped have their original names here:
    `language_model.base_model.model.X` is `language_model.X`, and `X.base_layer.weight` is
    `X.weight`. The adapter's own tensors are `X.lora_A.weight` and `X.lora_B.weight`.
    """

    def __init__(self, model: str) -> None:
        """Open a checkpoint.

        Args:
            model: a folder, or the name of a repository on the Hugging Face hub.

        Attributes:
            model: as given.
            config: the content of its config.json.

        Raises:
            CheckpointError: there is no such checkpoint, or a file of it is damaged or missing.
        """
        self.model = model
        self.config = self.json("config.json")
        self._files: dict[str, Any] = {}
        self._stored: dict[str, tuple[str, str]] = {}
        for file, names in self._tensors_by_file():
            for name in names:
                self._stored[canonical(name)] = (file, name)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def file(self, name: str) -> Path:
        """The path of a file of the checkpoint; a file of a hub repository is downloaded first.

        Raises:
            CheckpointError: there is none.
        """
        if Path(self.model).is_dir():
            path = Path(self.model) / name
            if not path.is_file():
                raise CheckpointError(f"{path}: missing; the checkpoint is not whole")
            return path
        try:
            return Path(hf_hub_download(self.model, name))
        except LocalEntryNotFoundError as error:
            raise CheckpointError(
                f"{self.model}: no folder of that name, and the Hugging Face hub cannot be reached "
                f"for its {name}; give the path of a local copy"
            ) from error
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"{self.model}: no folder of that name, and the Hugging Face hub has no {name} for "
                f"it ({reason})"
            ) from error

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file of the checkpoint.

        Raises:
            CheckpointError: it is missing, or not a JSON object.
        """
        path = self.file(name)
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{path}: damaged, not JSON: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path}: not a JSON object")
        return content

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it.

        Raises:
            CheckpointError: there is no such tensor.
        """
        file, stored = self._where(name)
        try:
            return tuple(self._open(file).get_slice(stored).get_shape())
        except SafetensorError as error:
            raise CheckpointError(
                f"{self.file(file)}: has no tensor {stored}, which the index says it has"
            ) from error

    def read(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Read a tensor in the dtype in which it is stored.

        Args:
            name: its original name, as the class explains.
            shape: the shape that it must have.

        Raises:
            CheckpointError: there is no such tensor, or it has another shape.
        """
        if shape is not None:
            self.check(name, shape)
        file, stored = self._where(name)
        try:
            tensor: Tensor = self._open(file).get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.file(file)}: {stored} cannot be read: {error}") from error
        return tensor

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing or has another shape, without reading it.

        Raises:
            CheckpointError: names the file and the tensor.
        """
        found = self.shape(name)
        if found != tuple(shape):
            file, stored = self._where(name)
            raise CheckpointError(
                f"{self.file(file)}: {stored} has the shape {found}, where the model that "
                f"config.json describes has {tuple(shape)}"
            )

    def _where(self, name: str) -> tuple[str, str]:
        if name not in self._stored:
            raise CheckpointError(f"{self.model}: has no tensor {name}")
        return self._stored[name]

    def _tensors_by_file(self) -> Iterator[tuple[str, list[str]]]:
        try:
            self.file(SINGLE)
        except CheckpointError as single:
            try:
                index = self.json(INDEX)
            except CheckpointError:
                raise single from None
            weight_map = index.get("weight_map")
            if not isinstance(weight_map, dict) or not all(
                isinstance(file, str) for file in weight_map.values()
            ):
                raise CheckpointError(f"{self.file(INDEX)}: has no weight_map of files") from None
            files: dict[str, list[str]] = {}
            for name, file in weight_map.items():
                files.setdefault(file, []).append(name)
            yield from files.items()
        else:
            yield SINGLE, list(self._open(SINGLE).keys())

    def _open(self, file: str) -> Any:
        """The handle of a file; opening it checks the header against the file's length."""
        if file not in self._files:
            path = self.file(file)
            self._files[file] = open_safetensors(path)
        return self._files[file]


def open_safetensors(path: Path) -> Any:
    """Open a safetensors file, to read it tensor by tensor.

    Raises:
        CheckpointError: it is missing, cut off or not a safetensors file.
    """
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged, cut off or not a safetensors file ({error}); copy it again"
        ) from error


def canonical(name: str) -> str:
    """The original name of a tensor, without what PEFT adds to it."""
    name = name.removeprefix("base_model.model.").replace(".base_model.model.", ".")
    name = name.replace(".base_layer.", ".")
    return re.sub(r"\.(lora_[AB])\.[^.]+\.weight$", r".\1.weight", name)


def tensor_hash(tensors: Mapping[str, Tensor], context: str = "") -> str:
    """SHA-256, in hex, of tensors by name, shape, dtype and value; their order does not matter.

    Args:
        tensors: by name, on any device.
        context: text that is hashed too, for what else decides the meaning of the values.
    """
    digest = hashlib.sha256(context.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        # As bytes: NumPy has no bfloat16.
        values: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(values)
    return digest.hexdigest()


def read_pth(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.pyth` file, read without running any code in it.

    If it has a state dict under the key `model_state` or `state_dict`, that is taken.

    Raises:
        CheckpointError: the file is missing or damaged, or holds anything but tensors by name.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it holds more than tensors (code or foreign objects)"
        ) from error
    except Exception as error:  # a file of another kind can raise anything
        raise CheckpointError(
            f"{path}: damaged, cut off or not a PyTorch file; copy it again"
        ) from error
    for key in ("model_state", "state_dict"):
        if isinstance(content, Mapping) and key in content:
            content = content[key]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise CheckpointError(f"{path}: holds no tensors by name")
    return dict(content)
