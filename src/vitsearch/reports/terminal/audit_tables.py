"""The facts of an audit in tables and lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from vitsearch.costs import human
from vitsearch.costs.metrics import percent
from vitsearch.reports.words.audit import alarm, interval, points, verdict

_NAMES = {"supernet": "supernet (inherited accuracy)", "macs": "MACs", "params": "parameters"}


def audit_tables(facts: dict[str, Any]) -> Iterator[Table]:
    """The tables of an audit (see `audit_facts`), in the order in which they are read."""
    yield network_table(facts)
    yield agreement_table(facts["agreement"], "agreement with accuracy when trained alone")
    if facts["agreement_on_test"] is not None:
        title = "the same, trained networks scored on the test split"
        yield agreement_table(facts["agreement_on_test"], title)
    if facts["searches"] is not None:
        yield search_table(facts["searches"])


def network_table(facts: dict[str, Any]) -> Table:
    """The networks, best first."""
    seeds = facts["seeds"]
    mean = f" (mean of {len(seeds)})" if len(seeds) > 1 else ""
    table = Table(title=f"top-1 on the search split ({facts['num_images']} images)")
    table.add_column("architecture")
    for heading in ("MACs", "parameters", "inherited", f"trained alone{mean}", "gap"):
        table.add_column(heading, justify="right")
    for row in sorted(facts["architectures"], key=lambda row: -row["mean_alone_top1"]):
        table.add_row(
            row["digest"],
            human(row["macs"]),
            human(row["params"]),
            percent(row["inherited_top1"]),
            percent(row["mean_alone_top1"]),
            points(row["gap"]),
        )
    return table


def agreement_table(agreement: dict[str, Any], title: str) -> Table:
    """How well each ranking agrees with the truth."""
    levels = list(agreement["chance"]["precision_at"])
    table = Table(title=title)
    table.add_column("ranked by")
    for heading in ("Kendall tau-b", "Spearman rho"):
        table.add_column(f"{heading} [95 %]", justify="right")
    for k in levels:
        table.add_column(f"of the best {k}", justify="right")
    for name, shown in _NAMES.items():
        row = agreement[name]
        found = [f"{row['precision_at'][k] * int(k):.0f}" for k in levels]
        table.add_row(shown, interval(row["kendall_tau_b"]), interval(row["spearman_rho"]), *found)
    difference = agreement["supernet_minus_macs"]
    table.add_row(
        "supernet - MACs",
        interval(difference["kendall_tau_b"]),
        interval(difference["spearman_rho"]),
        *[""] * len(levels),
    )
    chance = [f"{agreement['chance']['precision_at'][k] * int(k):.1f}" for k in levels]
    table.add_row("chance", "0.00", "0.00", *chance)
    return table


def search_table(searches: dict[str, Any]) -> Table:
    """Evolution against random search, seed by seed."""
    table = Table(title="best inherited accuracy found at equal evaluations")
    for heading in ("seed", "evaluations", "evolution", "random search", "difference"):
        table.add_column(heading, justify="right")
    for row in searches["seeds"]:
        table.add_row(
            str(row["seed"]),
            str(row["evaluations"]),
            percent(row["evolution_top1"]),
            percent(row["random_top1"]),
            points(row["difference"]),
        )
    table.add_section()
    table.add_row("mean", "", "", "", points(searches["mean_difference"]))
    return table


def audit_lines(facts: dict[str, Any]) -> list[str]:
    """What does not fit into tables: gap, noise, ends, verdict, alarm."""
    gap, ends = facts["gap"], facts["ends"]
    error = 100 * facts["standard_error"]
    lines = [
        f"training alone adds {points(gap['mean'])} on average "
        f"({points(gap['smallest'])} to {points(gap['largest'])}); "
        f"the standard error of one accuracy from {facts['num_images']} images is {error:.1f}",
        f"inherited accuracy: smallest network {percent(ends['smallest'])}, median of the audited "
        f"{percent(ends['median'])}, largest network {percent(ends['largest'])}",
    ]
    ceiling = facts["noise_ceiling"]
    if ceiling is not None and ceiling["kendall_tau_b"] is not None:
        lines.append(
            f"noise ceiling: trainings with one seed agree with those of another by tau "
            f"{ceiling['kendall_tau_b']:.2f}, rho {ceiling['spearman_rho']:.2f}"
        )
    lines.append(verdict(facts))
    warning = alarm(facts)
    return lines if warning is None else [*lines, warning]
