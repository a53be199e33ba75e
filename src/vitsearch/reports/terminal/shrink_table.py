"""The end of a shrinking for a terminal: what each budget keeps before any training."""

from __future__ import annotations

from rich.table import Table

from vitsearch.costs import human
from vitsearch.costs.metrics import percent
from vitsearch.reports.facts.shrunk import Network, Shrunk


def shrink_table(found: Shrunk) -> Table:
    """The full network, the network of each budget, and the uniform cut beside it."""
    figure = found.figure
    table = Table(title=f"{figure.noun} before any training")
    table.add_column("network")
    for heading in (
        "MACs",
        "parameters",
        f"{figure.label}, search split ({found.num_images})",
        "of the full network's",
        f"{figure.label}, test split",
    ):
        table.add_column(heading, justify="right")
    for name, network in rows(found):
        table.add_row(
            name,
            human(network.macs),
            human(network.params),
            figure.text(network.search),
            percent(found.keeps(network.search)),
            "-" if network.test is None else figure.text(network.test),
        )
    return table


def rows(found: Shrunk) -> list[tuple[str, Network]]:
    """All networks by what tables call them, the largest first."""
    listed = [("full network", found.full)]
    for one in found.networks:
        listed.append((one.budget, one.network))
        if one.uniform is not None:
            listed.append((f"{one.budget}, uniform cut", one.uniform))
    return listed


def training_line(found: Shrunk) -> str | None:
    """Which networks need training; `None` where none does."""
    short = [one.budget for one in found.networks if not found.is_enough(one.network.search)]
    if not short:
        return None
    return (
        f"{', '.join(short)}: keeps less than 95 % of the full network's "
        f"{found.figure.noun}; train it"
    )
