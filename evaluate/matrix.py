"""Cross-dataset tests: the model of each dataset measured on all datasets (paper, Tables 4 and 5).

Each pair is an evaluation of its own, with predictions, metrics and report, so that a run that was
stopped goes on. The table has correlations only: they do not depend on the MOS scale.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cache.store import FeatureStore
from ..dataset.videos import Dataset
from .compare.latex import escaped
from .compare.tables import TITLES
from .metrics.agreement import CORRELATIONS
from .predict.predictions import Progress
from .run import evaluate
from .settings import EvaluateSettings

SHOWN = ("srcc", "plcc")
"""The metrics of the overall score in a printed table, as in the paper."""


@dataclass(frozen=True)
class TrainedDataset:
    """A dataset with its features and the model that was trained on it."""

    dataset: Dataset
    store: FeatureStore
    checkpoint: Path
    settings: EvaluateSettings


def evaluate_matrix(
    datasets: Mapping[str, TrainedDataset],
    out: Path,
    *,
    device: str = "auto",
    max_tokens: int | None = None,
    progress: Callable[[str, str], Progress] = lambda train, test: lambda done, total: None,
) -> pd.DataFrame:
    """Measure each model on the configured part of each dataset's split.

    Args:
        datasets: by the dataset's name.
        out: folder; the results of a pair go to TRAIN-on-TEST in it.
        device: as `evaluate` takes it.
        max_tokens: as `evaluate` takes it.
        progress: makes the progress callback of a pair, from the names of both datasets.

    Returns:
        A row for each figure: train, test, dimension, metric, value, low, high, n. The interval is
        from low to high.

    Raises:
        FineVQError: as `evaluate`; the features of all datasets must be made with one setup.
    """
    rows: list[dict[str, Any]] = []
    for train, trained in datasets.items():
        for test, tested in datasets.items():
            metrics = evaluate(
                tested.dataset,
                tested.store,
                trained.checkpoint,
                tested.settings.model_copy(update={"out": out / f"{train}-on-{test}"}),
                device=device,
                max_tokens=max_tokens,
                progress=progress(train, test),
            )
            rows += [{"train": train, "test": test} | figure for figure in _figures(metrics)]
    types = dict.fromkeys(("value", "low", "high"), "float64")
    return pd.DataFrame(rows).astype(types)


def _figures(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The correlations of one evaluation, a row for each dimension and metric."""
    for dimension, found in metrics["dimensions"].items():
        for metric in CORRELATIONS:
            low, high = found[f"{metric}_ci"] or (None, None)
            yield {
                "dimension": dimension,
                "metric": metric,
                "value": found[metric],
                "low": low,
                "high": high,
                "n": found["n"],
            }


def matrix_text(figures: pd.DataFrame) -> str:
    """The overall score: a row for each training set, two columns for each test set."""
    cells = _cells(figures)
    name_width = max(map(len, ["trained on", *cells.index]))
    widths = {test: max(len(test), 14) for test in cells.columns.unique(0)}
    lines = ["  ".join(["trained on".ljust(name_width), *(t.rjust(w) for t, w in widths.items())])]
    titles = "  ".join(TITLES[metric].rjust(6) for metric in SHOWN)
    lines.append("  ".join([" " * name_width, *(titles.rjust(w) for w in widths.values())]))
    for train, row in cells.iterrows():
        texts = [
            "  ".join(_figure(row[test, metric]).rjust(6) for metric in SHOWN).rjust(width)
            for test, width in widths.items()
        ]
        lines.append("  ".join([str(train).ljust(name_width), *texts]))
    return "\n".join(lines)


def matrix_latex(figures: pd.DataFrame) -> str:
    """The table of `matrix_text` in LaTeX, with booktabs rules."""
    cells = _cells(figures)
    tests = list(cells.columns.unique(0))
    groups = [rf"\multicolumn{{{len(SHOWN)}}}{{c}}{{{escaped(test)}}}" for test in tests]
    titles = [TITLES[metric] for metric in SHOWN] * len(tests)
    lines = [
        rf"\begin{{tabular}}{{l{'c' * len(titles)}}}",
        r"\toprule",
        " & ".join(["Test on", *groups]) + r" \\",
        " & ".join(["Train on", *titles]) + r" \\",
        r"\midrule",
        *(
            " & ".join([escaped(str(train)), *(_figure(value, "--") for value in row)]) + r" \\"
            for train, row in zip(cells.index, cells.to_numpy(), strict=True)
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _cells(figures: pd.DataFrame) -> pd.DataFrame:
    overall = figures[(figures["dimension"] == "overall") & figures["metric"].isin(SHOWN)]
    names = list(overall["train"].unique())
    wide = overall.pivot(index="train", columns=["test", "metric"], values="value")
    columns = pd.MultiIndex.from_product([names, SHOWN])
    return wide.reindex(index=names, columns=columns)


def _figure(value: float, undefined: str = "-") -> str:
    return undefined if np.isnan(value) else f"{value:.4f}"
