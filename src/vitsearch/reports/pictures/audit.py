"""The facts of an audit as pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitsearch.reports.words.audit import interval
from vitsearch.reports.words.figure import figure_of
from vitsearch.runs.files import atomic_path


def write_plots(facts: dict[str, Any], folder: Path) -> list[Path]:
    """Draw `agreement.png`, and `searches.png` where searches were compared (see `audit_facts`).

    Returns:
        The files.
    """
    from matplotlib.figure import Figure  # takes time: only where something is drawn

    plots: dict[str, Callable[[Any, dict[str, Any]], None]] = {"agreement": _draw_agreement}
    if facts["searches"] is not None:
        plots["searches"] = _draw_searches
    files = []
    for name, draw in plots.items():
        figure = Figure(figsize=(9, 4), dpi=150, layout="constrained")
        draw(figure, facts)
        file = folder / f"{name}.png"
        with atomic_path(file) as temporary:
            figure.savefig(temporary, format="png")
        files.append(file)
    return files


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
        for name, style in (("evolution", "-"), ("random", "--")):
            best = [score.scale * value for value in row[name]]
            label = f"{name}, seed {row['seed']}"
            evaluations = range(1, len(best) + 1)
            axis.step(evaluations, best, style, where="post", color=f"C{number}", label=label)
    axis.set_xlabel("architectures scored")
    axis.set_ylabel(score.axis(f"best inherited {score.label} so far"))
    axis.grid(alpha=0.3)
    axis.legend()
