"""What the pictures show, as the numbers behind them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.every_space import EVERY, space_named
from tests.reports.made_runs import make_run, small_space

from vitsearch.costs import Constraint
from vitsearch.reports.facts.architecture_rows import architecture_rows
from vitsearch.reports.facts.options import option_facts
from vitsearch.reports.facts.run_record import RunRecord, read_run
from vitsearch.reports.pictures.accuracy_cost import accuracy_cost_pictures, front_by
from vitsearch.reports.pictures.progress import best_so_far, generations_of
from vitsearch.reports.pictures.training import curves_of
from vitsearch.searchers import EvolutionSearcher
from vitsearch.spaces import Cost


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return read_run(make_run(tmp_path_factory.mktemp("made") / "run"))


@pytest.mark.parametrize("name", EVERY)
def test_the_rows_of_an_architecture_are_all_of_it(name: str) -> None:
    space, rng = space_named(name), random.Random(3)
    for architecture in (space.smallest(), space.largest(), space.sample(rng), space.sample(rng)):
        rows = architecture_rows(space, architecture, 7)
        plan = space.plan(architecture)
        assert sum((row.cost for row in rows), Cost()) == plan.cost(7)
        blocks = [block for stage in plan.stages for block in stage.blocks]
        shown = [row for row in rows if row.kind == "block"]
        assert [row.cost for row in shown] == [block.cost() for block in blocks]
        assert [row.mixer_cost for row in shown] == [getattr(b, "mixer", b).cost() for b in blocks]
        places = [node.name for node in plan.nodes if node.slot is not None]
        assert [row.place for row in shown] == places
        slots = sum(stage.num_blocks for stage in space.stages)
        left_out = [int(row.text.split()[0]) for row in rows if row.kind == "left out"]
        assert len(shown) + sum(left_out) == slots


def test_heads_and_local_channels() -> None:
    space = small_space()
    base = {"stem.patch_size": 4, "stages.0.embed_dim": 24}
    values = {"stages.0.blocks.0.global_heads": 1, "stages.0.blocks.0.local_expansion": 2}
    values |= {"stages.0.blocks.0.mlp_ratio": 4, "stages.0.blocks.1.global_heads": 3}
    values |= {"stages.0.blocks.1.qkv_expansion": 1, "stages.0.blocks.1.mlp_ratio": 6}
    rows = architecture_rows(space, space.canonical(base | values), 10)
    mixed, attention = [row for row in rows if row.kind == "block"]
    assert [(s.kind, s.channels) for s in mixed.segments] == [("head", 8), ("local", 16)]
    assert mixed.segments[1].text == "k 15"
    assert [(s.kind, s.channels) for s in attention.segments] == [("head", 8)] * 3
    assert (attention.hidden, attention.hidden_text) == (144, "144 (x6)")


def test_a_front_is_what_nothing_betters(record: RunRecord) -> None:
    front = front_by(record.trials, "macs")
    for trial in record.trials:
        better = [
            one
            for one in record.trials
            if one.score >= trial.score
            and one.costs["macs"] <= trial.costs["macs"]
            and (one.score, -one.costs["macs"]) != (trial.score, -trial.costs["macs"])
        ]
        equals = [one for one in front if (one.score, one.costs) == (trial.score, trial.costs)]
        assert bool(equals) == (not better)


def test_the_best_so_far_never_falls(record: RunRecord) -> None:
    best = best_so_far(record)
    values = [top1 for _, top1 in best]
    assert values == sorted(values)
    assert values[-1] == max(trial.score for trial in record.trials)
    assert best[-1][0] == len(record.trials)
    generations = generations_of(record.trials)
    assert [generation[0].generation for generation in generations] == [0, 1, 2]


def test_a_picture_for_every_cost_that_matters(tmp_path: Path) -> None:
    constraint = Constraint(latency_ms=(None, 9))
    measure = {"latency_ms": lambda architecture: 5 + len(architecture) / 10}
    searcher = EvolutionSearcher(
        small_space(), constraint, population=12, generations=1, measure=measure
    )
    record = read_run(make_run(tmp_path / "run", searcher=searcher, constraint=constraint))
    pictures = accuracy_cost_pictures(record)
    assert [picture.name for picture in pictures] == ["accuracy_macs", "accuracy_latency_ms"]


def test_shares_of_options(record: RunRecord) -> None:
    facts = option_facts(record)
    assert facts is not None
    first = [trial for trial in record.trials if trial.generation == 0]
    assert (facts.num_good, facts.num_others) == (12, len(first)) == (12, 20)
    ranked = sorted(record.trials, key=lambda t: (-t.score, t.costs["macs"], t.digest))[:12]
    for share in facts.shares:
        name = share.choice.name
        assert sum(share.good) == pytest.approx(1)
        assert sum(share.others) == pytest.approx(1)
        for option, good, others in zip(share.options, share.good, share.others, strict=True):
            assert good == sum(t.architecture.get(name) == option for t in ranked) / 12
            assert others == sum(t.architecture.get(name) == option for t in first) / 20
        assert 0 <= share.distance <= 1
    margins = [share.distance - share.by_chance for share in facts.shares]
    assert margins == sorted(margins, reverse=True)
    assert "stem.patch_size" not in {share.choice.name for share in facts.shares}


def test_too_few_candidates_say_nothing_about_options(tmp_path: Path) -> None:
    searcher = EvolutionSearcher(small_space(), Constraint(), population=6, generations=1)
    assert option_facts(read_run(make_run(tmp_path / "run", searcher=searcher))) is None


def test_curves(record: RunRecord) -> None:
    losses, accuracies = curves_of(record.metrics)
    assert losses == {"loss": ([1, 2, 3, 4], [2, 1, pytest.approx(2 / 3), 0.5])}
    assert set(accuracies) == {"largest", "smallest"}
    assert accuracies["largest"][1] == pytest.approx([50, 51, 52, 53])
    more = [{"epoch": 0, "train/loss": 3, "train/a": 1, "train/b": 2, "search/best_top1": 0.5}]
    assert set(curves_of(more)[0]) == {"loss", "a", "b"}
    assert curves_of([]) == ({}, {})
