"""What a benchmark found: answers of every network, joined over files, and tables of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitsearch.errors import DataError
from vitsearch.runs.files import write_json

FULL = "full network"
BOOTSTRAPS = 4000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One network on the test images.

    Attributes:
        data: Name of the data set.
        seed: Of the images.
        method: Who made the network.
        budget: Share of the full network's MACs that was allowed.
        macs: Share that the network has; `None` where there is none.
        answers: For each test image 1 if it is classified correctly, else 0.
        seconds: For making this network.
        note: Why there is none, or what to know of it.
    """

    data: str
    seed: int
    method: str
    budget: float
    macs: float | None = None
    answers: str = ""
    seconds: float = 0.0
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Report:
    """Results of one or more processes.

    Attributes:
        machines: What the seconds belong to.
        results: All networks.
        test_ids: Which images of a data set were tested, by data set and seed.
        steps: Seconds of steps that serve several budgets, by data set, seed and name.
        notes: What is missing, and why.
    """

    machines: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    test_ids: dict[str, list[int]] = field(default_factory=dict)
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, file: Path) -> None:
        """Replace a JSON file."""
        write_json(file, asdict(self))


def read_report(file: Path) -> Report:
    """As `Report.write` wrote it.

    Raises:
        DataError: It is no such file.
    """
    try:
        plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        results = [Result(**own) for own in plain.pop("results")]
        return Report(results=results, **plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is no report of this benchmark: {error}") from error


def join(reports: Iterable[Report]) -> Report:
    """Reports of parts and seeds as one; of the same network twice the last one counts.

    Raises:
        DataError: Two of them tested other images under the same seed, or their full networks
            answer differently.
    """
    joined = Report()
    found: dict[tuple[str, int, str, float], Result] = {}
    for report in reports:
        joined.machines = list(dict.fromkeys([*joined.machines, *report.machines]))
        joined.notes = list(dict.fromkeys([*joined.notes, *report.notes]))
        for key, ids in report.test_ids.items():
            if joined.test_ids.setdefault(key, ids) != ids:
                raise DataError(f"{key}: the reports are of other test images")
        for key, steps in report.steps.items():
            joined.steps.setdefault(key, {}).update(steps)
        for result in report.results:
            key_of = (result.data, result.seed, result.method, result.budget)
            known = found.get(key_of)
            if result.method == FULL and known is not None and known.answers != result.answers:
                raise DataError(
                    f"{key_for(result.data, result.seed)}: the full networks of the reports "
                    f"answer differently; make them on one machine"
                )
            found[key_of] = result
    joined.results = list(found.values())
    return joined


def key_for(data: str, seed: int) -> str:
    """How a data set and a seed are named in a report."""
    return f"{data}, seed {seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float
    high: float

    def words(self) -> str:
        """In points of accuracy."""
        mean, low, high = (100 * n for n in (self.mean, self.low, self.high))
        return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def differences(report: Report, data: str, method: str, budget: float) -> dict[int, Floats]:
    """(n,) by seed: right answers minus the full network's, image by image."""
    full = {r.seed: r for r in report.results if r.data == data and r.method == FULL}
    return {
        r.seed: _numbers(r.answers) - _numbers(full[r.seed].answers)
        for r in report.results
        if (r.data, r.method, r.budget) == (data, method, budget) and r.macs is not None
    }


def interval(by_seed: dict[int, Floats], ids: dict[int, Sequence[int]]) -> Interval:
    """The mean difference, with seeds and images drawn again (Efron, 1979).

    An image that several seeds tested is drawn for all of them at once.

    Args:
        by_seed: (n,) differences.
        ids: For each seed which images they are of.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    seeds = sorted(by_seed)
    images, places = np.unique(np.concatenate([ids[s] for s in seeds]), return_inverse=True)
    of_seed = np.split(places, np.cumsum([len(ids[s]) for s in seeds])[:-1])
    means = np.empty(BOOTSTRAPS)
    for number in range(BOOTSTRAPS):
        drawn = generator.integers(len(images), size=len(images))
        counts = np.bincount(drawn, minlength=len(images))
        chosen = generator.integers(len(seeds), size=len(seeds))
        means[number] = np.mean([_mean(by_seed[seeds[i]], counts[of_seed[i]]) for i in chosen])
    low, high = np.quantile(means, [0.025, 0.975])
    mean = np.mean([by_seed[s].mean() for s in seeds])
    return Interval(mean=float(mean), low=float(low), high=float(high))


def _mean(values: Floats, counts: npt.NDArray[np.int64]) -> float:
    return float(values @ counts / max(counts.sum(), 1))


def _numbers(answers: str) -> Floats:
    return np.frombuffer(answers.encode(), dtype=np.uint8) - 48.0


def markdown(report: Report) -> Iterator[str]:
    """The lines of all tables."""
    yield from (f"{machine}  " for machine in report.machines)
    for data in dict.fromkeys(r.data for r in report.results):
        own = [r for r in report.results if r.data == data]
        yield ""
        yield from _table(report, data, own)
        yield ""
        yield from _steps(report, data)
    if report.notes:
        yield ""
        yield from (f"- {note}" for note in report.notes)


def _table(report: Report, data: str, own: Sequence[Result]) -> Iterator[str]:
    full = [r for r in own if r.method == FULL]
    accuracy = statistics.fmean(_numbers(r.answers).mean() for r in full)
    seeds = sorted(r.seed for r in full)
    images = len(full[0].answers)
    yield (
        f"**{data}**: the full network has {100 * accuracy:.1f} % of {images} test images right "
        f"(seeds {', '.join(map(str, seeds))}). Accuracy minus the full network's, in points, with "
        f"its 95 % interval, by share of its MACs."
    )
    yield ""
    budgets = sorted({r.budget for r in own if r.method != FULL}, reverse=True)
    headings = ["method", *(f"{budget:.0%}" for budget in budgets), "lowest use", "s a network"]
    yield f"| {' | '.join(headings)} |"
    yield f"|---|{'---:|' * (len(headings) - 1)}"
    for method in dict.fromkeys(r.method for r in own if r.method != FULL):
        of_method = [r for r in own if r.method == method]
        made = [r for r in of_method if r.macs is not None]
        cells = [_cell(report, data, of_method, budget) for budget in budgets]
        use = min((r.macs / r.budget for r in made if r.macs is not None), default=None)
        seconds = statistics.median(r.seconds for r in made) if made else None
        cells.append("" if use is None else f"{use:.0%}")
        cells.append("" if seconds is None else f"{seconds:.1f}")
        yield f"| {method} | {' | '.join(cells)} |"


def _cell(report: Report, data: str, own: Sequence[Result], budget: float) -> str:
    here = [r for r in own if r.budget == budget]
    if not here:
        return ""
    by_seed = differences(report, data, here[0].method, budget)
    if not by_seed:
        return here[0].note
    ids = {seed: report.test_ids[key_for(data, seed)] for seed in by_seed}
    lacking = len(here) - len(by_seed)
    words = interval(by_seed, ids).words()
    return f"{words} ({lacking} seeds {here[-1].note})" if lacking else words


def _steps(report: Report, data: str) -> Iterator[str]:
    names: dict[str, list[float]] = {}
    for result in report.results:
        if result.data == data and result.method == FULL:
            for name, seconds in report.steps.get(key_for(data, result.seed), {}).items():
                names.setdefault(name, []).append(seconds)
    yield "| step that serves all budgets | s |"
    yield "|---|---:|"
    for name, seconds in names.items():
        yield f"| {name} | {statistics.fmean(seconds):.1f} |"
