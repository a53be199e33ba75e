"""`python -m benchmarks.scenes <folder>`: networks for masks at half the MACs, found in four ways.

Space `hr_nas`, data `fashion_scenes`; every training sees the same number of images. Reported is
mIoU on the test split: of the network that evolution finds in a trained supernet and of what
progressive shrinking leaves, each with the weights that it comes with; and of networks trained
alone: these two, the uniformly narrower one of the same MACs, the largest. Seeds are of the data,
the weights and the search. A training that is done is not repeated, so a benchmark that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.costs import CostModel, human
from vitsearch.data.masks.fashion_scenes import FashionScenes
from vitsearch.runs.files import write_json
from vitsearch.runs.layout import FINISHED_FILE, NETWORK_RESULT_FILE, RESULT_FILE
from vitsearch.spaces import Choice, Value
from vitsearch.spaces.parts.heads.dense import with_dense_head

DATA = ("model=segmenter", "data=fashion_scenes")
SHARE = (0.45, 0.5)  # of the largest network's MACs
LARGEST, UNIFORM = "largest", "uniform"
EVOLUTION, SHRINKING = "evolution", "shrinking"
_FOUND = {EVOLUTION: (), SHRINKING: ("callbacks=progressive_shrinking",)}
_SHARES = [number / 400 for number in range(1, 401)]


def the_space() -> SearchSpace:
    """What `+space=hr_nas model=segmenter data=fashion_scenes` trains."""
    size = FashionScenes.native_image_size
    config = build_space("hr_nas", image_size=size, in_chans=3).config
    return SearchSpace(with_dense_head(config))


def uniform(space: SearchSpace, most: float, num_classes: int) -> Architecture:
    """The dearest network below `most` MACs of which every choice has the same share.

    Options are few, so of choices in a row some have the next larger option, evenly spread.
    """
    model = CostModel(space, num_classes)
    fitting = [one for one in map(partial(_share, space), _SHARES) if model.cost(one).macs <= most]
    return max(fitting, key=lambda one: model.cost(one).macs)


def _share(space: SearchSpace, share: float) -> Architecture:
    due = 0.0

    def pick(choice: Choice) -> Value:
        nonlocal due
        due += share * (len(choice.options) - 1)
        number = min(int(due), len(choice.options) - 1)
        due -= number
        return choice.options[number]

    return space.complete(pick)


class Trial:
    """The trainings of one seed."""

    def __init__(self, folder: Path, seed: int, epochs: int, more: list[str]) -> None:
        """Say where and how long.

        Args:
            folder: Of all runs.
            seed: Of data, weights and search.
            epochs: Of every training.
            more: Overrides of the commands that find networks.
        """
        self.folder = folder / f"seed{seed}"
        self._seed, self._epochs, self._more = seed, epochs, more
        self.space = the_space()
        self._classes = len(FashionScenes.class_names)
        largest = self.space.extreme("macs", largest=True, num_classes=self._classes)[1].macs
        self._window = [share * largest for share in SHARE]

    def results(self) -> Iterator[tuple[str, bool, int, float]]:
        """Name, whether it was trained alone, MACs and mIoU of each network."""
        for name, overrides in _FOUND.items():
            low, high = self._window
            budget = f"constraint.macs=[{low:.0f},{high:.0f}]"
            run = self._run(
                "train", name, ["+space=hr_nas", *DATA, budget, *overrides, *self._more]
            )
            best = json.loads((run / RESULT_FILE).read_text())["networks"][0]
            yield name, False, best["macs"], best["test_miou"]
        narrow = uniform(self.space, self._window[1], self._classes)
        given = {
            LARGEST: self._written(LARGEST, self.space.largest()),
            UNIFORM: self._written(UNIFORM, narrow),
            **{name: self.folder / name for name in _FOUND},
        }
        for name, path in given.items():
            own = () if name in _FOUND else ("model=network_segmenter", *DATA[1:])
            run = self._run("retrain", f"alone_{name}", [f"architecture={path}", *own])
            found = json.loads((run / NETWORK_RESULT_FILE).read_text())
            yield name, True, found["macs"], found["test"]["miou"]

    def _written(self, name: str, architecture: Architecture) -> Path:
        """A file that `architecture=` takes."""
        path = self.folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"space": self.space.config, "architecture": architecture.to_dict()}
        write_json(path, {"format": 1, **record})
        return path

    def _run(self, command: str, name: str, overrides: list[str]) -> Path:
        """Run a command of ours, or let it go on; its run folder."""
        run = self.folder / name
        if not (run / FINISHED_FILE).is_file():
            own = [f"resume={run}"]
            if not (run / "config.yaml").is_file():
                settings = [f"seed={self._seed}", f"trainer.max_epochs={self._epochs}"]
                own = [*overrides, *settings, f"run_dir={run}"]
            subprocess.run([sys.executable, "-m", f"vitsearch.{command}", *own], check=True)
        return run


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scenes", description=__doc__)
    parser.add_argument("folder", type=Path, help="of all runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10, help="of every training")
    parser.add_argument("more", nargs="*", help="overrides of what finds networks")
    return parser.parse_args(arguments)


def main(given: list[str] | None = None) -> None:
    """Train, print."""
    arguments = parse(given)
    found: dict[tuple[str, bool], list[tuple[int, float]]] = {}
    for seed in arguments.seeds:
        trial = Trial(arguments.folder, seed, arguments.epochs, arguments.more)
        for name, alone, macs, miou in trial.results():
            found.setdefault((name, alone), []).append((macs, miou))
    table = Table(title=f"mIoU, test split, {arguments.epochs} epochs, seeds {arguments.seeds}")
    for heading in ("network", "weights", "MACs", "mIoU of each seed", "mean"):
        table.add_column(heading)
    for (name, alone), own in found.items():
        scores = [miou for _, miou in own]
        table.add_row(
            name,
            "trained alone" if alone else "as found",
            ", ".join(human(macs) for macs, _ in own),
            ", ".join(f"{100 * score:.1f}" for score in scores),
            f"{100 * statistics.fmean(scores):.1f} %",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
