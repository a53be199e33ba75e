"""What other packages and files of one's own add to Hydra's groups, before a command composes."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from hydra.core.config_store import ConfigStore

from vitsearch.commands.command_line import options_of
from vitsearch.costs.metrics import OWN, find_cost
from vitsearch.searchers.entry_points import offered_searchers, searcher_config
from vitsearch.spaces.config import ENTRY_POINT_GROUP, entry_point_config, space_config


def register_offered() -> None:
    """Make what the command line names available to Hydra.

    Raises:
        VitSearchError: It cannot be loaded.
    """
    _register_spaces()
    _register_searchers()
    _add_windows()


def _register_spaces() -> None:
    """Make spaces that are not of the group available as `+space=<name>` and `+space=<file>`.

    Other packages offer spaces by name; a file of one's own may lie anywhere.
    """
    store = ConfigStore.instance()
    wanted = options_of("space", sys.argv[1:])
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in wanted:  # others are not imported
            store.store(group="space", name=point.name, node=entry_point_config(point))
    for name in wanted:
        if name.endswith(".yaml"):
            folder, _, file = name.rpartition("/")
            group = f"space/{folder.strip('/')}".rstrip("/")
            store.store(group=group, name=file, node=space_config(name))


def _register_searchers() -> None:
    """Make searchers that other packages offer available as `searcher=<name>`."""
    store = ConfigStore.instance()
    wanted = options_of("searcher", sys.argv[1:])
    for name, point in offered_searchers().items():
        if name in wanted:  # others are not imported
            store.store(group="searcher", name=name, node=searcher_config(point))


def _add_windows() -> None:
    """Let a metric that is not the library's have its window as the others: `constraint.<name>=`.

    The configuration does not name it, so Hydra has to be told to add it.
    """
    for place, argument in enumerate(sys.argv[1:], 1):
        section, _, name = argument.partition("=")[0].partition(".")
        if section == "constraint" and name not in OWN and find_cost(name) is not None:
            sys.argv[place] = f"++{argument}"
