"""The commands of the pipeline: demo, evaluate, score, config."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

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
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "predict, measure and report on one part of a split",
        "finevq evaluate -c my.toml --split random1 --part val",
    )
    evaluate.add_argument("--split", metavar="NAME", help="splits/NAME.csv (dataset.split)")
    evaluate.add_argument("--part", choices=["train", "val", "test"], help="(evaluate.part)")
    evaluate.add_argument("--checkpoint", type=Path, metavar="DIR", help="(train.out)")
    add_config(evaluate)
    score = add_command(
        commands,
        "score",
        _score,
        "rate video files in six dimensions",
        "finevq score holiday.mp4 --checkpoint runs/demo/checkpoint --json",
    )
    score.add_argument("videos", nargs="+", metavar="VIDEO")
    score.add_argument("--checkpoint", type=Path, metavar="DIR", help="(train.out)")
    score.add_argument("--json", action="store_true", help="one JSON object a line")
    add_config(score)
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
    from ..dataset.demo import generate_demo

    out: Path = given.out
    config = load(
        given,
        [
            f"dataset.folder={out / 'dataset'}",
            f"cache.path={out / 'features'}",
            f"train.out={out / 'checkpoint'}",
            f"evaluate.out={out / 'evaluation'}",
        ],
    )
    with progress("make videos") as made:
        generate_demo(config.dataset.folder, progress=made)
    run_extract(config)
    run_train(config)
    _run_evaluate(config, config.train.out)


def _evaluate(given: argparse.Namespace) -> None:
    chosen = []
    if given.split:
        chosen.append(f"dataset.split={json.dumps(given.split, ensure_ascii=False)}")
    if given.part:
        chosen.append(f"evaluate.part={json.dumps(given.part)}")
    config = load(given, chosen)
    _run_evaluate(config, given.checkpoint or config.train.out)


def _run_evaluate(config: "Config", checkpoint: Path) -> None:
    from ..cache.store import FeatureStore
    from ..dataset.videos import load_dataset

    dataset, store = load_dataset(config.dataset), FeatureStore.open(config.cache.path)
    from ..evaluate.run import evaluate

    with progress("predict") as done:
        metrics = evaluate(
            dataset,
            store,
            checkpoint,
            config.evaluate,
            device=config.train.device,
            progress=done,
        )
    coverage = metrics["coverage"]
    print(
        f"split {metrics['split']}, part {metrics['part']}: "
        f"{coverage['predicted']} of {coverage['labelled']} labelled videos predicted"
    )
    for dimension, found in {**metrics["dimensions"], "mean": metrics["mean"]}.items():
        print(f"  {dimension:9} SRCC {_number(found['srcc'])}  PLCC {_number(found['plcc'])}")
    print(f"report in {config.evaluate.out / 'report.html'}")


def _number(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.3f}"


def _score(given: argparse.Namespace) -> int:
    from dataclasses import asdict

    from ..evaluate.score import score

    checkpoint = given.checkpoint or load(given).train.out
    failed = 0
    for card in score(given.videos, checkpoint):
        failed += card.error is not None
        if given.json:
            print(json.dumps(asdict(card), ensure_ascii=False), flush=True)
        elif card.error is not None:
            print(f"{card.video}: {card.error}", flush=True)
        else:
            low, high = card.scale
            print(f"{card.video} (scores from {low:g} to {high:g})")
            for dimension, found in card.ratings.items():
                print(f"  {dimension:9}{found.score:7.1f}  {found.level}", flush=True)
    return 2 if failed else 0


def _import_checkpoint(given: argparse.Namespace) -> None:
    config = load(given)
    from ..evaluate.official import import_checkpoint

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
