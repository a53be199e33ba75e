"""The found architecture, block by block: heads and local channels, MLP, skipped slots, MACs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitsearch.costs import human
from vitsearch.reports.facts.architecture_rows import Row, architecture_rows
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.base import Picture
from vitsearch.reports.words.architecture import describe_input

_HEIGHTS = {
    "stem": 0.4,
    "transition": 0.4,
    "head": 0.4,
    "stage": 0.38,
    "block": 0.43,
    "left out": 0.29,
}
_TOP = 0.62
_BAR = 0.14
# Left edge and width of each column, in inches.
_NAME = 0.04
_MIXER = (0.66, 1.5)
_MLP = (2.28, 0.78)
_MACS = (3.2, 0.95)
_COLOURS = {"head": style.BLUE, "local": style.ORANGE, "other": style.PURPLE}
_SMALL = 8.5


def architecture_picture(record: RunRecord, name: str = "architecture") -> Picture | None:
    """The picture of the best architecture; `None` where the space is not known."""
    if record.best is None or record.space is None:
        return None
    space, architecture = record.space, record.best.architecture
    rows = architecture_rows(space, architecture, record.num_classes)
    words = describe_input(space.plan(architecture))
    return Picture(
        name=name,
        title="The found architecture",
        caption=(
            "From image to classes. A mixer's bar is its channels: one box for each attention "
            "head, and those that go through a local convolution. All bars of a column have one "
            "scale."
        ),
        label=f"Block by block: {words}. The table has the same in words.",
        draw=lambda: _draw(rows),
    )


def _draw(rows: Sequence[Row]) -> Any:
    height = _TOP + sum(_HEIGHTS[row.kind] for row in rows) + 0.05
    figure = style.new_figure(height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, style.WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    scales = _Scales(rows)
    _headings(axes, rows)
    y = _TOP
    for row in rows:
        _draw_row(axes, row, y, scales)
        y += _HEIGHTS[row.kind]
    return figure


class _Scales:
    """What fills each column."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.channels = max((sum(s.channels for s in row.segments) for row in rows), default=1)
        self.hidden = max((row.hidden or 0 for row in rows), default=1) or 1
        self.macs = max((row.cost.macs for row in rows), default=1) or 1
        self.total = sum(row.cost.macs for row in rows) or 1


def _headings(axes: Any, rows: Sequence[Row]) -> None:
    kinds = {segment.kind for row in rows for segment in row.segments}
    for left, title in ((_MIXER[0], "mixer"), (_MLP[0], "MLP"), (_MACS[0], "MACs")):
        axes.text(left, 0.16, title, va="center", fontsize=9, fontweight="bold")
    x = _MIXER[0]
    names = {"head": "heads", "local": "local", "other": "other"}
    for kind, colour in _COLOURS.items():
        if kind in kinds:
            _key(axes, x, colour, names[kind])
            x += 0.62
    _key(axes, _MLP[0], style.GREEN, "hidden")
    _key(axes, _MACS[0], style.BLUE, "mixer")
    _key(axes, _MACS[0] + 0.52, style.GREEN, "MLP")


def _key(axes: Any, x: float, colour: str, text: str) -> None:
    _box(axes, x, 0.34, 0.09, colour, height=0.09)
    axes.text(x + 0.13, 0.385, text, va="center", fontsize=_SMALL, color=style.MUTED)


def _draw_row(axes: Any, row: Row, y: float, scales: _Scales) -> None:
    if row.kind == "stage":
        axes.plot([_NAME, style.WIDTH - _NAME], [y + 0.02] * 2, color=style.RULE, linewidth=0.8)
        axes.text(_NAME, y + 0.18, row.name, va="center", fontsize=8.5, fontweight="bold")
        axes.text(_MIXER[0], y + 0.18, row.text, va="center", fontsize=_SMALL, color=style.MUTED)
        return
    if row.kind == "left out":
        line = y + 0.1
        axes.plot(
            [_NAME, _MIXER[0] - 0.1], [line] * 2, color=style.MUTED, linewidth=0.8, linestyle=":"
        )
        text = f"{row.text}: {row.place}"
        axes.text(_MIXER[0], line, text, va="center", fontsize=_SMALL, color=style.MUTED)
        return
    middle = y + (_BAR / 2 if row.kind == "block" else _BAR)
    axes.text(_NAME, middle, row.name, va="center", fontsize=_SMALL + 0.5)
    if row.kind == "block":
        _mixer(axes, row, y, scales)
        _mlp(axes, row, y, scales)
    else:
        axes.text(_MIXER[0], middle, row.text, va="center", fontsize=_SMALL)
    _macs(axes, row, y, scales)


def _mixer(axes: Any, row: Row, y: float, scales: _Scales) -> None:
    left, width = _MIXER
    x = left
    for segment in row.segments:
        size = width * segment.channels / scales.channels
        _box(axes, x, y, size, _COLOURS[segment.kind])
        if segment.text and size > 0.3:
            axes.text(
                x + size / 2,
                y + _BAR / 2,
                segment.text,
                ha="center",
                va="center",
                fontsize=7.5,
                color=style.PAPER,
            )
        x += size
    axes.text(left, y + _BAR + 0.11, row.text, va="center", fontsize=_SMALL, color=style.MUTED)


def _mlp(axes: Any, row: Row, y: float, scales: _Scales) -> None:
    left, width = _MLP
    if row.hidden is not None:
        _box(axes, left, y, width * row.hidden / scales.hidden, style.GREEN)
    axes.text(
        left, y + _BAR + 0.11, row.hidden_text, va="center", fontsize=_SMALL, color=style.MUTED
    )


def _macs(axes: Any, row: Row, y: float, scales: _Scales) -> None:
    left, width = _MACS
    mixer, rest = row.mixer_cost.macs, row.cost.macs - row.mixer_cost.macs
    first = width * mixer / scales.macs
    if row.kind == "block":
        _box(axes, left, y, first, style.BLUE)
        _box(axes, left + first, y, width * rest / scales.macs, style.GREEN)
    else:
        _box(axes, left, y, width * row.cost.macs / scales.macs, style.MUTED)
    share = f"{human(row.cost.macs)}, {100 * row.cost.macs / scales.total:.0f} %"
    axes.text(left, y + _BAR + 0.11, share, va="center", fontsize=_SMALL, color=style.MUTED)


def _box(axes: Any, x: float, y: float, width: float, colour: str, height: float = _BAR) -> None:
    from matplotlib.patches import Rectangle

    if width > 0:
        axes.add_patch(
            Rectangle(
                (x, y),
                width,
                height,
                facecolor=colour,
                edgecolor=style.PAPER,
                linewidth=min(0.6, 8 * width),
            )
        )
