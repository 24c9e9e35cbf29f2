"""The commands on the pipeline as a whole: demo, import-checkpoint, config."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .evaluation import run_evaluate
from .extraction import run_extract
from .options import Commands, add_command, add_config, load, progress
from .training import run_train

if TYPE_CHECKING:
    from ..config import Config


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        "make a small data set, run all stages on it",
        "finevq demo --out runs/demo",
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for everything")
    add_config(demo)
    imported = add_command(
        commands,
        "import-checkpoint",
        _import_checkpoint,
        "take over a published FineVQ checkpoint",
        "finevq import-checkpoint weights/FineVQ --out runs/finevq --motion all",
    )
    imported.add_argument("folder", metavar="DIR", help="its folder, or its name on the hub")
    imported.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT")
    imported.add_argument(
        "--motion",
        choices=["frames8", "all"],
        default="frames8",
        help="motion as in the official training (frames8) or evaluation (all)",
    )
    add_config(imported)
    config = add_command(
        commands,
        "config",
        _config,
        "print the configuration and where each value came from",
        "finevq config -c my.toml",
    )
    add_config(config)


def _demo(given: argparse.Namespace) -> None:
    from ..dataset.demo.data_set import generate_demo

    out: Path = given.out
    folders = [
        f"dataset.folder={out / 'dataset'}",
        f"cache.path={out / 'features'}",
        f"train.out={out / 'checkpoint'}",
        f"evaluate.out={out / 'evaluation'}",
    ]
    config = load(given, folders)
    with progress("make videos") as made:
        generate_demo(config.dataset.folder, progress=made)
    run_extract(config)
    config = load(given, [*folders, *_start(config)])
    run_train(config)
    run_evaluate(config, config.train.out, config.evaluate.out)


def _start(config: "Config") -> list[str]:
    """The override that lets training start from the checkpoint that ships, where that fits."""
    from ..cache.store import FeatureStore
    from ..train.base.language_model import EMBEDDED
    from ..train.model.checkpoint import SHIPPED, read_info

    made = FeatureStore.open(config.cache.path).layout.identity
    train = config.train
    whole = not train.full and train.frames == train.clips == "all"
    if train.base != EMBEDDED or not whole or read_info(SHIPPED).identity.digest != made.digest:
        return []
    return [f"train.start={json.dumps(str(SHIPPED), ensure_ascii=False)}"]


def _import_checkpoint(given: argparse.Namespace) -> None:
    config = load(given)
    from ..evaluate.predict.official import import_checkpoint

    info = import_checkpoint(
        given.folder,
        given.out,
        motion=given.motion,
        extract=config.extract,
        dtype=config.cache.dtype,
        precision=config.train.precision,
    )
    print(
        f"checkpoint in {given.out}; it needs the features {info.identity.digest[:12]}, which "
        f"`finevq extract -c {given.out / 'extract.toml'}` makes"
    )


def _config(given: argparse.Namespace) -> None:
    from ..config import describe, load_config

    for line in describe(*load_config(given.config, given.overrides)):
        print(line)
