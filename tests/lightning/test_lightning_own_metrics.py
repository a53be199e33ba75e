"""Metrics of one's own in a search: windows, history, fronts, tables, report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lightning.conftest import quiet_trainer
from tests.lightning.test_lightning_search import TINY, history_of
from vitsearch.costs import Constraint, Metric, forget_metric, reachable_range, register_metric
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError
from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.searchers import Nsga2Searcher
from vitsearch.spaces import Architecture, SearchSpace

SETTINGS = {"population": 6, "generations": 2, "mutations": 3, "crossovers": 3}


def search_for_a_front(
    minimise: str, window: Any, module: SearchableClassifier, data: FashionMini, folder: Path
) -> list[dict[str, Any]]:
    """The history of a search for small numbers of one metric inside a window."""

    def make(*args: Any, measure: Any, **more: Any) -> Nsga2Searcher:
        return Nsga2Searcher(*args, minimise=[minimise], measure=measure, **SETTINGS, **more)

    search = EvolutionarySearch({minimise: window}, make)
    trainer = quiet_trainer(folder, limit_train_batches=1, callbacks=[search])
    trainer.fit(module, datamodule=data)
    return history_of(folder)


def check_shown(metric: Metric, folder: Path, printed: str) -> None:
    """The front table, the end of the search and the report have the metric."""
    assert f"front of top-1 and {metric.name}" in printed
    assert metric.heading in printed
    html = (folder / "report.html").read_text()
    assert f"Accuracy against {metric.label}" in html
    assert metric.heading in re.findall(r"<text[^>]*>([^<]*)</text>", html)  # the picture's axis
    assert f">{metric.heading}</th>" in html
    assert (folder / "report" / f"accuracy_{metric.name}.png").is_file()


def test_a_closed_form(
    activations: Metric,
    module: SearchableClassifier,
    data: FashionMini,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, space = activations.name, module.space
    low, high = reachable_range(space, name, 10)
    window = [None, (low + high) // 2]
    history = search_for_a_front(name, window, module, data, tmp_path)
    for record in history:
        cost = space.plan(Architecture.from_dict(record["architecture"])).cost(10)
        assert record[name] == cost[name] <= (low + high) // 2
    front = json.loads((tmp_path / "search" / "front.json").read_text())
    assert front["minimise"] == [name]
    assert front["front"][0][name] == min(record[name] for record in history)
    assert json.loads((tmp_path / "search" / "best.json").read_text())["constraint"][name][0] == 0
    networks = json.loads((tmp_path / "search" / "result.json").read_text())["networks"]
    assert networks[1][name] == space.plan(space.largest()).cost(10)[name]
    printed = capsys.readouterr().out
    check_shown(activations, tmp_path, printed)
    end = printed[printed.index("inherited accuracy") :]
    assert activations.heading in end
    assert activations.text(networks[1][name]) in end


def energy(architecture: Architecture) -> float:
    return 1 + int(architecture.digest[:4], 16) / 16**4


def test_a_measured_one(
    module: SearchableClassifier,
    data: FashionMini,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def joules(subject: Any) -> float:
        asked.append(subject.architecture)
        assert subject.space == module.space
        assert (subject.num_classes, subject.settings.batch_size) == (10, 1)
        assert subject.device == torch.device("cpu")
        assert subject.make_run()().shape == (1, 10)
        return energy(subject.architecture)

    metric = Metric(name="energy_j", kind="measured", label="energy", unit="J", measure=joules)
    register_metric(metric)
    try:
        history = search_for_a_front(metric.name, [None, 1.8], module, data, tmp_path)
        check_shown(metric, tmp_path, capsys.readouterr().out)
    finally:
        forget_metric(metric.name)
    for record in history:
        expected = energy(Architecture.from_dict(record["architecture"]))
        assert record["energy_j"] == expected <= 1.8
    assert len(asked) == len(set(asked)) > len(history)  # some were too hungry
    measured = json.loads((tmp_path / "search" / "measured.json").read_text())
    assert len(measured[0]["values"]["energy_j"]) == len(asked)


def test_the_example_measures(cold_start: Metric, space: SearchSpace) -> None:
    constraint = Constraint(cold_start_ms=(None, "1M"))
    found = Measurements(space, 10, constraint.measure, search_device=torch.device("cpu"))
    assert 0 < found.value(cold_start.name, space.largest()) < 1e6
    assert set(found.measures()) == {"latency_ms", "memory_mb", cold_start.name}
    assert str(constraint) == "cold start 0 to 1 M ms"


def test_what_is_better_when_larger_is_not_made_small(module: SearchableClassifier) -> None:
    metric = Metric(
        name="images_per_second",
        kind="measured",
        label="throughput",
        better="larger",
        measure=lambda subject: 1.0,
    )
    register_metric(metric)
    try:
        search = EvolutionarySearch({metric.name: [10, None]}, TINY)
        search.check(module)
        with pytest.raises(
            ConfigError, match=r"minimise=images_per_second.*no better; legal: macs"
        ):
            Nsga2Searcher(module.space, minimise=[metric.name])
    finally:
        forget_metric(metric.name)
