"""The findings of an audit in sentences: a verdict, and an alarm where something is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitsearch.reports.words.figure import figure_of

ALARM = "ALARM:"
GIVEN_MACS = "partial_kendall_tau"
ABOUT_GIVEN_MACS = (
    "given MACs: Kendall's partial tau, what a ranking says besides MACs; - where MACs give its "
    "order, or that of the accuracies"
)


def ranking_rows(
    agreement: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The title and figures of each ranking of an agreement (see `agreement_facts`).

    Args:
        agreement: May be of a version without training-free scores.
        names: Titles of the supernet, MACs and parameters.
    """
    for name, title in names.items():
        yield title, agreement[name]
    for row in agreement.get("training_free", {}).values():
        yield f"{row['title']}, untrained", row


def given_macs(row: Mapping[str, Any]) -> str:
    """The partial tau of a row with its interval; nothing where it has none, as MACs."""
    return interval(row[GIVEN_MACS]) if GIVEN_MACS in row else ""


def has_given_macs(agreement: Mapping[str, Any]) -> bool:
    """Whether there are partial taus; earlier versions have none."""
    return GIVEN_MACS in agreement["supernet"]


def verdict(facts: dict[str, Any]) -> str:
    """Whether the supernet ranks better than MACs alone, with the evidence (see `audit_facts`)."""
    difference = facts["agreement"]["supernet_minus_macs"]["kendall_tau_b"]
    if difference["low"] is None:
        return "no verdict: all accuracies of one kind are equal"
    shown = f"difference of tau {interval(difference)}"
    if difference["low"] > 0:
        return f"the supernet ranks these networks better than their MACs do: {shown}"
    if difference["high"] < 0:
        return f"the supernet ranks these networks worse than their MACs do: {shown}"
    return f"no evidence that the supernet ranks these networks better than their MACs do: {shown}"


def alarm(facts: dict[str, Any]) -> str | None:
    """Larger networks score worse than smaller ones: what was seen and what to try; else `None`.

    It looks at inherited accuracies: a rank correlation with MACs whose whole interval is negative,
    or the largest network of the space below the smallest.
    """
    inherited, alone = (facts["size_and_accuracy"][kind] for kind in ("inherited", "alone"))
    ends, shown = facts["ends"], figure_of(facts).text
    noun = figure_of(facts).noun
    seen = []
    if is_negative(inherited):
        seen.append(f"the more MACs, the lower the inherited {noun}, tau {interval(inherited)}")
    if ends["largest"] < ends["smallest"]:
        seen.append(
            f"the largest network of the space inherits {shown(ends['largest'])}, the smallest "
            f"{shown(ends['smallest'])}"
        )
    if not seen:
        return None
    if is_negative(alone):
        advice = (
            f"trained alone, larger networks are worse too (tau {interval(alone)}), so sharing is "
            f"not alone at fault: try more epochs, a lower learning rate, other options of the "
            f"space, or a budget of smaller networks"
        )
    else:
        advice = (
            f"trained alone, they do not (tau {interval(alone)}), so the supernet trains its large "
            f"networks too little: try more epochs, sampler=sandwich, a lower learning rate, or a "
            f"space with a smaller range of sizes"
        )
    return f"{ALARM} larger networks score worse than smaller ones: {'; '.join(seen)}; {advice}"


def is_negative(estimate: dict[str, float | None]) -> bool:
    """Whether the whole interval of a figure lies below 0."""
    return estimate["high"] is not None and estimate["high"] < 0


def interval(estimate: dict[str, float | None]) -> str:
    """A figure with its interval: `0.52 [0.30, 0.71]`."""
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "-"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
