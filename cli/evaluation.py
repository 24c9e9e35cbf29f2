"""The commands that measure checkpoints: evaluate, matrix."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import (
    Commands,
    add_command,
    add_config,
    first_process,
    load,
    progress,
    split_override,
)

if TYPE_CHECKING:
    from ..config import Config


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    _add_evaluate(commands)
    _add_matrix(commands)


def _add_evaluate(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "evaluate",
        _evaluate,
        "predict, measure and report on one part of a split",
        "finevq evaluate -c my.toml --split random1 --part val",
    )
    added.add_argument(
        "--split",
        action="append",
        metavar="NAME",
        help="splits/NAME.csv (dataset.split); several are rounds",
    )
    added.add_argument("--part", choices=["train", "val", "test"], help="(evaluate.part)")
    added.add_argument("--checkpoint", metavar="DIR", help="(train.out); {split} is the round's")
    added.add_argument(
        "--allow-leakage", action="store_true", help="measure videos seen in training too"
    )
    add_config(added)


def _add_matrix(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "matrix",
        _matrix,
        "test the model of each dataset on all of them",
        "finevq matrix finevd.toml live-vqc.toml --out runs/matrix",
    )
    added.add_argument("configs", nargs="+", type=Path, metavar="CONFIG", help="of a dataset")
    added.add_argument("--out", type=Path, default=Path("runs/matrix"), metavar="DIR")
    added.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting of all of them",
    )


def _evaluate(given: argparse.Namespace) -> None:
    splits: list[str] = given.split or []
    overrides = []
    if len(splits) == 1:
        overrides += split_override(splits[0])
    if given.part:
        overrides.append(f"evaluate.part={json.dumps(given.part)}")
    config = load(given, overrides)
    checkpoint = given.checkpoint or str(config.train.out)
    if len(splits) > 1:
        _run_rounds(config, checkpoint, splits, given.allow_leakage)
        return
    results = config.evaluate.out
    if overrides:
        from ..evaluate.results import results_name

        results /= results_name(config.dataset.split, config.evaluate.part)
    run_evaluate(config, Path(checkpoint), results, given.allow_leakage)


def run_evaluate(
    config: "Config", checkpoint: Path, results: Path, allow_leakage: bool = False
) -> None:
    """Evaluate one part of the configured split, write the results and print the main figures.

    Args:
        config: names the dataset, its features, the split and the part.
        checkpoint: folder of the checkpoint.
        results: folder for metrics.json and report.html.
        allow_leakage: measure videos that the checkpoint was trained on, too.
    """
    from ..cache.store import FeatureStore
    from ..dataset.videos import load_dataset

    dataset = load_dataset(config.dataset)
    store = FeatureStore.open(config.cache.path, config.cache.stage)
    from ..evaluate.run import evaluate

    with progress("predict") as done:
        metrics = evaluate(
            dataset,
            store,
            checkpoint,
            config.evaluate,
            results=results,
            device=config.train.device,
            max_tokens=config.train.max_tokens,
            allow_leakage=allow_leakage,
            progress=done,
        )
    if first_process():
        _print_metrics(metrics)
        print(f"report in {results / 'report.html'}")


def _print_metrics(metrics: Mapping[str, Any]) -> None:
    coverage, leaked = metrics["coverage"], metrics["leakage"]["videos"]
    print(
        f"split {metrics['split']}, part {metrics['part']}: "
        f"{coverage['predicted']} of {coverage['labelled']} labelled videos predicted"
    )
    if leaked:
        print(f"  {len(leaked)} of them were in the checkpoint's training")
    for name, row in {**metrics["dimensions"], "mean": metrics["mean"]}.items():
        videos = f"  {row['n']} of {row['labelled']} videos" if "n" in row else ""
        print(
            f"  {name:9} SRCC {_number(row['srcc'])}{_range(row['srcc_ci'])}"
            f"  PLCC {_number(row['plcc'])}  fitted {_number(row['plcc_fitted'])}{videos}"
        )


def _run_rounds(config: "Config", checkpoint: str, splits: list[str], allow_leakage: bool) -> None:
    from ..cache.store import FeatureStore
    from ..dataset.videos import load_dataset

    dataset = load_dataset(config.dataset)
    store = FeatureStore.open(config.cache.path, config.cache.stage)
    from ..evaluate.rounds import evaluate_rounds

    with progress("rounds") as done:
        rounds = evaluate_rounds(
            dataset,
            store,
            checkpoint,
            config.evaluate,
            splits,
            device=config.train.device,
            max_tokens=config.train.max_tokens,
            allow_leakage=allow_leakage,
            progress=lambda split: (
                lambda at, total: done(
                    splits.index(split) + (total > 0 and at == total), len(splits)
                )
            ),
        )
    if not first_process():
        return
    print(f"{len(splits)} rounds, part {rounds['part']}: median, mean ± deviation")
    for name, row in {**rounds["dimensions"], "mean": rounds["mean"]}.items():
        cells = "  ".join(f"{m.upper()} {_spread(row[m])}" for m in ("srcc", "plcc"))
        print(f"  {name:9} {cells}")
    for kind, row in rounds["questions"].items():
        print(f"  {kind:17} accuracy {_spread(row['accuracy'])}")
    print(f"rounds.json and rounds.html in {config.evaluate.out}")


def _matrix(given: argparse.Namespace) -> None:
    from ..cache.store import FeatureStore
    from ..config import load_config
    from ..dataset.videos import load_dataset
    from ..errors import ConfigError

    configs = [load_config(path, given.overrides)[0] for path in given.configs]
    names = [config.dataset.name for config in configs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two datasets are called {twice[0]}; set another dataset.name in one")
    inputs = [
        (load_dataset(config.dataset), FeatureStore.open(config.cache.path, config.cache.stage))
        for config in configs
    ]
    from ..evaluate.matrix import TrainedDataset, evaluate_matrix, matrix_latex, matrix_text

    trained = {
        config.dataset.name: TrainedDataset(dataset, store, config.train.out, config.evaluate)
        for config, (dataset, store) in zip(configs, inputs, strict=True)
    }
    pairs = [(train, test) for train in names for test in names]
    with progress("pairs") as done:
        figures = evaluate_matrix(
            trained,
            given.out,
            device=configs[0].train.device,
            max_tokens=configs[0].train.max_tokens,
            progress=lambda train, test: (
                lambda at, total: done(
                    pairs.index((train, test)) + (total > 0 and at == total), len(pairs)
                )
            ),
        )
    if not first_process():
        return
    figures.to_csv(given.out / "matrix.csv", index=False)
    (given.out / "matrix.tex").write_text(matrix_latex(figures) + "\n", "utf-8")
    print(matrix_text(figures))
    print(f"matrix.csv and matrix.tex in {given.out}")


def _number(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.3f}"


def _range(interval: list[float] | None) -> str:
    return " " * 17 if interval is None else f" ({interval[0]:6.3f} to {interval[1]:.3f})"


def _spread(metric: Mapping[str, Any]) -> str:
    deviation = "-" if metric["deviation"] is None else f"{metric['deviation']:.3f}"
    return f"{_number(metric['median'])}, {_number(metric['mean'])} ± {deviation}"
