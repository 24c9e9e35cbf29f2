"""Step 5: write what ships from a finished run of stage two.

    python ship.py OUT/run

Writes finevq's small/language_model.safetensors, the language model that the run has trained, and
small/checkpoint, whose projectors and score head are the run's; all float16.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from finevq.train.base.language_model import EMBEDDED, load_base
from finevq.train.model.checkpoint import read_info, write_info
from finevq.train.model.trained_weights import LANGUAGE_MODEL
from finevq.weights import SMALL


def ship(run: Path) -> None:
    """Write the base model first: the checkpoint names its hash."""
    info = read_info(run)
    if not info.full:
        raise SystemExit(f"{run}: its language model was not trained (train.full)")
    _halve(run / LANGUAGE_MODEL, SMALL / "language_model.safetensors")
    folder = SMALL / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("projectors", "score_head"):
        _halve(run / f"{name}.safetensors", folder / f"{name}.safetensors")
    shutil.copy(run / "training.csv", folder)
    base = load_base(EMBEDDED, "float32")
    found = replace(info, full=False, precision="float32", base=EMBEDDED, base_hash=base.hash)
    write_info(found, folder)


def _halve(source: Path, target: Path) -> None:
    tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(source).items()}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise SystemExit(f"{source}: a weight is too large for float16")
    save_file(tensors, target)


def main() -> None:
    """Write what ships."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="train.out of stage two")
    ship(parser.parse_args().run)


if __name__ == "__main__":
    main()
