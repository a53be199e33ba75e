"""`python -m benchmarks.shrinking`: a network made smaller without training, ours beside others.

The same DINOv2 ViT-S/14 at 70 px, the same linear classifier (fitted once on the full network's
features, then fixed), the same images, the same MACs: a uniform cut, vitsearch, Torch-Pruning and
ModelOpt (`pip install 'vitsearch[peers,export]'`). Parts and seeds may run as processes of their
own; `--join` makes one table of their JSON files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console
from rich.markdown import Markdown
from torch import nn

from benchmarks.__main__ import machine
from benchmarks.shrinking import dinov2, modelopt_peer, torch_pruning_peer
from benchmarks.shrinking.finetuning import fine_tuned
from benchmarks.shrinking.merging import merging
from benchmarks.shrinking.ours import ours, searched
from benchmarks.shrinking.pictures import POOLS, Amounts, Pictures, divide
from benchmarks.shrinking.results import FULL, Report, Result, join, key_for, markdown, read_report
from benchmarks.shrinking.trial import Candidate, Method, Trial, correct, macs_of, start_trial
from benchmarks.shrinking.uniform import uniform
from benchmarks.timing import Settings
from vitsearch.errors import VitSearchError

IMAGE_SIZE = 70
BUDGETS = (0.75, 0.55, 0.5, 0.38, 0.25)
UNIFORM, OURS, MERGING, PEERS = "uniform", "ours", "merging", "peers"
PARTS = (UNIFORM, OURS, MERGING, PEERS)
PEER_METHODS: tuple[tuple[str, tuple[str, ...], Method], ...] = (
    (torch_pruning_peer.NAME, torch_pruning_peer.MODULES, torch_pruning_peer.torch_pruning),
    (modelopt_peer.NAME, modelopt_peer.MODULES, modelopt_peer.fastnas),
)
PACKAGES = ("torch-pruning", "nvidia-modelopt")


def methods_of(part: str) -> tuple[list[Method], list[str]]:
    """The methods of a part that can run here, and a note for each that cannot."""
    if part != PEERS:
        return [{UNIFORM: uniform, OURS: ours, MERGING: merging}[part]], []
    methods, notes = [], []
    for name, modules, method in PEER_METHODS:
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            notes.append(
                f"{name} is left out: {missing[0]} is not installed; pip install 'vitsearch[peers]'"
            )
        else:
            methods.append(method)
    return methods, notes


def compare(
    trial: Trial,
    data: str,
    methods: list[tuple[Method, tuple[float, ...]]],
    fine_tune: Sequence[float] = (),
    epochs: int = 1,
) -> Iterator[Result]:
    """The full network, then the networks of all methods, each with its budgets.

    Those of the budgets in `fine_tune` are trained for so many epochs, too.
    """
    images, labels = trial.pictures.test

    def result(made: Candidate) -> Result:
        own = {"data": data, "seed": trial.seed, "method": made.method, "budget": made.budget}
        if made.network is None:
            return Result(**own, seconds=made.seconds, note=made.note)  # type: ignore[arg-type]
        answers = "".join(str(int(right)) for right in correct(made.network, images, labels))
        share = macs_of(made.network, trial.image) / trial.macs
        return Result(
            **own,  # type: ignore[arg-type]
            macs=share,
            answers=answers,
            seconds=made.seconds,
            note=made.note,
        )

    yield result(Candidate(method=FULL, budget=1.0, network=trial.network, seconds=0.0))
    for method, budgets in methods:
        for made in method(trial, budgets):
            yield result(made)
            if made.budget in fine_tune and made.network is not None:
                yield result(fine_tuned(made, trial, epochs))


def run(
    report: Report,
    arguments: argparse.Namespace,
    backbone: Callable[[], nn.Module],
    pictures: Callable[[str, int], Pictures],
    said: Callable[[str], None],
) -> None:
    """Fill a report, and write it after every network.

    Args:
        report: Empty.
        arguments: The command line.
        backbone: Makes the network that is cut, without a classifier.
        pictures: Of a data set and a seed.
        said: Where progress goes.
    """
    methods: list[tuple[Method, tuple[float, ...]]] = []
    budgets = tuple(sorted(arguments.budgets, reverse=True))
    for part in arguments.only:
        found, notes = methods_of(part)
        methods += [(method, budgets) for method in found]
        report.notes += notes
    if arguments.search is not None:
        methods.append((searched, tuple(sorted(arguments.search or budgets, reverse=True))))
    for note in report.notes:
        said(note)
    for data in arguments.data:
        for seed in arguments.seeds:
            trial = start_trial(backbone(), pictures(data, seed), seed)
            key = key_for(data, seed)
            report.test_ids[key] = list(trial.pictures.test_ids)
            report.steps[key] = trial.steps
            tuned = arguments.fine_tune, arguments.epochs
            for found_one in compare(trial, data, methods, *tuned):
                report.results.append(found_one)
                said(_line(found_one))
                if arguments.json is not None:
                    report.write(arguments.json)


def _line(result: Result) -> str:
    start = f"{key_for(result.data, result.seed)}: {result.method}, {result.budget:.0%}"
    if result.macs is None:
        return f"{start}: {result.note}"
    accuracy = result.answers.count("1") / len(result.answers)
    return f"{start}: {accuracy:.1%} at {result.macs:.1%} of the MACs, {result.seconds:.1f} s"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shrinking", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=POOLS, default=list(POOLS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budgets", nargs="+", type=_share, default=list(BUDGETS))
    parser.add_argument(
        "--only", nargs="*", choices=PARTS, default=list(PARTS), help="parts; none for --search"
    )
    parser.add_argument(
        "--search", nargs="*", type=_share, metavar="BUDGET", help="NSGA-II, too; for some budgets"
    )
    parser.add_argument(
        "--fine-tune", nargs="+", type=_share, metavar="BUDGET", default=[], help="train these, too"
    )
    parser.add_argument("--epochs", type=int, default=1, help="of fine-tuning")
    parser.add_argument("--wheel", type=Path, default=dinov2.WHEELS, help="folder of the wheel")
    parser.add_argument("--training", type=int, default=Amounts().training, help="images")
    parser.add_argument("--calibration", type=int, default=Amounts().calibration, help="images")
    parser.add_argument("--test", type=int, help="images; all if not given")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--json", type=Path, help="where to write all answers")
    parser.add_argument("--join", type=Path, nargs="+", help="JSON files; nothing else is done")
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and below 1")
    return share


def machine_words() -> str:
    """What the seconds belong to."""
    peers = [f"{n} {version(n)}" for n in PACKAGES if find_spec(_module(n)) is not None]
    return ", ".join([machine(Settings()), *peers])


def _module(package: str) -> str:
    return package.removeprefix("nvidia-").replace("-", "_")


def main(given: list[str] | None = None) -> None:
    """Compare, print, write."""
    arguments = parse(given)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    console = Console(width=160)
    try:
        if arguments.join:
            report = join(map(read_report, arguments.join))
            if arguments.json is not None:
                report.write(arguments.json)
        else:
            report = Report(machines=[machine_words()])
            wheel = dinov2.find_wheel(arguments.wheel)
            amounts = Amounts(
                training=arguments.training,
                calibration=arguments.calibration,
                test=arguments.test,
            )
            run(
                report,
                arguments,
                lambda: dinov2.load_dinov2(wheel, image_size=IMAGE_SIZE),
                lambda data, seed: divide(POOLS[data](IMAGE_SIZE), seed, amounts),
                lambda line: print(line, file=sys.stderr, flush=True),
            )
    except VitSearchError as error:
        raise SystemExit(str(error)) from error
    lines = list(markdown(report))
    if console.is_terminal:
        console.print(Markdown("\n".join(lines)))
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
