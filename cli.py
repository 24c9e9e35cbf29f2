"""The command line. A stage, and torch with it, is imported only when its command runs."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import FineVQError

if TYPE_CHECKING:
    from .config import Config

Progress = Callable[[int, int], None]

EPILOG = """\
The usual way; a step can be resumed, and does nothing where nothing is left:
  finevq extract -c my.toml      videos to features
  finevq train -c my.toml        features to a checkpoint
  finevq evaluate -c my.toml     predictions, metrics and a report
`finevq COMMAND --help` shows the options and an example."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for an error that the user can mend."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("finevq").setLevel(logging.INFO)
    given = _parser().parse_args(arguments)
    try:
        code = int(given.run(given) or 0)
        sys.stdout.flush()
    except FineVQError as error:
        print(f"finevq: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("finevq: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finevq",
        description="Fine-grained video quality assessment over precomputed, verified features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], text: str, example: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    demo = command(
        "demo", _demo, "make a small data set, run all stages on it", "finevq demo --out runs/demo"
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for everything")
    _configurable(demo)
    extract = command(
        "extract",
        _extract,
        "store the features of all videos",
        "finevq extract -c my.toml --set extract.cluster.workers=4",
    )
    _configurable(extract)
    train = command(
        "train",
        _train,
        "train projectors, LoRA and score head on stored features",
        "finevq train -c my.toml --set train.epochs=5 --set train.out=runs/short",
    )
    _configurable(train)
    evaluate = command(
        "evaluate",
        _evaluate,
        "predict, measure and report on one part of a split",
        "finevq evaluate -c my.toml --split random1 --part val",
    )
    evaluate.add_argument("--split", metavar="NAME", help="splits/NAME.csv (dataset.split)")
    evaluate.add_argument("--part", choices=["train", "val", "test"], help="(evaluate.part)")
    evaluate.add_argument("--checkpoint", type=Path, metavar="DIR", help="(train.out)")
    _configurable(evaluate)
    score = command(
        "score",
        _score,
        "rate video files in six dimensions",
        "finevq score holiday.mp4 --checkpoint runs/demo/checkpoint --json",
    )
    score.add_argument("videos", nargs="+", metavar="VIDEO")
    score.add_argument("--checkpoint", type=Path, metavar="DIR", help="(train.out)")
    score.add_argument("--json", action="store_true", help="one JSON object a line")
    _configurable(score)
    cache = command(
        "cache",
        _cache,
        "show what a feature store holds, or check every value of it",
        "finevq cache verify runs/demo/features",
    )
    cache.add_argument("action", choices=["info", "verify"])
    cache.add_argument("path", help="a folder or URL")
    config = command(
        "config",
        _config,
        "print the resolved configuration and where each value came from",
        "finevq config -c my.toml",
    )
    _configurable(config)
    return parser


def _configurable(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        dest="config",
        type=Path,
        metavar="FILE",
        help="configuration; default pipeline.toml here, else the built-in one",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, such as extract.spatial.frames=4",
    )


def _load(given: argparse.Namespace, first: Sequence[str] = ()) -> "Config":
    from .config import load_config

    return load_config(given.config, [*first, *given.overrides])[0]


def _demo(given: argparse.Namespace) -> None:
    from .dataset.demo import generate_demo

    out: Path = given.out
    config = _load(
        given,
        [
            f"dataset.folder={out / 'dataset'}",
            f"cache.path={out / 'features'}",
            f"train.out={out / 'checkpoint'}",
            f"evaluate.out={out / 'evaluation'}",
        ],
    )
    with _progress("make videos") as progress:
        generate_demo(config.dataset.folder, progress=progress)
    _run_extract(config)
    _run_train(config)
    _run_evaluate(config, config.train.out)


def _extract(given: argparse.Namespace) -> None:
    _run_extract(_load(given))


def _train(given: argparse.Namespace) -> None:
    _run_train(_load(given))


def _evaluate(given: argparse.Namespace) -> None:
    chosen = []
    if given.split:
        chosen.append(f"dataset.split={json.dumps(given.split, ensure_ascii=False)}")
    if given.part:
        chosen.append(f"evaluate.part={json.dumps(given.part)}")
    config = _load(given, chosen)
    _run_evaluate(config, given.checkpoint or config.train.out)


def _run_extract(config: "Config") -> None:
    from .dataset.videos import load_dataset

    dataset = load_dataset(config.dataset)  # its errors come before torch is loaded
    from .extract.run import extract

    with _progress("extract") as progress:
        summary = extract(dataset, config.extract, config.cache, progress)
    print(
        f"features of {summary.extracted} videos stored in {config.cache.path}; "
        f"{summary.present} were there before; {len(summary.failed)} failed"
    )
    for video, reason in summary.failed.items():
        print(f"  failed: {video}: {reason}")


def _run_train(config: "Config") -> None:
    from .cache.store import FeatureStore
    from .dataset.videos import load_dataset

    dataset, store = load_dataset(config.dataset), FeatureStore.open(config.cache.path)
    from .train.fit import train

    with _progress("train") as progress:
        train(dataset, store, config.train, config.extract.model_dump(), progress)
    print(f"checkpoint in {config.train.out}")


def _run_evaluate(config: "Config", checkpoint: Path) -> None:
    from .cache.store import FeatureStore
    from .dataset.videos import load_dataset

    dataset, store = load_dataset(config.dataset), FeatureStore.open(config.cache.path)
    from .evaluate.run import evaluate

    with _progress("predict") as progress:
        metrics = evaluate(
            dataset,
            store,
            checkpoint,
            config.evaluate,
            device=config.train.device,
            progress=progress,
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

    from .evaluate.score import score

    checkpoint = given.checkpoint or _load(given).train.out
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


def _cache(given: argparse.Namespace) -> int:
    from .cache.store import FeatureStore
    from .cache.verify import verify_shard

    store = FeatureStore.open(given.path)
    if given.action == "info":
        print(json.dumps(store.info(), indent=2, ensure_ascii=False))
        return 0
    problems = 0
    store.check_layout()
    with _progress("verify") as progress:
        for done, shard in enumerate(store.shards, start=1):
            for problem in verify_shard(store, shard):
                problems += 1
                print(problem, flush=True)
            progress(done, len(store.shards))
    info = store.info()
    print(
        f"{info['committed']} of {info['shards']} shards committed, {info['ok']} videos with "
        f"features, {info['failed']} failed; {problems or 'no'} problems"
    )
    return 2 if problems else 0


def _config(given: argparse.Namespace) -> None:
    from .config import describe, load_config

    for line in describe(*load_config(given.config, given.overrides)):
        print(line)


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    """A bar with rate and time left on a terminal; elsewhere a line for every tenth."""
    if not sys.stderr.isatty():
        yield _line_progress(title)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _line_progress(title: str) -> Progress:
    tenth = -1

    def progress(done: int, total: int) -> None:
        nonlocal tenth
        now = 10 if total == 0 else 10 * done // total
        if now > tenth:
            tenth = now
            print(f"{title}: {done}/{total}", file=sys.stderr, flush=True)

    return progress
