"""The facts of an audit in tables and lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from vitsearch.costs import human
from vitsearch.reports.words.audit import (
    ABOUT_GIVEN_MACS,
    alarm,
    given_macs,
    has_given_macs,
    interval,
    ranking_rows,
    verdict,
)
from vitsearch.reports.words.figure import Figure, figure_of

_NAME_WIDTH = 14  # of the longest word in a row's name, so that a narrow terminal cuts none


def audit_tables(facts: dict[str, Any]) -> Iterator[Table]:
    """The tables of an audit (see `audit_facts`), in the order in which they are read."""
    figure = figure_of(facts)
    yield network_table(facts)
    title = f"agreement with {figure.noun} when trained alone"
    yield agreement_table(facts["agreement"], title, figure)
    if facts["agreement_on_test"] is not None:
        title = "the same, trained networks scored on the test split"
        yield agreement_table(facts["agreement_on_test"], title, figure)
    if facts["searches"] is not None:
        yield search_table(facts["searches"], figure)


def network_table(facts: dict[str, Any]) -> Table:
    """The networks, best first."""
    seeds, figure = facts["seeds"], figure_of(facts)
    mean = f" (mean of {len(seeds)})" if len(seeds) > 1 else ""
    table = Table(title=f"{figure.label} on the search split ({facts['num_images']} images)")
    table.add_column("architecture")
    for heading in ("MACs", "parameters", "inherited", f"trained alone{mean}", "gap"):
        table.add_column(heading, justify="right")
    for row in sorted(facts["architectures"], key=lambda row: -row[f"mean_alone_{figure.name}"]):
        table.add_row(
            row["digest"],
            human(row["macs"]),
            human(row["params"]),
            figure.text(row[f"inherited_{figure.name}"]),
            figure.text(row[f"mean_alone_{figure.name}"]),
            figure.difference(row["gap"]),
        )
    return table


def agreement_table(agreement: dict[str, Any], title: str, figure: Figure) -> Table:
    """How well each ranking agrees with the truth."""
    levels = list(agreement["chance"]["precision_at"])
    partial = has_given_macs(agreement)
    table = Table(title=title, caption=ABOUT_GIVEN_MACS if partial else None)
    table.add_column("ranked by", min_width=_NAME_WIDTH)
    for heading in ("Kendall tau-b", *(["given MACs"] if partial else []), "Spearman rho"):
        table.add_column(f"{heading} [95 %]", justify="right")
    for k in levels:
        table.add_column(f"of the best {k}", justify="right", max_width=7)
    supernet = f"supernet (inherited {figure.noun})"
    names = {"supernet": supernet, "macs": "MACs", "params": "parameters"}
    for shown, row in ranking_rows(agreement, names):
        taus = [interval(row["kendall_tau_b"]), *([given_macs(row)] if partial else [])]
        found = [f"{row['precision_at'][k] * int(k):.0f}" for k in levels]
        table.add_row(shown, *taus, interval(row["spearman_rho"]), *found)
    difference, none = agreement["supernet_minus_macs"], [""] if partial else []
    table.add_row(
        "supernet - MACs",
        interval(difference["kendall_tau_b"]),
        *none,
        interval(difference["spearman_rho"]),
        *[""] * len(levels),
    )
    chance = [f"{agreement['chance']['precision_at'][k] * int(k):.1f}" for k in levels]
    table.add_row("chance", "0.00", *none, "0.00", *chance)
    return table


def search_table(searches: dict[str, Any], figure: Figure) -> Table:
    """Evolution against random search, seed by seed."""
    table = Table(title=f"best inherited {figure.noun} found at equal evaluations")
    for heading in ("seed", "evaluations", "evolution", "random search", "difference"):
        table.add_column(heading, justify="right")
    for row in searches["seeds"]:
        table.add_row(
            str(row["seed"]),
            str(row["evaluations"]),
            figure.text(row[f"evolution_{figure.name}"]),
            figure.text(row[f"random_{figure.name}"]),
            figure.difference(row["difference"]),
        )
    table.add_section()
    table.add_row("mean", "", "", "", figure.difference(searches["mean_difference"]))
    return table


def audit_lines(facts: dict[str, Any]) -> list[str]:
    """What does not fit into tables: gap, noise, ends, verdict, alarm."""
    gap, ends, figure = facts["gap"], facts["ends"], figure_of(facts)
    added = {name: figure.difference(gap[name]) for name in ("mean", "smallest", "largest")}
    shown = {name: figure.text(ends[name]) for name in ("smallest", "median", "largest")}
    lines = [
        f"training alone adds {added['mean']} on average "
        f"({added['smallest']} to {added['largest']})",
        f"inherited {figure.noun}: smallest network {shown['smallest']}, median of the audited "
        f"{shown['median']}, largest network {shown['largest']}",
    ]
    if facts["standard_error"] is not None:
        lines[0] += (
            f"; the standard error of one {figure.noun} from {facts['num_images']} images is "
            f"{100 * facts['standard_error']:.1f}"
        )
    ceiling = facts["noise_ceiling"]
    if ceiling is not None and ceiling["kendall_tau_b"] is not None:
        lines.append(
            f"noise ceiling: trainings with one seed agree with those of another by tau "
            f"{ceiling['kendall_tau_b']:.2f}, rho {ceiling['spearman_rho']:.2f}"
        )
    lines.append(verdict(facts))
    warning = alarm(facts)
    return lines if warning is None else [*lines, warning]
