"""How pictures look: one size for phone and screen, colours that colour-blind people tell apart.

A picture is drawn once, in the colours below. As PNG it keeps them, on white. Inside a page it is
SVG whose colours are CSS variables of the same names, so that it follows the page into dark mode,
and whose text is text, in the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitsearch.runs.files import atomic_path

Drawing = tuple[Callable[[Any, Any], None], tuple[float, float]]
"""What draws facts on a figure, and the figure's size in inches."""

WIDTH = 4.2  # inches: as wide as a phone holds it up, so that its text stays legible there
_DOTS_PER_INCH = 220

INK = "#1b1f24"
MUTED = "#5d6673"
RULE = "#d5dae0"
SHADE = "#eef1f4"
PAPER = "#ffffff"
# Okabe and Ito's, for all common kinds of colour blindness; see "Color Universal Design" (2008).
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
AMBER = "#e69f00"
SKY = "#56b4e9"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
# One hue from pale to strong, for what has an order.
STEPS = ("#d6e6f2", "#a6cbe3", "#6fa9cf", "#3a84b7", "#12619b", "#0b4270")

VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    SHADE: "shade",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
    AMBER: "amber",
    SKY: "sky",
    **{colour: f"step{number}" for number, colour in enumerate(STEPS)},
}
"""Colour in a drawing to the name of the page's variable."""

_SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": PAPER,
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "vitsearch",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings under which figures are made and saved; matplotlib's own come back after it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Matplotlib created a temporary cache directory.*")
        import matplotlib
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(height: float) -> Any:
    """An empty figure, `WIDTH` x `height` inches, without pyplot's global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def save_png(figure: Any, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)


def write_plots(plots: Mapping[str, Drawing], facts: Any, folder: Path) -> list[Path]:
    """Draw facts in matplotlib's own style, each plot into a PNG file of its name.

    Returns:
        The files.
    """
    from matplotlib.figure import Figure

    files = []
    for name, (draw, size) in plots.items():
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        draw(figure, facts)
        files.append(folder / f"{name}.png")
        with atomic_path(files[-1]) as temporary:
            figure.savefig(temporary, format="png")
    return files


def to_svg(figure: Any, label: str) -> str:
    """A figure as an `<svg>` to be put into a page that defines the variables.

    Args:
        figure: What to draw.
        label: What it shows, in words, for those who do not see it.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, facecolor="none")
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"[^\"]*\">", "<g>", svg)  # a page has each name once
    svg = re.sub(r"\s*font-family: [^;\"]*;?", "", svg)
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    opening = re.sub(r" (width|height)=\"[^\"]*\"", "", svg[: svg.index(">")])
    opening += f' role="img" aria-label="{_escaped(label)}"'
    return opening + svg[svg.index(">") :]


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text
