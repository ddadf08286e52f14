"""Results of the long-context evaluations → figures.

Knows matplotlib, which comes with the extra `plots`, and nothing of models. Figures are drawn without a screen and are
the same bytes for the same results; words in an SVG stay words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.errors import MissingPackage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_SVG = "plot.svg"
PLOT_PNG = "plot.png"

Draw = Callable[[Mapping[str, Any]], "Figure"]

_MOST_DRAWN = 1e12
"""Intervals beyond it are of a model that has failed at that length: they would hide all others."""
_MARKERS = "osD^vPX*"
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "camelid", "axes.spines.top": False, "axes.spines.right": False}
_PANEL = 3.4
"""Inches."""


def save_plots(draw: Draw, results: Mapping[str, Any], directory: Path) -> None:
    """Plot results as SVG and as PNG.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingPackage(
            "no plot is drawn, for matplotlib is not installed; `pip install 'camelid-serve[plots]'` brings it. "
            "All numbers are in the results."
        ) from None
    with matplotlib.rc_context(_STYLE):
        figure = draw(results)
        figure.savefig(directory / PLOT_SVG, metadata={"Date": None})
        figure.savefig(directory / PLOT_PNG, dpi=120, metadata={"Software": None})


def _figure(width: float, height: float) -> Figure:
    """An empty one that belongs to no screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def context_figure(results: Mapping[str, Any]) -> Figure:
    """Perplexity against context length: a line per variant within its 95 % intervals, and a dotted one at its context
    length."""
    figure = _figure(7.2, 4.4)
    axes = figure.subplots()
    for number, (variant, marker) in enumerate(zip(results["variants"], cycle(_MARKERS), strict=False)):
        points = [point for point in variant["points"] if point["perplexity"] is not None]
        lengths, worth = [point["length"] for point in points], [point["perplexity"] for point in points]
        (line,) = axes.plot(lengths, worth, marker=marker, label=variant["label"], gid=f"variant-{number}")
        ends = [(point["length"], point["estimate"]["low"], point["estimate"]["high"]) for point in points]
        known = [(length, low, high) for length, low, high in ends if low is not None and high < _MOST_DRAWN]
        at, lowest, highest = ([point[place] for point in known] for place in range(3))
        axes.fill_between(at, lowest, highest, color=line.get_color(), alpha=0.15, linewidth=0)
        end = variant["context"]
        if end and results["lengths"][0] < end < results["lengths"][-1]:
            axes.axvline(end, color=line.get_color(), linestyle=":", linewidth=1, gid=f"end-{number}")
    _lengths(axes, results["lengths"])
    values = [p["perplexity"] for variant in results["variants"] for p in variant["points"] if p["perplexity"]]
    if values and max(values) > 8 * min(values):
        _logarithmic(axes)
    axes.set_ylabel("perplexity, 95 % intervals")
    axes.set_title(f"Perplexity of {results['text']}, {results['tokens']:,} tokens predicted at each length", size=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def passkey_figure(results: Mapping[str, Any]) -> Figure:
    """Which keys were found: a panel per variant, context length across and depth downwards."""
    many = len(results["variants"])
    columns = min(3, many)
    rows = math.ceil(many / columns)
    figure = _figure(max(_PANEL * columns, 4.5), _PANEL * 0.85 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for number, (variant, axes) in enumerate(zip(results["variants"], panels, strict=False)):
        _panel(axes, variant, results["lengths"], results["depths"])
        axes.set_gid(f"variant-{number}")
    for axes in panels[many:]:
        axes.set_axis_off()
    figure.suptitle("Keys found in long texts", size=10)
    return figure


def _panel(axes: Axes, variant: Mapping[str, Any], lengths: Sequence[int], depths: Sequence[float]) -> None:
    shares = {(cell["length"], cell["depth"]): cell for cell in variant["cells"]}
    for column, length in enumerate(lengths):
        for row, depth in enumerate(depths):
            cell = shares[length, depth]
            share = cell["found"] / cell["of"] if cell["of"] else None
            colour = "0.92" if share is None else _colour(share)
            axes.add_patch(_square(column, row, colour))
            text = "–" if share is None else f"{cell['found']}/{cell['of']}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=8)
    axes.set(xlim=(0, len(lengths)), ylim=(len(depths), 0))
    axes.set_xticks([at + 0.5 for at in range(len(lengths))], [f"{length}" for length in lengths], size=8)
    axes.set_yticks([at + 0.5 for at in range(len(depths))], [f"{depth:.0%}" for depth in depths], size=8)
    axes.tick_params(length=0)
    axes.set_xlabel("context length, tokens", size=8)
    axes.set_ylabel("depth of the key", size=8)
    axes.set_title(variant["label"], size=9)


def _square(column: int, row: int, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=2)


def _colour(share: float) -> Any:
    from matplotlib import colormaps

    return colormaps["YlGnBu"](0.05 + 0.5 * share)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.minorticks_off()


def _lengths(axes: Axes, lengths: Sequence[int]) -> None:
    """An axis on which every doubling is as wide, marked where something was measured."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length}" for length in lengths])
    axes.minorticks_off()
    axes.set_xlabel("context length, tokens")
