"""The facts of an audit as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitsearch.reports.pictures import style
from vitsearch.reports.words.audit import interval
from vitsearch.reports.words.figure import figure_of


def write_plots(facts: dict[str, Any], folder: Path) -> list[Path]:
    """Draw `agreement.png`, and `searches.png` where searches were compared (see `audit_facts`).

    Returns:
        The files.
    """
    plots: dict[str, style.Drawing] = {"agreement": (_draw_agreement, (9, 4))}
    if facts["searches"] is not None:
        plots["searches"] = (_draw_searches, (9, 4))
    return style.write_plots(plots, facts, folder)


def _draw_agreement(figure: Any, facts: dict[str, Any]) -> None:
    """Trained alone against inherited, and against MACs."""
    rows, score = facts["architectures"], figure_of(facts)
    alone = [score.scale * row[f"mean_alone_{score.name}"] for row in rows]
    inherited = [score.scale * row[f"inherited_{score.name}"] for row in rows]
    macs = [row["macs"] / 1e6 for row in rows]
    panels = {
        "supernet": (score.axis(f"inherited {score.label}"), inherited),
        "macs": ("MACs (millions)", macs),
    }
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, (label, x)) in zip(axes, panels.items(), strict=True):
        points = axis.scatter(x, alone, c=macs, cmap="viridis")
        axis.set_xlabel(label)
        tau = interval(facts["agreement"][name]["kendall_tau_b"])
        axis.set_title(f"Kendall tau-b {tau}", fontsize="medium")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(score.axis(f"{score.label} when trained alone"))
    figure.colorbar(points, ax=axes, label="MACs (millions)")


def _draw_searches(figure: Any, facts: dict[str, Any]) -> None:
    """The best found so far, a line for each seed."""
    axis, score = figure.subplots(), figure_of(facts)
    for number, row in enumerate(facts["searches"]["seeds"]):
        for name, dashes in (("evolution", "-"), ("random", "--")):
            best = [score.scale * value for value in row[name]]
            label = f"{name}, seed {row['seed']}"
            evaluations = range(1, len(best) + 1)
            axis.step(evaluations, best, dashes, where="post", color=f"C{number}", label=label)
    axis.set_xlabel("architectures scored")
    axis.set_ylabel(score.axis(f"best inherited {score.label} so far"))
    axis.grid(alpha=0.3)
    axis.legend()
