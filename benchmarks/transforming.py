"""`python -m benchmarks.transforming <run> --rule within`: who gains most from given architectures.

Random valid ones, local search, evolution from the input, the predictor and the policy, each with
equally many distinct candidates, on the real scores of a trained supernet. Inputs of the test are
drawn by a rule that is fixed before, and never learned from. The policy and the amortised predictor
spend most of their candidates on learning, then `--each` on every input. Scores are kept in the
folder, so a benchmark that was stopped goes on, and what two methods ask costs once.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from vitsearch import Architecture, SearchSpace
from vitsearch.commands.pieces import make_fabric, make_scorer
from vitsearch.lightning.scoring.repair import check_repair
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.runs.resume import read_config
from vitsearch.searchers import EvolutionSearcher, LocalSearcher, PredictorSearcher, Searcher
from vitsearch.searchers.predictor import best_changes
from vitsearch.searchers.ridge import RidgeEnsemble
from vitsearch.supernet.storage.checkpoint import find_checkpoint, load_supernet
from vitsearch.transforming import TransformerSearcher
from vitsearch.transforming.reachable import Reachable
from vitsearch.transitions import Transitions, make_transitions

_INPUTS_SEED = 20_000  # of the test's inputs; searches have small seeds
_RESAMPLES = 2000
Score = Callable[[Architecture], float]
Gains = dict[Architecture, float]


class Scores:
    """The scores of a supernet, each computed once, kept in a file."""

    def __init__(self, scorer: Scorer, file: Path) -> None:
        self._scorer, self._file = scorer, file
        lines = file.read_text().splitlines() if file.is_file() else []
        self._known: dict[str, float] = dict(json.loads(line) for line in lines)

    def __call__(self, architecture: Architecture) -> float:
        """The figure of an architecture on the search split."""
        digest = architecture.digest
        if digest not in self._known:
            self._known[digest] = self._scorer.scores([architecture])[0].value
            with self._file.open("a") as file:
                file.write(json.dumps([digest, self._known[digest]]) + "\n")
        return self._known[digest]


class Task:
    """Inputs to transform, what they may become, and how many candidates there are for each."""

    def __init__(
        self,
        transitions: Transitions,
        score: Score,
        inputs: Sequence[Architecture],
        *,
        candidates: int,
        each: int,
        num_classes: int,
    ) -> None:
        self.transitions, self.score, self.inputs = transitions, score, list(inputs)
        self.candidates, self.each, self.num_classes = candidates, each, num_classes
        self.space: SearchSpace = transitions.space

    @property
    def learning(self) -> int:
        """Candidates that an amortised method may learn from, of as many as all others have."""
        return len(self.inputs) * (self.candidates - self.each)

    def best(self, given: Architecture, found: Sequence[Architecture]) -> float:
        """What is gained: the input stays where nothing is better."""
        return max([0.0, *(self.score(one) - self.score(given) for one in found)])


def at_random(task: Task, seed: int) -> Gains:
    """Distinct random walks."""
    gains = {}
    for number, given in enumerate(task.inputs):
        reachable, rng = Reachable(task.transitions, given), random.Random(f"{seed}/{number}")
        found: dict[Architecture, None] = {}
        for _ in range(50 * task.candidates):
            found[reachable.draw(rng)] = None
            found.pop(given, None)
            if len(found) == task.candidates:
                break
        gains[given] = task.best(given, list(found))
    return gains


def one_by_one(make: Callable[..., Searcher], task: Task, seed: int, **settings: int) -> Gains:
    """A searcher of its own for each input."""
    gains = {}
    for number, given in enumerate(task.inputs):
        searcher = make(
            task.space,
            num_classes=task.num_classes,
            seed=1000 * seed + number,
            initial=(given,),
            allowed=Reachable(task.transitions, given),
            **settings,
        )
        found: list[Architecture] = []
        while asked := searcher.ask():
            left = task.candidates + 1 - len(found)  # the input itself besides
            found += [candidate.architecture for candidate in asked[:left]]
            if len(asked) >= left:
                break
            searcher.tell([task.score(candidate.architecture) for candidate in asked])
        gains[given] = task.best(given, found)
    return gains


def local_search(task: Task, seed: int) -> Gains:
    """The best of some single changes, again and again."""
    settings = {"candidates": task.candidates + 1, "neighbours": 5}
    return one_by_one(LocalSearcher, task, seed, **settings)


def evolution(task: Task, seed: int) -> Gains:
    """Mutations and crossovers, beginning with the input."""
    settings = {"population": 5, "generations": 100, "parents": 5}
    return one_by_one(EvolutionSearcher, task, seed, **settings, mutations=4, crossovers=1)


def predictor(task: Task, seed: int) -> Gains:
    """The predictor, fitted for each input anew."""
    settings = {"population": 10, "generations": 100, "batch": 5, "pool": 200}
    return one_by_one(PredictorSearcher, task, seed, **settings)


def amortised_predictor(task: Task, seed: int) -> Gains:
    """One predictor for all inputs, fitted on random architectures."""
    rng = random.Random(seed)
    drawn: dict[Architecture, None] = {}
    while len(drawn) < task.learning:
        drawn[task.space.sample(rng)] = None
    model = RidgeEnsemble(task.space, num_classes=task.num_classes, seed=seed)
    model.fit(list(drawn), [task.score(one) for one in drawn])
    gains = {}
    for given in task.inputs:
        found = best_changes(
            model, given, n=task.each, allowed=Reachable(task.transitions, given), seed=seed
        )
        gains[given] = task.best(given, [one for one in found if one != given])
    return gains


def policy(task: Task, seed: int) -> Gains:
    """A policy that learns on other architectures."""
    inputs, draws = 4, 4
    searcher = TransformerSearcher(
        task.space,
        transitions=task.transitions,
        learning=max(task.learning // (inputs * (draws + 1)), 1),
        inputs=inputs,
        draws=draws,
        candidates=task.each,
        given=task.inputs,
        num_classes=task.num_classes,
        seed=seed,
    )
    made: dict[str, list[Architecture]] = {given.digest: [] for given in task.inputs}
    while asked := searcher.ask():
        for candidate in asked:
            for parent in candidate.parents:
                if parent in made:
                    made[parent].append(candidate.architecture)
        searcher.tell([task.score(candidate.architecture) for candidate in asked])
    return {given: task.best(given, made[given.digest]) for given in task.inputs}


METHODS: dict[str, Callable[[Task, int], Gains]] = {
    "random valid": at_random,
    "local search": local_search,
    "evolution": evolution,
    "predictor": predictor,
    "predictor, amortised": amortised_predictor,
    "policy, amortised": policy,
}


def interval(gains: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % of the mean over seeds and inputs, by bootstrap over both."""
    table, rng = np.array(gains), np.random.default_rng(0)
    seeds, inputs = table.shape
    means = [
        table[rng.integers(seeds, size=seeds)][:, rng.integers(inputs, size=inputs)].mean()
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def measured(task: Task, seeds: Sequence[int]) -> Iterator[tuple[str, float, float, float]]:
    """Name, mean gain and its interval of every method."""
    for name, method in METHODS.items():
        gains = [list(method(task, seed).values()) for seed in seeds]
        yield name, statistics.fmean(g for own in gains for g in own), *interval(gains)


def scorer_of(run: Path) -> Scorer:
    """Of the supernet of a run, on its search split, on the CPU."""
    checkpoint = find_checkpoint(str(run))
    net = load_supernet(checkpoint)
    config = OmegaConf.create(read_config(checkpoint.parent))
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    datamodule.setup("fit")
    repair = ((config.get("callbacks") or {}).get("search") or {}).get("repair", False)
    fabric = make_fabric(OmegaConf.create({"accelerator": "cpu", "devices": 1}))
    return make_scorer(fabric, net, datamodule, repair=check_repair(repair, net))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transforming", description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder with a supernet")
    parser.add_argument("--rule", default="within", choices=("cheaper", "within"))
    parser.add_argument("--inputs", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--candidates", type=int, default=30, help="for each input")
    parser.add_argument("--each", type=int, default=5, help="of them, where a method learns")
    parser.add_argument("--scores", type=Path, default=None, help="file; default: in the run")
    return parser.parse_args(arguments)


def main(given: list[str] | None = None) -> None:
    """Measure, print."""
    arguments = parse(given)
    scorer = scorer_of(arguments.run)
    space, classes = scorer.net.space, scorer.net.num_classes
    scores = Scores(scorer, arguments.scores or arguments.run / "transforming_scores.jsonl")
    transitions = make_transitions(space, arguments.rule, num_classes=classes)
    rng = random.Random(_INPUTS_SEED)
    inputs = [space.sample(rng) for _ in range(max(arguments.inputs))]
    for count in arguments.inputs:
        task = Task(
            transitions,
            scores,
            inputs[:count],
            candidates=arguments.candidates,
            each=arguments.each,
            num_classes=classes,
        )
        table = Table(
            title=f"{space.name}, rule {arguments.rule}, {count} inputs, "
            f"{arguments.candidates} candidates each, {len(arguments.seeds)} seeds"
        )
        for heading in ("method", "mean gain, points", "95 %"):
            table.add_column(heading)
        for name, mean, low, high in measured(task, arguments.seeds):
            spread = f"[{100 * low:.2f}, {100 * high:.2f}]"
            table.add_row(name, f"{100 * mean:.2f}", spread)
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
