"""The commands of stage three: evaluate, matrix, compare, score, serve."""

import argparse
import io
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Commands, add_command, add_config, first_process, load, progress

if TYPE_CHECKING:
    import pandas as pd

    from ..config import Config
    from ..evaluate.score import Scorer
    from ..evaluate.score_files import Scores
    from ..evaluate.scorecard import ScoreCard
    from ..evaluate.tables import Comparison


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's commands."""
    _add_evaluate(commands)
    _add_matrix(commands)
    _add_compare(commands)
    _add_score(commands)
    _add_serve(commands)


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


def _add_compare(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "compare",
        _compare,
        "put models side by side, with p-values",
        "finevq compare runs/a/evaluation DOVER=dover.csv:score -c my.toml",
    )
    added.usage = "%(prog)s [options] MODEL [MODEL ...]"  # all of them would fill four lines
    added.add_argument("models", nargs="+", metavar="MODEL", help="DIR, or NAME=FILE.csv[:COLUMN]")
    added.add_argument(
        "--labels",
        action="append",
        metavar="CSV",
        help="[NAME=]FILE.csv[:COLUMN], one a dataset (the -c's)",
    )
    added.add_argument("--split", metavar="NAME", help="splits/NAME.csv (dataset.split)")
    added.add_argument(
        "--allow-leakage", action="store_true", help="measure videos seen in training too"
    )
    added.add_argument(
        "--published", action="append", metavar="DATASET", help="add the published rows on it"
    )
    added.add_argument("--json", action="store_true", help="print JSON")
    added.add_argument("--csv", type=Path, metavar="FILE", help="write the figures here too")
    added.add_argument("--latex", type=Path, metavar="FILE", help="write LaTeX tables here too")
    added.add_argument("--html", type=Path, metavar="FILE", help="write a page here too")
    add_config(added, several=True)


def _add_score(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "score",
        _score,
        "rate video files in six dimensions",
        "finevq score holiday.mp4",
    )
    added.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="files, folders, or lists of files (.txt)"
    )
    added.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="(train.out; else the one that ships)"
    )
    where = added.add_mutually_exclusive_group()
    where.add_argument("--json", action="store_true", help="print one JSON object a line")
    where.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".csv or .jsonl; what has scores in it is not scored again",
    )
    where.add_argument("--html", type=Path, metavar="FILE", help="write a card of one video")
    add_config(added)


def _add_serve(commands: "Commands[argparse.ArgumentParser]") -> None:
    added = add_command(
        commands,
        "serve",
        _serve,
        "open a local page that rates the video dropped on it",
        "finevq serve",
    )
    added.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="(train.out; else the one that ships)"
    )
    added.add_argument("--port", type=int, default=8787, help="0 takes a free one (8787)")
    added.add_argument("--host", default="127.0.0.1", help="who may reach it (127.0.0.1)")
    added.add_argument("--limit", type=int, default=500, metavar="MB", help="of a video (500)")
    add_config(added)


def _evaluate(given: argparse.Namespace) -> None:
    splits: list[str] = given.split or []
    chosen = []
    if len(splits) == 1:
        chosen += _split(splits[0])
    if given.part:
        chosen.append(f"evaluate.part={json.dumps(given.part)}")
    config = load(given, chosen)
    checkpoint = given.checkpoint or str(config.train.out)
    if len(splits) > 1:
        _run_rounds(config, checkpoint, splits, given.allow_leakage)
        return
    results = config.evaluate.out
    if chosen:
        from ..evaluate.run import results_name

        results /= results_name(config.dataset.split, config.evaluate.part)
    run_evaluate(config, Path(checkpoint), results, given.allow_leakage)


def run_evaluate(
    config: "Config", checkpoint: Path, results: Path, allow_leakage: bool = False
) -> None:
    """Measure one part of the configured split into a folder and print the headline."""
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
    if not first_process():
        return
    coverage, leaked = metrics["coverage"], metrics["leakage"]["videos"]
    print(
        f"split {metrics['split']}, part {metrics['part']}: "
        f"{coverage['predicted']} of {coverage['labelled']} labelled videos predicted"
    )
    if leaked:
        print(f"  {len(leaked)} of them were in the checkpoint's training")
    for dimension, found in {**metrics["dimensions"], "mean": metrics["mean"]}.items():
        counted = f"  {found['n']} of {found['labelled']} videos" if "n" in found else ""
        print(
            f"  {dimension:9} SRCC {_number(found['srcc'])}{_range(found['srcc_ci'])}"
            f"  PLCC {_number(found['plcc'])}  fitted {_number(found['plcc_fitted'])}{counted}"
        )
    print(f"report in {results / 'report.html'}")


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
    for dimension, found in {**rounds["dimensions"], "mean": rounds["mean"]}.items():
        cells = "  ".join(f"{m.upper()} {_spread(found[m])}" for m in ("srcc", "plcc"))
        print(f"  {dimension:9} {cells}")
    for kind, found in rounds["questions"].items():
        print(f"  {kind:17} accuracy {_spread(found['accuracy'])}")
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
    stored = [
        (load_dataset(config.dataset), FeatureStore.open(config.cache.path, config.cache.stage))
        for config in configs
    ]
    from ..evaluate.matrix import Corner, evaluate_matrix, matrix_latex, matrix_text

    corners = {
        config.dataset.name: Corner(dataset, store, config.train.out, config.evaluate)
        for config, (dataset, store) in zip(configs, stored, strict=True)
    }
    pairs = [(train, test) for train in names for test in names]
    with progress("pairs") as done:
        figures = evaluate_matrix(
            corners,
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


def _spread(found: dict[str, Any]) -> str:
    deviation = "-" if found["deviation"] is None else f"{found['deviation']:.3f}"
    return f"{_number(found['median'])}, {_number(found['mean'])} ± {deviation}"


def _split(name: str) -> list[str]:
    """The override that chooses a split."""
    return [f"dataset.split={json.dumps(name, ensure_ascii=False)}"]


def _compare(given: argparse.Namespace) -> None:
    from ..errors import FineVQError
    from ..evaluate.compare import compare_datasets
    from ..evaluate.leakage import content_hashes
    from ..evaluate.printed import as_text
    from ..evaluate.score_files import dataset_labels, read_labels, read_model
    from ..evaluate.tables import published_beside

    if given.labels and given.split:
        raise FineVQError("--split is one of the dataset's, not of --labels; leave one of them out")
    first = _split(given.split) if given.split else []
    configs = [
        load(argparse.Namespace(config=file, overrides=given.overrides), first)
        for file in given.config or [None]
    ]
    datasets = []
    if given.labels:
        labels, sources = [read_labels(text) for text in given.labels], given.labels
    else:
        from ..dataset.videos import load_dataset

        datasets = [load_dataset(config.dataset) for config in configs]
        parts = [config.evaluate.part for config in configs]
        labels = [dataset_labels(*one) for one in zip(datasets, parts, strict=True)]
        sources = [
            f"{one.dataset.folder}, split {one.dataset.split}, part {one.evaluate.part}"
            for one in configs
        ]
    others = published_beside(given.published or [], [one.name for one in labels])
    models = [read_model(text, [one.train.out for one in configs]) for text in given.models]
    hashes = {}
    if any(model.stored for model in models):
        hashes = content_hashes([one.cache.path for one in configs], datasets)
    comparison = compare_datasets(models, labels, hashes, allow_leakage=given.allow_leakage)
    facts = {"Models": ", ".join(given.models), "Labels": "; ".join(sources)}
    try:
        _write_comparison(given, comparison, labels, others, facts)
    except OSError as error:
        raise FineVQError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if given.json:
        results = comparison if len(labels) > 1 else comparison[labels[0].name]
        print(json.dumps(results, indent=2, ensure_ascii=False))
    else:
        width = shutil.get_terminal_size((200, 24)).columns
        print(as_text(comparison, others, width=width))


def _write_comparison(
    given: argparse.Namespace,
    comparison: "Comparison",
    labels: "list[Scores]",
    others: "pd.DataFrame | None",
    facts: dict[str, str],
) -> None:
    from ..evaluate.comparison import write_comparison
    from ..evaluate.latex import as_latex
    from ..evaluate.tables import tidy

    for file in filter(None, (given.html, given.csv, given.latex)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if given.html:
        write_comparison(given.html, comparison, labels, others, facts=facts)
    if given.csv:
        tidy(comparison, others).to_csv(given.csv, index=False)
    if given.latex:
        given.latex.write_text(as_latex(comparison, others) + "\n", "utf-8")


def _score(given: argparse.Namespace) -> int:
    from ..evaluate.listing import listed

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name need not be UTF-8
    config = load(given)
    videos = listed(given.videos)  # its errors come before torch is loaded
    checkpoint = _named(given.checkpoint, config)
    if given.html:
        return _score_card(config, videos, checkpoint, given.html)
    if given.out:
        return _score_into(config, videos, checkpoint, given.out)
    failed = 0
    for card in _scorer(config, checkpoint).score_all(videos):
        failed += card.error is not None
        print(json.dumps(asdict(card)) if given.json else _card(card), flush=True)
    return 2 if failed else 0


def _named(checkpoint: Path | None, config: "Config") -> Path | None:
    """The checkpoint to rate with: named, configured, or None for the one that ships.

    What `finevq demo` trains counts as configured once it is there.
    """
    from ..config import DEFAULTS, load_config

    if checkpoint or (config.train.out / "checkpoint.json").is_file():
        return checkpoint or config.train.out
    defaults, _ = load_config(DEFAULTS)
    return None if config.train.out == defaults.train.out else config.train.out


def _scorer(config: "Config", checkpoint: Path | None) -> "Scorer":
    from ..evaluate.score import Scorer

    train = config.train
    return Scorer(checkpoint, config.extract, device=train.device, max_tokens=train.max_tokens)


def _card(card: "ScoreCard") -> str:
    if card.error is not None:
        return f"{card.video}: {card.error}"
    low, high = card.scale
    lines = [f"{card.video} (scores from {low:g} to {high:g})"]
    for dimension, found in card.ratings.items():
        note = "  (the word and the score disagree)" if found.disagrees else ""
        lines.append(f"  {dimension:9}{found.score:7.1f}  {found.level}{note}")
    return "\n".join(lines)


def _score_card(config: "Config", videos: list[str], checkpoint: Path | None, html: Path) -> int:
    from ..errors import FineVQError

    if len(videos) != 1:
        raise FineVQError(f"--html is the card of one video, not of {len(videos)}; name one")
    from ..evaluate.card import write_card

    card = _scorer(config, checkpoint).score(videos[0])
    if card.error is not None:
        raise FineVQError(f"{card.video}: {card.error}")
    write_card(html, card)
    print(f"card in {html}")
    return 0


def _score_into(config: "Config", videos: list[str], checkpoint: Path | None, out: Path) -> int:
    from ..evaluate.results import Results
    from ..evaluate.score import SHIPPED
    from ..train.checkpoint import digest, read_info

    folder = checkpoint or SHIPPED
    read_info(folder)  # says it best where there is no checkpoint
    results = Results(out, digest(folder), videos)
    left = results.left
    failed = 0
    if left:
        cards = _scorer(config, checkpoint).score_all(left)
        with progress("score") as done, results:
            for number, card in enumerate(cards, start=1):
                results.add(card)
                failed += card.error is not None
                done(number, len(left), f"{failed} failed" if failed else "")
    before = len(videos) - len(left)
    print(f"{len(left) - failed} videos scored into {out}, {before} were there before", end="")
    print(f"; {failed} failed, which the same command tries again" if failed else "")
    return 2 if failed else 0


def _serve(given: argparse.Namespace) -> None:
    from ..errors import FineVQError

    if given.limit < 1:
        raise FineVQError(f"--limit {given.limit}: no video is that small; give it in MB")
    config = load(given)
    scorer = _scorer(config, _named(given.checkpoint, config))
    from ..evaluate.serve import Server

    try:
        server = Server((given.host, given.port), scorer.score, limit=given.limit * 1_000_000)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FineVQError(
            f"cannot listen on {given.host}:{given.port}: {why}; choose another --port"
        ) from error
    with server:
        print(f"{server.url} (stop it with Ctrl-C)", flush=True)
        server.serve_forever()
