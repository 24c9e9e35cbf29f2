"""The command that puts models side by side: compare."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Commands, add_command, add_config, load, split_override

if TYPE_CHECKING:
    import pandas as pd

    from ..config import Config
    from ..dataset.videos import Dataset
    from ..evaluate.compare.scores import Scores
    from ..evaluate.compare.tables import Comparison


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add this group's command."""
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


def _compare(given: argparse.Namespace) -> None:
    from ..errors import FineVQError
    from ..evaluate.compare.comparison import compare_datasets
    from ..evaluate.compare.leakage import content_hashes
    from ..evaluate.compare.printed import as_text
    from ..evaluate.compare.published import published_beside
    from ..evaluate.compare.score_files import read_model

    if given.labels and given.split:
        raise FineVQError("--split is one of the dataset's, not of --labels; leave one of them out")
    split = split_override(given.split) if given.split else []
    configs = [
        load(argparse.Namespace(config=file, overrides=given.overrides), split)
        for file in given.config or [None]
    ]
    labels, sources, datasets = _labels(given.labels, configs)
    published = published_beside(given.published or [], [one.name for one in labels])
    models = [read_model(text, [config.train.out for config in configs]) for text in given.models]
    hashes = {}
    if any(model.stored for model in models):
        hashes = content_hashes([config.cache.path for config in configs], datasets)
    comparison = compare_datasets(models, labels, hashes, allow_leakage=given.allow_leakage)
    facts = {"Models": ", ".join(given.models), "Labels": "; ".join(sources)}
    try:
        _write_comparison(given, comparison, labels, published, facts)
    except OSError as error:
        raise FineVQError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if given.json:
        results = comparison if len(labels) > 1 else comparison[labels[0].name]
        print(json.dumps(results, indent=2, ensure_ascii=False))
    else:
        width = shutil.get_terminal_size((200, 24)).columns
        print(as_text(comparison, published, width=width))


def _labels(
    files: Sequence[str] | None, configs: "Sequence[Config]"
) -> "tuple[list[Scores], Sequence[str], list[Dataset]]":
    """The labels to compare with, where each of them comes from, and the datasets.

    With files given by --labels no configured dataset is read.
    """
    from ..evaluate.compare.score_files import dataset_labels, read_labels

    if files:
        return [read_labels(text) for text in files], files, []
    from ..dataset.videos import load_dataset

    datasets = [load_dataset(config.dataset) for config in configs]
    labels = [
        dataset_labels(dataset, config.evaluate.part)
        for dataset, config in zip(datasets, configs, strict=True)
    ]
    sources = [
        f"{one.dataset.folder}, split {one.dataset.split}, part {one.evaluate.part}"
        for one in configs
    ]
    return labels, sources, datasets


def _write_comparison(
    given: argparse.Namespace,
    comparison: "Comparison",
    labels: "list[Scores]",
    published: "pd.DataFrame | None",
    facts: dict[str, str],
) -> None:
    from ..evaluate.compare.latex import as_latex
    from ..evaluate.compare.tables import tidy
    from ..evaluate.pages.comparison import write_comparison

    for file in filter(None, (given.html, given.csv, given.latex)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if given.html:
        write_comparison(given.html, comparison, labels, published, facts=facts)
    if given.csv:
        tidy(comparison, published).to_csv(given.csv, index=False)
    if given.latex:
        given.latex.write_text(as_latex(comparison, published) + "\n", "utf-8")
