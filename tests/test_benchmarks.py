"""The benchmarks run, at sizes that mean nothing; no time is judged."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from benchmarks import __main__ as command
from benchmarks import extracted, processes, sampling, scenes, search, steps, threads, transforming
from benchmarks.tables import Section
from benchmarks.timing import Settings
from benchmarks.timm_blocks import timm_twin
from rich.console import Console

from vitsearch import build_space

TINY = Settings(rounds=1, clock="cpu", quick=True)


def printed(section: Section) -> str:
    json.dumps(section.to_dict())
    console = Console(width=140, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    section.print_on(console)
    return console.export_text()


@pytest.mark.parametrize("name", ["autoformer", "vit_resnas"])
def test_steps_have_their_peers(name):
    section = steps.measure_case(steps.Case(name, 4, (2, 1), steps.ALL), TINY)
    labels = [row.label for row in section.rows]
    plain = [steps.PLAIN] if name == "autoformer" else []
    ends = ["masked", "1 architectures", "matrix product"]
    assert labels == ["2 architectures", "largest", "extracted", *plain, *ends]
    assert all(row.milliseconds > 0 for row in section.rows)
    shares = [float(row.more["of the ceiling"].split()[0]) for row in section.rows]
    assert all(share > 0 for share in shares)
    assert section.rows[-1].more["of the ceiling"].endswith("TFLOP/s")
    assert "x largest" in printed(section)


def test_search_and_networks_taken_out():
    section = search.measure_candidate("glit", TINY, images=4, batch=2)
    assert [row.label for row in section.rows] == ["bare forward", "candidate", "its statistics"]
    space = build_space("glit", mixer="attention", num_blocks=2)
    section = extracted.measure_pair(space, 2, TINY, compiled=False)
    assert len(section.rows) == 4
    assert [bool(row.ratios) for row in section.rows] == [False, True] * 2


@pytest.mark.slow
def test_two_processes_beside_one():
    section = processes.measure_space("vit_resnas", replace(TINY, batch=4))
    assert [row.label for row in section.rows] == [
        processes.ALONE,
        processes.APART,
        processes.EXCHANGE,
        processes.SAME,
        processes.OWN,
    ]
    assert "model, ms" in printed(section)


def test_architectures_without_networks():
    rows = sampling.measure_space("glit", TINY, scale=100)
    assert len(rows) == 6
    assert "within" in printed(Section("sampling", rows))


def test_twins_have_the_sizes_of_ours():
    space = build_space("glit", mixer="attention")
    twin = timm_twin(space, space.largest())
    expected = space.plan(space.largest()).cost(1000).params
    assert sum(p.numel() for p in twin.parameters()) == expected


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.parse(["steps", "speed"])
    assert "speed is no part; there are startup" in capsys.readouterr().err


def test_threads_and_what_runs_side_by_side():
    section = threads.measure_space("glit", TINY, busy=0)
    assert len(section.rows) == 2
    section = threads.measure_candidates("glit", TINY, images=200, count=2)
    assert section.rows[-1].label == threads.BESIDE
    assert section.rows[-1].ratios


def test_scenes_compare_networks_of_half_the_macs(tmp_path):
    trial = scenes.Trial(tmp_path, 0, 1, [])
    low, high = trial._window
    narrow = scenes.uniform(trial.space, high, 11)
    assert low <= trial.space.plan(narrow).cost(11).macs <= high
    written = json.loads(trial._written("uniform", narrow).read_text())
    assert written["architecture"] == narrow.to_dict()


def test_transforming_counts_candidates_alike():
    space = build_space("glit", num_blocks=2)
    asked = set()

    def score(architecture):
        asked.add(architecture.digest)
        return -space.plan(architecture).cost(10).macs / 1e9

    transitions = transforming.make_transitions(space, "within", num_classes=10)
    rng = random.Random(0)
    inputs = [space.sample(rng) for _ in range(3)]
    task = transforming.Task(transitions, score, inputs, candidates=8, each=2, num_classes=10)
    for name, method in transforming.METHODS.items():
        asked.clear()
        gains = method(task, 0)
        assert set(gains) == set(inputs)
        assert all(gain >= 0 for gain in gains.values())
        assert len(asked) <= len(inputs) * (task.candidates + 1), name
    low, high = transforming.interval([[0.0, 1.0], [1.0, 2.0]])
    assert 0 <= low < 1 < high <= 2
