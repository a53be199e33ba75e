"""`python -m vitsearch.describe [+space=<name>]`: what can be searched. Prints, writes nothing."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import DictConfig

from vitsearch.commands.command import command
from vitsearch.commands.session import Session
from vitsearch.commands.spec import check_seed, required_space
from vitsearch.costs.metrics import load_offered
from vitsearch.errors.checks import check_one_of, check_whole
from vitsearch.reports import make_console
from vitsearch.reports.facts.choice_groups import group_choices
from vitsearch.reports.facts.space import list_facts, space_facts
from vitsearch.reports.terminal.space_table import choice_table, list_table, space_panel
from vitsearch.spaces import SearchSpace

FORMATS = ("table", "json")


@command("describe", no_sweep="would write a file of its own; describe one space at a time")
def main(config: DictConfig, session: Session) -> None:
    """List the spaces, or describe the one that is given."""
    check_settings(config)
    load_offered()
    if config.get("space") is None:
        spaces = list_facts()
        show(config.format, {"spaces": spaces}, list_table(spaces))
        return
    space = SearchSpace(required_space(config))
    facts = space_facts(
        space,
        num_classes=config.num_classes,
        num_samples=config.num_samples,
        seed=config.seed,
    )
    show(config.format, facts, space_panel(facts), choice_table(group_choices(space.choices)))


def check_settings(config: DictConfig) -> None:
    """Refuse what cannot be shown or sampled.

    Raises:
        ConfigError: A setting is out of range.
    """
    check_one_of("format", config.format, FORMATS)
    for name, least in (("num_samples", 1), ("num_classes", 0)):
        check_whole(name, config[name], least)
    check_seed(config.seed)


def show(form: str, facts: dict[str, Any], *tables: Any) -> None:
    """Print the facts: as JSON, or as tables."""
    if form == "json":
        print(json.dumps(facts, indent=2))
        return
    console = make_console()
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
