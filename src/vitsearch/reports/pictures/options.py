"""Which options the good architectures share: two bars a choice, the good ones above the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitsearch.reports.facts.options import OptionFacts, OptionShares, option_facts
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.base import Picture

_SHOWN = 10
_ROW = 0.6
_TOP = 0.5
_LEFT, _WIDTH = 0.62, 3.54
_BAR = 0.16
_LETTER = 0.085  # inches, the widest


def options_picture(record: RunRecord) -> Picture | None:
    """The picture of one search; `None` where there is too little to compare."""
    facts = option_facts(record)
    if facts is None or not facts.shares:
        return None
    shown = facts.shares[:_SHOWN]
    marked = sum(share.stands_out for share in facts.shares)
    by_chance = 0.05 * len(facts.shares)
    caption = (
        f"The {facts.num_good} architectures {facts.good_name} (upper bars) against "
        f"{facts.num_others} {facts.others_name} (lower bars): which share takes each option, from "
        f"small (pale) to large (strong); a dash: the choice takes no part. Shown are the "
        f"{len(shown)} choices of {len(facts.shares)} that differ most. A dot marks the {marked} "
        f"that differ more than 95 % of {facts.num_good} random ones would; about {by_chance:.0f} "
        f"would by chance. Candidates of a search are relatives: an option may be frequent "
        f"because one good ancestor had it."
    )
    most = shown[0]
    return Picture(
        name="options",
        title="What the good architectures share",
        caption=caption,
        label=(
            f"Shares of options of {len(shown)} choices; the most telling is {most.choice.name}."
        ),
        draw=lambda: _draw(shown, facts),
    )


def _draw(shares: Sequence[OptionShares], facts: OptionFacts) -> Any:
    height = _TOP + _ROW * len(shares)
    figure = style.new_figure(height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, style.WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(0.04, 0.2, "small", va="center", fontsize=8.5, color=style.MUTED)
    for place, colour in enumerate(style.STEPS):
        _box(axes, 0.5 + 0.2 * place, 0.13, 0.2, 0.14, colour)
    axes.text(1.78, 0.2, "large option", va="center", fontsize=8.5, color=style.MUTED)
    for place, share in enumerate(shares):
        y = _TOP + _ROW * place
        axes.text(0.16, y, share.choice.name, va="center", fontsize=9)
        if share.stands_out:
            axes.plot(0.08, y, marker="o", markersize=4.5, color=style.ORANGE)
        for offset, name, values in ((0.1, "good", share.good), (0.28, "others", share.others)):
            axes.text(
                _LEFT - 0.06,
                y + offset + _BAR / 2,
                name,
                ha="right",
                va="center",
                fontsize=8.5,
                color=style.MUTED,
            )
            _bar(axes, y + offset, share, values)
    return figure


def _bar(axes: Any, y: float, share: OptionShares, values: Sequence[float]) -> None:
    x = _LEFT
    count = len(share.choice.options)
    for place, (option, value) in enumerate(zip(share.options, values, strict=True)):
        if not value:
            continue
        step = _step(place, count)
        _box(axes, x, y, _WIDTH * value, _BAR, style.SHADE if option is None else style.STEPS[step])
        text = "-" if option is None else str(option)
        if _WIDTH * value > _LETTER * len(text) + 0.05:
            dark = option is not None and step >= len(style.STEPS) // 2
            axes.text(
                x + _WIDTH * value / 2,
                y + _BAR / 2,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                color=style.PAPER if dark else style.INK,
            )
        x += _WIDTH * value


def _step(place: int, count: int) -> int:
    """The colour of an option: the ends of the scale for the ends of the list."""
    return round(place * (len(style.STEPS) - 1) / max(count - 1, 1)) if count > 1 else 0


def _box(axes: Any, x: float, y: float, width: float, height: float, colour: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x, y), width, height, facecolor=colour, edgecolor=style.PAPER, linewidth=0.8)
    )
