"""The description of a dataset: the paper's figures 3, 4, 8 and 10 as a page and as CSV files.

The page is one file: its drawings are in it, for a light and a dark theme, and it loads nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from ..progress import Progress
from ..videos import DIMENSIONS, Dataset
from .features import FEATURES, measure_features

BINS = 20
"""Bars of a histogram."""

_TEMPLATE = Path(__file__).with_name("description.html")


def describe(
    dataset: Dataset,
    out: Path,
    progress: Progress,
    *,
    features: bool = True,
    workers: int | None = None,
) -> list[Path]:
    """Write the description of a dataset.

    Args:
        dataset: the tables on MOS are left out if it has none.
        out: the folder for `description.html`, `mos.csv`, `histograms.csv`, `categories.csv`,
            `correlations.csv` and `features.csv`; existing files are replaced.
        progress: called for each video whose features are computed.
        features: whether to decode the videos for `features.csv` and its part of the page.
        workers: as in `measure_features`.

    Returns:
        The files that were written.
    """
    mos = mos_table(dataset)
    tables: dict[str, pd.DataFrame] = {}
    if len(mos.columns):
        tables["mos"] = _summary(mos)
        tables["histograms"] = _histograms(mos, dataset.settings.mos_range)
        tables["categories"] = by_category(dataset, mos)
        tables["correlations"] = correlations(mos)
    if features:
        measured = measure_features([video.path for video in dataset], progress, workers)
        tables["features"] = measured.set_axis(mos.index)
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "description.html"]
    for name, table in tables.items():
        written.append(out / f"{name}.csv")
        table.round(6).to_csv(written[-1], lineterminator="\n")
    page = _page(dataset, mos, tables)
    written[0].write_text(page + "\n", "utf-8", newline="\n")
    return written


def mos_table(dataset: Dataset) -> pd.DataFrame:
    """The MOS: a row for each video id, a column for each dimension that has labels."""
    index = pd.Index(dataset.ids, name="video")
    table = pd.DataFrame([dict(video.labels) for video in dataset], index=index)
    return table.reindex(columns=[d for d in DIMENSIONS if d in table])


def _summary(mos: pd.DataFrame) -> pd.DataFrame:
    return mos.describe().T.rename_axis("dimension").rename(columns={"count": "videos"})


def _histograms(mos: pd.DataFrame, span: tuple[float, float]) -> pd.DataFrame:
    edges = np.linspace(*span, BINS + 1)
    counts = {d: np.histogram(mos[d].dropna(), edges)[0] for d in mos}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **counts}).rename_axis("bar")


def by_category(dataset: Dataset, mos: pd.DataFrame) -> pd.DataFrame:
    """Number, mean, deviation and quartiles of the MOS, by category and dimension."""
    categories = pd.Series([video.category for video in dataset], index=mos.index)
    long = mos.assign(category=categories[categories != ""]).melt(
        "category", var_name="dimension", value_name="mos"
    )
    table = long.dropna().groupby(["category", "dimension"])["mos"].describe()
    return table.rename(columns={"count": "videos"})


def correlations(mos: pd.DataFrame) -> pd.DataFrame:
    """SRCC and PLCC of each pair of dimensions, over the videos that have labels in both."""
    tables = {
        "srcc": mos.corr("spearman", min_periods=3),
        "plcc": mos.corr("pearson", min_periods=3),
    }
    return pd.concat(tables, names=["measure", "dimension"])


def _page(dataset: Dataset, mos: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> str:
    span = dataset.settings.mos_range
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, correlation=_correlation)
    features = tables.get("features")
    failed = {} if features is None else features["error"][features["error"] != ""].to_dict()
    return environment.get_template(_TEMPLATE.name).render(
        name=dataset.settings.name,
        videos=len(dataset),
        span=span,
        dimensions=[_panel(str(d), mos[d], span) for d in mos],
        categories=_categories(dataset, mos, span),
        correlations=tables["correlations"].loc["srcc"] if len(mos.columns) > 1 else None,
        features=[]
        if features is None
        else [
            _panel(name, features[name], None) for name in FEATURES if features[name].notna().any()
        ],
        failed=failed,
    )


def _panel(
    name: str, values: "pd.Series[float]", span: tuple[float, float] | None
) -> dict[str, Any]:
    """A histogram and its key figures; without a span it reaches from the lowest to the highest."""
    known = values.dropna().to_numpy(np.float64)
    low, high = span or (float(known.min()), float(known.max()))
    counts = np.histogram(known, np.linspace(low, high if high > low else low + 1, BINS + 1))[0]
    quartiles: Sequence[float] = np.percentile(known, [25, 50, 75]).tolist() if len(known) else []
    return {
        "name": name.upper() if name in ("si", "ti") else name,
        "videos": len(known),
        "low": low,
        "high": high,
        "bars": (counts / max(counts.max(), 1)).tolist(),
        "mean": float(known.mean()),
        "quartiles": quartiles,
    }


def _categories(
    dataset: Dataset, mos: pd.DataFrame, span: tuple[float, float]
) -> list[dict[str, Any]]:
    """A panel of the overall MOS (else the first dimension's) for each category, largest first."""
    if mos.columns.empty:
        return []
    values = mos["overall" if "overall" in mos else mos.columns[0]]
    categories = pd.Series([video.category for video in dataset], index=mos.index)
    groups = values[categories != ""].dropna().groupby(categories)
    panels = [_panel(str(category), found, span) for category, found in groups]
    return sorted(panels, key=lambda panel: (-panel["videos"], panel["name"]))


def _correlation(value: float) -> str:
    return f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    """Three significant digits, with a real minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
