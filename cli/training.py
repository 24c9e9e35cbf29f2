"""The commands that train: train."""

import argparse
from typing import TYPE_CHECKING

from .options import Commands, add_command, add_config, load, progress

if TYPE_CHECKING:
    from ..config import Config


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    train = add_command(
        commands,
        "train",
        _train,
        "train projectors, LoRA and score head on stored features",
        "finevq train -c my.toml --set train.epochs=5 --set train.out=runs/short",
    )
    add_config(train)


def _train(given: argparse.Namespace) -> None:
    run_train(load(given))


def run_train(config: "Config") -> None:
    """Train on the features of the configuration's dataset."""
    from ..cache.store import FeatureStore
    from ..dataset.videos import load_dataset

    dataset, store = load_dataset(config.dataset), FeatureStore.open(config.cache.path)
    from ..train.fit import train

    with progress("train") as done:
        train(dataset, store, config.train, config.extract.model_dump(), done)
    print(f"checkpoint in {config.train.out}")
