"""The figures of the reports: small panels, for a page and as files.

For a page, matplotlib draws in placeholder colours, which are replaced by CSS variables, and text
stays text. So one drawing serves the light and the dark theme, in the page's own font. The page
defines the variables `--ink`, `--rule`, `--predicted` and `--label`.
"""

import html
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from ..metrics.logistic import Logistic

Array = npt.NDArray[np.float64]

BINS = 20
"""Bars of a distribution over the MOS range."""

DPI = 300
"""Of PNG files at their printed size: a panel's 240 units are 3.3 inches, a column of a paper."""

LONGEST = 24
"""Most characters of a model's name in a figure; a longer name is cut."""


class Colours(NamedTuple):
    """The colours of the parts of a figure."""

    ink: str
    rule: str
    predicted: str
    label: str


THEMED = Colours("#010101", "#020202", "#030303", "#040404")
"""Placeholders for the variables of a page."""

LIGHT = Colours("#1d2126", "#dfe3e7", "#2b6cb0", "#8b95a1")
"""The colours of files."""


def scatter(
    predicted: Array,
    label: Array,
    span: tuple[float, float],
    curve: Logistic | None = None,
    colours: Colours = THEMED,
) -> Figure:
    """Draw predictions (vertical) against MOS (horizontal) over the line of equality.

    Args:
        predicted: shape (videos,), on the MOS scale; values outside are drawn on the border.
        label: shape (videos,).
        span: the MOS range, of both axes.
        curve: fitted to the predictions, drawn over their range.
        colours: of its parts.

    Returns:
        A panel 240 units wide and 228 high.
    """
    figure, axes = _panel(240, 228, span, colours)
    axes.set(ylim=span, aspect="equal")
    _ticks(axes.yaxis, span)
    axes.grid(color=colours.rule, linewidth=0.6)
    axes.plot(span, span, color=colours.label, linewidth=1, dashes=(3, 3))
    axes.plot(
        label,
        np.clip(predicted, *span),
        linestyle="none",
        marker="o",
        markersize=_marker_size(len(label)),
        markerfacecolor=colours.predicted,
        markeredgewidth=0,
        alpha=0.6,
        clip_on=False,
    )
    if curve is not None:
        low, high = np.clip([predicted.min(), predicted.max()], *span)
        x = np.linspace(float(low), float(high), 50)
        axes.plot(curve(x), x, color=colours.ink, linewidth=1.2)
    return figure


def distribution(
    predicted: Array, label: Array, span: tuple[float, float], colours: Colours = THEMED
) -> Figure:
    """Draw the histogram of predictions (line) over that of the MOS (area), each as shares.

    Args:
        predicted: shape (videos,); values outside the range count in the outermost bar.
        label: shape (labels,), which may be empty.
        span: the MOS range.
        colours: of its parts.

    Returns:
        A panel 240 units wide and 110 high.
    """
    figure, axes = _panel(240, 110, span, colours, below=20)
    axes.yaxis.set_visible(False)
    edges = np.linspace(*span, BINS + 1)
    if len(label):
        axes.stairs(_shares(label, edges), edges, fill=True, color=colours.label, alpha=0.45)
    if len(predicted):
        axes.stairs(_shares(predicted, edges), edges, color=colours.predicted, linewidth=1.5)
    axes.set_ylim(bottom=0)
    return figure


def intervals(
    models: Mapping[str, tuple[float, list[float] | None]],
    span: tuple[float, float],
    colours: Colours = THEMED,
) -> Figure:
    """Draw values of models, one below the other, over their intervals.

    Args:
        models: the value and its interval, by the model's name.
        span: the range of the axis.
        colours: of its parts.

    Returns:
        A panel 240 units wide, 30 a model high and 32 for the axis.
    """
    figure, axes = _panel(240, 30 * len(models) + 32, span, colours, left=12)
    axes.yaxis.set_visible(False)
    axes.set_ylim(len(models), 0)
    axes.grid(axis="x", color=colours.rule, linewidth=0.6)
    across = axes.get_yaxis_transform()
    for row, (model, (value, interval)) in enumerate(models.items()):
        name = model if len(model) <= LONGEST else model[: LONGEST - 1] + "…"
        for x, text, side in ((0, name, "left"), (1, f"{value:.3f}", "right")):
            # A dollar sign in a name starts no formula.
            words = axes.text(x, row + 0.5, text, ha=side, transform=across, parse_math=False)
            words.set(fontsize=9, color=colours.ink)
        y, colour = row + 0.75, colours.predicted
        if interval:
            axes.plot(interval, (y, y), color=colour, linewidth=4, alpha=0.45)
        axes.plot(value, y, marker="o", markersize=5, color=colour)
    return figure


def element(figure: Figure, name: str, title: str) -> str:
    """A figure in `THEMED` colours as a scalable element of a page, with ids that are unique there.

    Args:
        figure: the panel.
        name: prefix of the ids in the drawing, unique on its page.
        title: the text for screen readers.

    Returns:
        An `<svg>` element.
    """
    buffer = io.StringIO()
    _write_svg(figure, buffer)
    text = buffer.getvalue()
    for variable, placeholder in THEMED._asdict().items():
        text = text.replace(placeholder, f"var(--{variable})")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    body = text[text.index("</defs>") + len("</defs>") :]  # without the style: the page has its own
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">{body}'
    )


def write(figure: Figure, path: Path) -> None:
    """Write a figure in `LIGHT` colours as two files, `path` with .svg and with .png."""
    with path.with_suffix(".svg").open("w", encoding="utf-8", newline="\n") as file:
        _write_svg(figure, file)
    figure.savefig(path.with_suffix(".png"), dpi=DPI)


def _write_svg(figure: Figure, to: IO[str]) -> None:
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Text stays text, and ids depend on the content alone: the same input gives the same bytes.
    stable = mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "finevq"})
    with stable, warnings.catch_warnings():
        # The reader's browser has a font for letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", r"Glyph .* missing")
        figure.savefig(to, format="svg", transparent=True, metadata=nothing)


def _panel(
    width: int,
    height: int,
    span: tuple[float, float],
    colours: Colours,
    *,
    left: int = 32,
    below: int = 24,
) -> tuple[Figure, Axes]:
    """An empty panel of a size in units of 1/72 inch, whose horizontal axis is the range."""
    figure = Figure(figsize=(width / 72, height / 72))  # the SVG backend's unit is 1/72 inch
    right, above = 12, 8
    axes = figure.add_axes(
        (
            left / width,
            below / height,
            1 - (left + right) / width,
            1 - (above + below) / height,
        )
    )
    axes.patch.set_visible(False)
    axes.set(xlim=span, axisbelow=True)
    _ticks(axes.xaxis, span)
    axes.tick_params(length=0, pad=5, labelsize=9, labelcolor=colours.ink)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=colours.rule, linewidth=0.8)
    return figure, axes


def _ticks(axis: Axis, span: tuple[float, float]) -> None:
    ticks = np.linspace(*span, 3)
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])


def _marker_size(videos: int) -> float:
    """From 5 units for ten videos down to 2 for a thousand and more."""
    return float(np.clip(6.5 - 1.5 * np.log10(max(videos, 1)), 2, 5))


def _shares(values: Array, edges: Array) -> Array:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return counts / len(values)
