"""What an audit of a supernet found, as plain data: the contents of `audit.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean, median
from typing import Any

from vitsearch.reports.facts.agreement import (
    MEASURES,
    Floats,
    Measure,
    estimate,
    estimate_difference,
    kendall_tau_b,
    partial_tau_of_counts,
    precision_at,
    resample_counts,
    spearman_rho,
)
from vitsearch.reports.words.figure import TOP1, Figure, figure_entry
from vitsearch.spaces import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedNetwork:
    """One architecture with its scores.

    Attributes:
        architecture: What it is.
        macs: Of one image.
        params: Parameters.
        inherited: Score with weights of the supernet, search split.
        alone: Score after training by itself, search split, one for each seed.
        alone_on_test: The same on the test split; empty if it was not read.
        training_free: Scores without training, by name.
    """

    architecture: Architecture
    macs: int
    params: int
    inherited: float
    alone: tuple[float, ...]
    alone_on_test: tuple[float, ...] = ()
    training_free: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the architecture."""
        return self.architecture.digest

    @property
    def mean_alone(self) -> float:
        """Mean over the seeds."""
        return fmean(self.alone)

    @property
    def gap(self) -> float:
        """What training by itself adds to the inherited accuracy."""
        return self.mean_alone - self.inherited

    def record(self, figure: Figure = TOP1) -> dict[str, Any]:
        """As plain data."""
        name = figure.name
        return {
            "digest": self.digest,
            "macs": self.macs,
            "params": self.params,
            f"inherited_{name}": self.inherited,
            f"alone_{name}": list(self.alone),
            f"mean_alone_{name}": self.mean_alone,
            "gap": self.gap,
            f"alone_test_{name}": list(self.alone_on_test),
            "training_free": {
                own: value if math.isfinite(value) else None
                for own, value in self.training_free.items()
            },
            "architecture": self.architecture.to_dict(),
        }


def audit_facts(
    networks: Sequence[AuditedNetwork],
    *,
    num_images: int,
    seeds: Sequence[int],
    ends: Mapping[str, float],
    searches: Sequence[Mapping[str, Any]] = (),
    samples: int = 2000,
    figure: Figure = TOP1,
    titles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """All figures of an audit.

    Intervals are 95 % percentile bootstrap over the architectures, the same draws for all figures.

    Args:
        networks: At least two.
        num_images: Images that a score on the search split rests on.
        seeds: Of the trainings, in the order of `AuditedNetwork.alone`.
        ends: Inherited scores of the `smallest` and the `largest` architecture of the space.
        searches: Records of compared searches (see `search_facts`).
        samples: Bootstrap draws.
        figure: What networks are scored by.
        titles: Of the training-free scores, by name.
    """
    counts = resample_counts(len(networks), samples)
    macs = [float(network.macs) for network in networks]
    inherited = [network.inherited for network in networks]
    alone = [network.mean_alone for network in networks]
    gaps = [network.gap for network in networks]
    on_test = [fmean(network.alone_on_test) for network in networks if network.alone_on_test]
    tau = MEASURES["kendall_tau_b"]
    return {
        "num_architectures": len(networks),
        "num_images": num_images,
        **figure_entry(figure),
        "standard_error": figure.standard_error(fmean(alone), num_images),
        "seeds": list(seeds),
        "agreement": agreement_facts(networks, alone, counts, titles),
        "agreement_on_test": (
            agreement_facts(networks, on_test, counts, titles) if on_test else None
        ),
        "gap": {"mean": fmean(gaps), "smallest": min(gaps), "largest": max(gaps)},
        "noise_ceiling": noise_ceiling(networks),
        "ends": {
            "smallest": ends["smallest"],
            "median": median(inherited),
            "largest": ends["largest"],
        },
        "size_and_accuracy": {
            "inherited": estimate(tau, macs, inherited, counts).to_dict(),
            "alone": estimate(tau, macs, alone, counts).to_dict(),
        },
        "searches": search_facts(searches, figure) if searches else None,
        "architectures": [network.record(figure) for network in networks],
    }


def agreement_facts(
    networks: Sequence[AuditedNetwork],
    truth: Sequence[float],
    counts: Floats,
    titles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """How well several rankings agree with the accuracies `truth` (n,) of trained networks.

    The rankings are the supernet's, and, as what it has to beat, more MACs and more parameters
    first; then those by training-free scores, whose `titles` are given by name. All but that of
    MACs also have Kendall's partial tau given MACs. Equals are ranked as by a search: the cheaper
    first.
    """
    macs = [float(network.macs) for network in networks]
    best = _ranked(networks, truth)
    levels = sorted({k for k in (3, 5, len(networks) // 4) if 1 <= k < len(networks)})

    def facts(x: Sequence[float], measures: Mapping[str, Measure]) -> dict[str, Any]:
        return {
            **{m: estimate(measure, x, truth, counts).to_dict() for m, measure in measures.items()},
            "precision_at": {str(k): precision_at(k, _ranked(networks, x), best) for k in levels},
        }

    inherited = [network.inherited for network in networks]
    beside = {**MEASURES, "partial_kendall_tau": partial_tau_of_counts(macs)}
    found: dict[str, Any] = {
        "supernet": facts(inherited, beside),
        "macs": facts(macs, MEASURES),
        "params": facts([float(network.params) for network in networks], beside),
        "training_free": {
            name: {
                "title": title,
                **facts([network.training_free[name] for network in networks], beside),
            }
            for name, title in (titles or {}).items()
        },
    }
    found["supernet_minus_macs"] = {
        name: estimate_difference(measure, inherited, macs, truth, counts).to_dict()
        for name, measure in MEASURES.items()
    }
    found["chance"] = {"precision_at": {str(k): k / len(networks) for k in levels}}
    return found


def _ranked(networks: Sequence[AuditedNetwork], scores: Sequence[float]) -> list[str]:
    rows = sorted(zip(scores, networks, strict=True), key=lambda r: (-r[0], r[1].macs, r[1].digest))
    return [network.digest for _, network in rows]


def noise_ceiling(networks: Sequence[AuditedNetwork]) -> dict[str, float | int | None] | None:
    """How well the trainings of one seed agree with those of another, on average over pairs.

    No score can be expected to agree better with one training. `None` with a single seed.
    """
    pairs = list(combinations(range(len(networks[0].alone)), 2))
    if not pairs:
        return None
    found: dict[str, float | int | None] = {"pairs": len(pairs)}
    for name, correlation in (("kendall_tau_b", kendall_tau_b), ("spearman_rho", spearman_rho)):
        values = [
            correlation([n.alone[first] for n in networks], [n.alone[second] for n in networks])
            for first, second in pairs
        ]
        mean = fmean(values)
        found[name] = None if math.isnan(mean) else mean
    return found


def search_facts(searches: Sequence[Mapping[str, Any]], figure: Figure = TOP1) -> dict[str, Any]:
    """Evolution against random search over several seeds.

    Args:
        searches: For each seed `seed`, and the best score after 1, 2, ... evaluations of
            `evolution` and of `random` search.
        figure: What networks are scored by.
    """
    rows = [
        {
            "seed": search["seed"],
            "evaluations": len(search["evolution"]),
            f"evolution_{figure.name}": search["evolution"][-1],
            f"random_{figure.name}": search["random"][-1],
            "difference": search["evolution"][-1] - search["random"][-1],
            "evolution": list(search["evolution"]),
            "random": list(search["random"]),
        }
        for search in searches
    ]
    differences = [row["difference"] for row in rows]
    return {
        "mean_difference": fmean(differences),
        "evolution_better": sum(difference > 0 for difference in differences),
        "random_better": sum(difference < 0 for difference in differences),
        "seeds": rows,
    }
