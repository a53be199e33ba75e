"""`python -m benchmarks.training_rules <run folder>`: what should a step train, at equal images?

The run's recipe (data, optimiser, schedule, epochs) trains its supernet anew by each rule: one
architecture a step (single path), or as many as the run's (four, if that is one) that share the
batch, drawn uniformly, balanced, or as a sandwich. Every image is seen once an epoch whatever the
rule. Reported are inherited scores on the search split and, where `<run>/audit/trainings.jsonl` has
architectures that were trained alone (`python -m vitsearch.audit`), how well each supernet ranks
them. Trainings and scores are kept in the folder, and a benchmark that was stopped goes on in the
middle of an epoch.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitsearch.runs.layout import FINISHED_FILE, TRAININGS_FILE

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads wait for each other on small layers

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.kept_scores import KeptScores, open_run
from vitsearch import train
from vitsearch.commands.recipe import read_run
from vitsearch.commands.session import Session, quiet_warnings
from vitsearch.commands.spec import SupernetSpec
from vitsearch.lightning.audit.log import TrainingLog
from vitsearch.reports.facts.agreement import (
    Estimate,
    estimate,
    estimate_difference,
    resample_counts,
    tau_b_of_counts,
)
from vitsearch.runs import signals
from vitsearch.runs.files import write_json
from vitsearch.runs.resume import moved
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.storage.checkpoint import find_checkpoint

SINGLE, SEVERAL = "single path", 4
RULES = {
    SINGLE: "UniformSampler",
    "uniform": "UniformSampler",
    "balanced": "BalancedSampler",
    "sandwich": "SandwichSampler",
}
BOOTSTRAPS = 2000


def recipe_of(run: Path, rule: str, folder: Path, seed: int, epochs: int | None) -> DictConfig:
    """The run's configuration with another rule, without a search, in another folder."""
    saved = read_run(find_checkpoint(str(run)))
    plain: Any = OmegaConf.to_container(saved)
    own = saved.callbacks.sampling.num_architectures
    count = 1 if rule == SINGLE else own if own > 1 else SEVERAL
    section = {"_target_": f"vitsearch.samplers.{RULES[rule]}", "seed": seed}
    plain = moved(plain, str(saved.run_dir), str(folder), below=True)
    plain |= {"sampler": section, "seed": seed, "resume": None}
    plain["callbacks"] |= {"search": None}
    plain["callbacks"]["sampling"] |= {"sampler": section, "num_architectures": count}
    plain["trainer"] |= {"accelerator": "cpu", "devices": 1, "strategy": "auto"}
    if epochs is not None:
        plain["trainer"] |= {"max_epochs": epochs, "max_steps": -1}
    config = OmegaConf.create(plain)
    assert isinstance(config, DictConfig)
    return config


def train_by(config: DictConfig, folder: Path) -> None:
    """Train, or go on; nothing if that is done."""
    if (folder / FINISHED_FILE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    settings: Any = OmegaConf.to_container(config.space)
    space = SearchSpace(settings)
    run = SupernetSpec(folder=folder, config=config, space=space, search_space=space)
    train.train(run, Session("train", folder, locks=False))


def drawn_from(config: DictConfig, count: int) -> list[Architecture]:
    """Random architectures of a run's space, the same for all runs of it."""
    plain: Any = OmegaConf.to_container(config.space)
    space, rng = SearchSpace(plain), random.Random(0)
    return [space.sample(rng) for _ in range(count)]


def trained_alone(audit: Path) -> dict[Architecture, tuple[float, float]]:
    """MACs and top-1 (mean of the seeds) of the architectures that an audit trained alone."""
    if not (audit / TRAININGS_FILE.name).is_file():
        return {}
    top1: dict[Architecture, list[float]] = {}
    macs: dict[Architecture, float] = {}
    for record in TrainingLog(audit).read().values():
        architecture = Architecture.from_dict(record["architecture"])
        top1.setdefault(architecture, []).append(record["top1"])
        macs[architecture] = record["macs"]
    return {a: (macs[a], statistics.fmean(values)) for a, values in top1.items()}


def ranks(
    scores: KeptScores, alone: dict[Architecture, tuple[float, float]]
) -> tuple[Estimate, Estimate]:
    """Kendall's tau with the accuracies of training alone; and what MACs alone lack to it."""
    macs, truth = (list(column) for column in zip(*alone.values(), strict=True))
    inherited = scores(list(alone))
    counts = resample_counts(len(alone), BOOTSTRAPS)
    return (
        estimate(tau_b_of_counts, inherited, truth, counts),
        estimate_difference(tau_b_of_counts, inherited, macs, truth, counts),
    )


def scored(
    folder: Path,
    drawn: Sequence[Architecture],
    alone: dict[Architecture, tuple[float, float]],
) -> dict[str, Any]:
    """What a supernet is worth."""
    net, scorer = open_run(folder)
    scores = KeptScores(scorer, folder / "scores.json")
    smallest, largest, *some = scores([net.space.smallest(), net.space.largest(), *drawn])
    found: dict[str, Any] = {
        "smallest": smallest,
        "median": statistics.median(some),
        "largest": largest,
    }
    if len(alone) > 1:
        tau, beyond_macs = ranks(scores, alone)
        found |= {"tau": tau.to_dict(), "beyond_macs": beyond_macs.to_dict()}
    return found


def table_of(found: Sequence[dict[str, Any]], alone: int) -> Table:
    """For people: a row a training."""
    table = Table(title="the same images, seen by other architectures")
    headings = ["smallest", "median", "largest"]
    headings += [f"tau of {alone} alone", "beyond MACs"] if alone > 1 else []
    for heading in ("rule", "a step", "seed", *headings):
        table.add_column(heading, justify="left" if heading == "rule" else "right")
    for one in found:
        cells = [f"{100 * one[name]:.1f} %" for name in ("smallest", "median", "largest")]
        for name in ("tau", "beyond_macs"):
            if name in one:
                value, low, high = (_two_digits(n) for n in one[name].values())
                cells.append(f"{value} [{low}, {high}]")
        table.add_row(one["rule"], str(one["architectures"]), str(one["seed"]), *cells)
    return table


def _two_digits(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def main(given: Sequence[str] | None = None) -> None:
    """Train, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a folder that vitsearch.train wrote")
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="the run's if not given")
    parser.add_argument("--drawn", type=int, default=50, help="random architectures to score")
    parser.add_argument("--audit", type=Path, help="folder of an audit; <run>/audit if not given")
    parser.add_argument("--folder", type=Path, help="<run>/training_rules if not given")
    parser.add_argument(
        "--also", type=Path, nargs="+", default=[], help="runs of the space, scored as they are"
    )
    arguments = parser.parse_args(given)
    folder = (arguments.folder or arguments.run / "training_rules").absolute()
    alone = trained_alone(arguments.audit or arguments.run / "audit")
    quiet_warnings()
    console = Console(width=120)
    found = []
    with signals.listening():
        for seed in arguments.seeds:
            for rule in arguments.rules:
                own = folder / f"{rule.replace(' ', '_')}-{seed}"
                config = recipe_of(arguments.run, rule, own, seed, arguments.epochs)
                train_by(config, own)
                drawn = drawn_from(config, arguments.drawn)
                count = config.callbacks.sampling.num_architectures
                facts = {"rule": rule, "architectures": count, "seed": seed}
                found.append(facts | scored(own, drawn, alone))
                write_json(folder / "training_rules.json", found)
    for run in arguments.also:
        saved = read_run(find_checkpoint(str(run)))
        drawn = drawn_from(saved, arguments.drawn)
        count = saved.callbacks.sampling.num_architectures
        facts = {"rule": run.name, "architectures": count, "seed": saved.seed}
        found.append(facts | scored(run, drawn, alone))
        write_json(folder / "training_rules.json", found)
    console.print(table_of(found, len(alone)))


if __name__ == "__main__":
    main()
