"""The facts about search spaces in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vitsearch.costs.metrics import named
from vitsearch.reports.facts.choice_groups import ChoiceGroup
from vitsearch.reports.terminal.panels import size_in_words
from vitsearch.spaces import Choice
from vitsearch.spaces.flow import sides
from vitsearch.spaces.words import pixels_in_words


def list_table(spaces: Sequence[dict[str, Any]]) -> Table:
    """The spaces that have a name (see `list_facts`), a section for each family."""
    table = Table()
    for heading in ("family", "space"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for heading in ("images", "free choices", "architectures"):
        table.add_column(heading, justify="right", overflow="fold")
    shown = None
    for space in spaces:
        family = space["family"]
        if shown not in (None, family):
            table.add_section()
        sizes = ["-", "-", "-"]
        if space["error"] is None:
            sizes = [
                pixels_in_words(space["image_size"]),
                str(space["free_choices"]),
                size_in_words(space["size"]),
            ]
        text = space["error"] or space["description"]
        cells = ["" if shown == family else family, space["name"], text, *sizes]
        table.add_row(*map(Text, cells))
        shown = family
    return table


def space_panel(facts: dict[str, Any]) -> Panel:
    """The sizes of one space (see `space_facts`)."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    free, size = facts["free_choices"], size_in_words(facts["size"])
    table.add_row("space", Text(f"{facts['name']}, {size} architectures"))
    table.add_row("choices", f"{free} free, {len(facts['choices']) - free} fixed")
    height, width = sides(facts["image_size"])
    table.add_row("images", f"{facts['in_chans']} x {height} x {width}")
    for name, costs in facts["costs"].items():
        metric = named(name)
        table.add_row(metric.heading, _costs(costs, metric.text))
    basis = f"{facts['num_classes']} classes, means of {facts['num_samples']} sampled architectures"
    table.add_row("counted with", basis)
    return Panel(table, title="vitsearch", title_align="left", expand=False)


def choice_table(groups: Sequence[ChoiceGroup]) -> Table:
    """The choices of one space; those that look alike in several slots are one row."""
    columns = {
        "choice": [group.label for group in groups],
        "options": [_options(group.choices[0]) for group in groups],
        "active when": [" and ".join(group.conditions) for group in groups],
        "otherwise": [_otherwise(group) for group in groups],
        "sampling weights": [_weights(group.choices[0]) for group in groups],
    }
    filled = {heading: cells for heading, cells in columns.items() if any(cells)}
    table = Table()
    for heading in filled:
        table.add_column(heading, overflow="fold", no_wrap=heading == "choice")
    for row in zip(*filled.values(), strict=True):
        table.add_row(*map(Text, row))
    if any(group.names_slot for group in groups):
        table.caption = "slot: the number after blocks"
        table.caption_justify = "left"
    return table


def _costs(costs: dict[str, Any], text: Callable[[float], str]) -> str:
    ends, error = f"{text(costs['smallest'])} to {text(costs['largest'])}", costs["standard_error"]
    mean = f"{ends}, mean {text(costs['mean'])}"
    return mean if error is None else f"{mean} (standard error {text(error)})"


def _options(choice: Choice) -> str:
    listed = ", ".join(map(str, choice.options))
    return listed if len(choice.options) > 1 else f"{listed} (fixed)"


def _otherwise(group: ChoiceGroup) -> str:
    value = group.choices[0].otherwise
    return str(value) if group.conditions and value is not None else ""


def _weights(choice: Choice) -> str:
    return ", ".join(f"{weight:g}" for weight in choice.weights or ())
