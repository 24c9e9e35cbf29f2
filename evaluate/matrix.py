"""Train here, test there: each model measured on each dataset (the paper's Tables 4 and 5).

A cell is an evaluation of its own, with predictions, metrics and report, so that a run that was
stopped goes on. Only correlations are put side by side: they do not depend on the MOS scale.
"""

from collections.abc import Callable, Mapping
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
from .run import Progress, evaluate
from .settings import EvaluateSettings

SHOWN = ("srcc", "plcc")
"""The metrics of a printed table, in the overall score, as the paper has them."""


@dataclass(frozen=True)
class Corner:
    """A dataset with its features and the model that was trained on it."""

    dataset: Dataset
    store: FeatureStore
    checkpoint: Path
    settings: EvaluateSettings


def evaluate_matrix(
    corners: Mapping[str, Corner],
    out: Path,
    *,
    device: str = "auto",
    max_tokens: int | None = None,
    progress: Callable[[str, str], Progress] = lambda train, test: lambda done, total: None,
) -> pd.DataFrame:
    """Measure each model on the configured part of each dataset's split.

    Args:
        corners: by the dataset's name.
        out: a pair's results go to its folder TRAIN-on-TEST.
        device: as `evaluate` takes it.
        max_tokens: as `evaluate` takes it.
        progress: gives each pair its progress.

    Returns:
        A row a figure: train, test, dimension, metric, value, low, high, n; low to high is the
        interval.

    Raises:
        FineVQError: as `evaluate`; the features of all datasets must be made with one setup.
    """
    rows: list[dict[str, Any]] = []
    for train, model in corners.items():
        for test, there in corners.items():
            metrics = evaluate(
                there.dataset,
                there.store,
                model.checkpoint,
                there.settings.model_copy(update={"out": out / f"{train}-on-{test}"}),
                device=device,
                max_tokens=max_tokens,
                progress=progress(train, test),
            )
            for dimension, found in metrics["dimensions"].items():
                for metric in CORRELATIONS:
                    low, high = found[f"{metric}_ci"] or (None, None)
                    figures = {"value": found[metric], "low": low, "high": high, "n": found["n"]}
                    pair = {"train": train, "test": test}
                    rows.append(pair | {"dimension": dimension, "metric": metric} | figures)
    types = dict.fromkeys(("value", "low", "high"), "float64")
    return pd.DataFrame(rows).astype(types)


def matrix_text(figures: pd.DataFrame) -> str:
    """The overall score, a row a training set and two columns a test set."""
    cells = _cells(figures)
    wide = max(map(len, ["trained on", *cells.index]))
    widths = {test: max(len(test), 14) for test in cells.columns.unique(0)}
    lines = ["  ".join(["trained on".ljust(wide), *(t.rjust(w) for t, w in widths.items())])]
    titles = "  ".join(TITLES[metric].rjust(6) for metric in SHOWN)
    lines.append("  ".join([" " * wide, *(titles.rjust(w) for w in widths.values())]))
    for train, row in cells.iterrows():
        texts = [
            "  ".join(_figure(row[test, metric]).rjust(6) for metric in SHOWN).rjust(width)
            for test, width in widths.items()
        ]
        lines.append("  ".join([str(train).ljust(wide), *texts]))
    return "\n".join(lines)


def matrix_latex(figures: pd.DataFrame) -> str:
    """The same as a booktabs table."""
    cells = _cells(figures)
    tests = list(cells.columns.unique(0))
    over = [rf"\multicolumn{{{len(SHOWN)}}}{{c}}{{{escaped(test)}}}" for test in tests]
    titles = [TITLES[metric] for metric in SHOWN] * len(tests)
    lines = [
        rf"\begin{{tabular}}{{l{'c' * len(titles)}}}",
        r"\toprule",
        " & ".join(["Test on", *over]) + r" \\",
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


def _figure(value: float, nothing: str = "-") -> str:
    return nothing if np.isnan(value) else f"{value:.4f}"
