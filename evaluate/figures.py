"""The figures of the report: small SVG panels that take their colours from the page.

matplotlib draws in placeholder colours that become CSS variables, and leaves text as text: one
drawing serves the light and the dark theme, in the page's own font. The page that shows a panel
defines `--ink`, `--rule`, `--predicted` and `--label`.
"""

import html
import io
import re

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from .logistic import Logistic

Array = npt.NDArray[np.float64]

BINS = 20
"""Bars of a distribution over the MOS range."""

_INK, _RULE, _PREDICTED, _LABEL = "#010101", "#020202", "#030303", "#040404"
_LIGHT = {"--ink": "#1d2126", "--rule": "#dfe3e7", "--predicted": "#2b6cb0", "--label": "#8b95a1"}
_VARIABLES = {_INK: "--ink", _RULE: "--rule", _PREDICTED: "--predicted", _LABEL: "--label"}


def scatter(
    name: str,
    title: str,
    predicted: Array,
    label: Array,
    span: tuple[float, float],
    curve: Logistic | None = None,
) -> str:
    """Draw predictions (vertical) against MOS (horizontal) over the line of equality.

    Args:
        name: prefix of the ids in the drawing, unique on its page.
        title: what a screen reader says.
        predicted: shape (videos,), on the MOS scale; outside the range it is drawn on the border.
        label: shape (videos,).
        span: the MOS range, of both axes.
        curve: fitted to the predictions, drawn over their range.

    Returns:
        An `<svg>` element, 240 units wide and 228 high.
    """
    figure, axes = _panel(240, 228, span, below=24)
    axes.set(ylim=span, aspect="equal")
    _ticks(axes.yaxis, span)
    axes.grid(color=_RULE, linewidth=0.6)
    axes.plot(span, span, color=_LABEL, linewidth=1, dashes=(3, 3))
    axes.plot(
        label,
        np.clip(predicted, *span),
        linestyle="none",
        marker="o",
        markersize=_marker_size(len(label)),
        markerfacecolor=_PREDICTED,
        markeredgewidth=0,
        alpha=0.6,
        clip_on=False,
    )
    if curve is not None:
        low, high = np.clip([predicted.min(), predicted.max()], *span)
        x = np.linspace(float(low), float(high), 50)
        axes.plot(curve(x), x, color=_INK, linewidth=1.2)
    return _svg(figure, name, title)


def distribution(
    name: str, title: str, predicted: Array, label: Array, span: tuple[float, float]
) -> str:
    """Draw the histogram of predictions (line) over that of the MOS (area), each as shares.

    Args:
        name: prefix of the ids in the drawing, unique on its page.
        title: what a screen reader says.
        predicted: shape (videos,), outside the range it counts in the outermost bar.
        label: shape (labels,), which may be empty.
        span: the MOS range.

    Returns:
        An `<svg>` element, 240 units wide and 110 high.
    """
    figure, axes = _panel(240, 110, span, below=20)
    axes.yaxis.set_visible(False)
    edges = np.linspace(*span, BINS + 1)
    if len(label):
        axes.stairs(_shares(label, edges), edges, fill=True, color=_LABEL, alpha=0.45)
    if len(predicted):
        axes.stairs(_shares(predicted, edges), edges, color=_PREDICTED, linewidth=1.5)
    axes.set_ylim(bottom=0)
    return _svg(figure, name, title)


def standalone(svg: str) -> str:
    """A drawing as a file of its own, in the colours of the light theme."""
    for variable, colour in _LIGHT.items():
        svg = svg.replace(f"var({variable})", colour)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg ", f"<svg {namespaces} ", 1) + "\n"


def _panel(
    width: int, height: int, span: tuple[float, float], *, below: int
) -> tuple[Figure, Axes]:
    """An empty panel of so many units whose horizontal axis is the MOS range."""
    figure = Figure(figsize=(width / 72, height / 72))  # the SVG backend's unit is 1/72 inch
    left, right, above = 32, 12, 8
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
    axes.tick_params(length=0, pad=5, labelsize=9, labelcolor=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=_RULE, linewidth=0.8)
    return figure, axes


def _ticks(axis: Axis, span: tuple[float, float]) -> None:
    ticks = np.linspace(*span, 3)
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])


def _marker_size(videos: int) -> float:
    """Small where there are many: from 5 units for ten videos to 2 for a thousand and more."""
    return float(np.clip(6.5 - 1.5 * np.log10(max(videos, 1)), 2, 5))


def _shares(values: Array, edges: Array) -> Array:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return counts / len(values)


def _svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an element of a page: themed, scalable, with ids of its own."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Text stays text, and ids follow from the content alone: same input, same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "finevq"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, f"var({variable})")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    body = text[text.index("</defs>") + len("</defs>") :]  # past a style that the page sets itself
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">{body}'
    )
