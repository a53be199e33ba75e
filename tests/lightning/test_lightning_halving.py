"""Successive halving: fewer images for the worse half, exact scores for the rest."""

from __future__ import annotations

import copy
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lightning.conftest import quiet_trainer
from tests.lightning.shards import run_shards
from tests.lightning.test_lightning_search import TINY, history_of, make_scorer
from vitsearch.costs import Constraint
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, DataError, HistoryError
from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.lightning.scoring import halving
from vitsearch.lightning.scoring.halving import Halving, cut, is_balanced
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.tasks import Classification
from vitsearch.reports import SearchProgress
from vitsearch.samplers import sample_within
from vitsearch.searchers import EvolutionSearcher, RandomSearcher
from vitsearch.spaces import Architecture

TASK = Classification(num_classes=10)


@pytest.fixture
def scorer(module: SearchableClassifier, data: FashionMini) -> Scorer:
    data.setup("fit")
    return make_scorer(module, data)


def distinct(module: SearchableClassifier, count: int) -> list[Architecture]:
    return sample_within(module.space, Constraint(), count, random.Random(count))


def halving_of(scorer: Scorer) -> Halving:
    return Halving(scorer, RandomSearcher(scorer.net.space))


def batches_of(labels: list[int], size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images that carry their number, so that one sees where each went."""
    images = torch.arange(len(labels)).reshape(-1, 1, 1, 1).double()
    return list(zip(images.split(size), torch.tensor(labels).split(size), strict=True))


def numbers(part: list[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    return [int(number) for images, _ in part for number in images]


def test_parts_follow_the_order_of_a_split_that_mixes_its_classes() -> None:
    parts = cut(batches_of([0, 1, 2, 3] * 10, 10), TASK, seed=0)
    assert [numbers(part) for part in parts] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 40)),
    ]
    assert [len(part) for part in parts] == [1, 1, 2]  # the batches themselves


def test_a_bound_close_to_the_end_of_a_batch_is_moved_there() -> None:
    parts = cut(batches_of([0, 1] * 500, 256), TASK, seed=0)
    assert [sum(len(labels) for _, labels in part) for part in parts] == [256, 256, 488]
    parts = cut(batches_of([0, 1] * 500, 1000), TASK, seed=0)
    assert [sum(len(labels) for _, labels in part) for part in parts] == [250, 250, 500]


@pytest.mark.parametrize("size", [7, 16, 100])
def test_a_split_in_another_order_is_mixed_by_the_seed(size: int) -> None:
    labels = [0] * 40 + [1] * 40 + [2] * 20
    parts = cut(batches_of(labels, size), TASK, seed=1)
    listed = [numbers(part) for part in parts]
    assert sorted(number for part in listed for number in part) == list(range(100))
    assert 20 <= len(listed[0]) <= 30
    for end in (1, 2):
        counts = Counter(labels[number] for part in listed[:end] for number in part)
        assert max(counts.values()) - min(counts.values()) <= 1 or counts[2] == 20
    for part in parts:
        assert [labels[n] for n in numbers(part)] == [int(y) for _, ys in part for y in ys]
    assert [numbers(part) for part in cut(batches_of(labels, size), TASK, seed=1)] == listed
    assert [numbers(part) for part in cut(batches_of(labels, size), TASK, seed=2)] != listed


def test_balance() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    assert is_balanced(np.array([0, 1]), labels)
    assert is_balanced(np.array([0, 0, 1]), labels)
    assert is_balanced(np.array([0, 0, 0, 0, 1, 1]), labels)
    assert not is_balanced(np.array([0, 0]), labels)


def test_too_few_images() -> None:
    with pytest.raises(DataError, match=r"halving=true .* at least 4 .* there are 3"):
        cut(batches_of([0, 1, 0], 2), TASK, seed=0)
    assert [numbers(part) for part in cut(batches_of([0, 1] * 2, 4), TASK, seed=0)] == [
        [0],
        [1],
        [2, 3],
    ]


def test_the_search_split_of_a_data_module_is_cut_as_it_is(data: FashionMini) -> None:
    data.setup("fit")
    loaded = list(data.search_dataloader(shard=False))
    parts = cut(loaded, TASK, seed=0)
    assert torch.equal(
        torch.cat([images for part in parts for images, _ in part]),
        torch.cat([images for images, _ in loaded]),
    )
    for part, each in zip(parts, (2, 2, 5), strict=True):
        counts = Counter(int(label) for _, labels in part for label in labels)
        assert set(counts.values()) <= {each, each + 1}


def test_whole_scores_are_those_without_halving(
    module: SearchableClassifier, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[str] = []
    estimate = Scorer.statistics

    def counting(this: Scorer, architecture: Any) -> Any:
        estimated.append(architecture.digest)
        return estimate(this, architecture)

    monkeypatch.setattr(Scorer, "statistics", counting)
    drawn = distinct(module, 13)
    scores = halving_of(scorer).score(drawn)
    assert sorted(estimated) == sorted(a.digest for a in drawn)  # once for each
    totals = Counter(score.total for score in scores)
    assert [totals[total] for total in sorted(totals)] == [6, 3, 4]
    whole = [i for i, score in enumerate(scores) if score.total == scorer.num_images]
    for index in whole:
        assert scores[index] == scorer.score(drawn[index])
    assert [scorer.is_whole(score) for score in scores] == [
        index in whole for index in range(len(drawn))
    ]


def test_the_better_half_goes_on(scorer: Scorer, module: SearchableClassifier) -> None:
    drawn = distinct(module, 8)
    scores = halving_of(scorer).score(drawn)
    first = scorer.restricted_to(cut(scorer.batches, TASK, seed=0)[0])
    on_first = [first.score(architecture).counts["correct"] for architecture in drawn]
    given_up = [i for i, score in enumerate(scores) if score.total == first.num_images]
    assert len(given_up) == len(drawn) // 2
    assert [scores[i].counts["correct"] for i in given_up] == [on_first[i] for i in given_up]
    gone_on = set(range(len(drawn))) - set(given_up)
    assert max(on_first[i] for i in given_up) <= min(on_first[i] for i in gone_on)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_generations_have_somebody_left(
    count: int, scorer: Scorer, module: SearchableClassifier
) -> None:
    drawn = [module.space.largest(), module.space.smallest(), module.references["random"]]
    scores = halving_of(scorer).score(drawn[:count])
    assert sum(score.total == scorer.num_images for score in scores) == 1


@pytest.mark.parametrize("world", [2, 3])
def test_scores_do_not_depend_on_the_number_of_processes(
    world: int,
    module: SearchableClassifier,
    scorer: Scorer,
    data: FashionMini,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = distinct(module, 9)
    expected = halving_of(scorer).score(drawn)
    scorers = [make_scorer(copy.deepcopy(module), data) for _ in range(world)]
    found = run_shards(
        monkeypatch, [halving], world, lambda rank: halving_of(scorers[rank]).score(drawn)
    )
    assert found == [expected] * world


def test_a_search_with_halving(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    settings = {**TINY, "population": 8, "mutations": 3, "crossovers": 3}
    search = EvolutionarySearch(searcher=settings, use_test_split=False, halving=True, report=False)
    quiet_trainer(tmp_path, callbacks=[search]).fit(module, datamodule=data)
    history = history_of(tmp_path)
    totals = Counter((record["generation"], record["total"]) for record in history)
    small, half = sorted({total for _, total in totals})[:2]
    assert totals[0, small] == 4
    assert totals[0, half] == totals[0, 100] == 2
    assert totals[1, 100] == totals[2, 100] == 2
    assert all(record["top1"] == record["correct"] / record["total"] for record in history)
    whole = {record["digest"] for record in history if record["total"] == 100}
    assert all(set(record["parents"]) <= whole for record in history)
    assert search.result is not None
    assert search.result.best.candidate.architecture.digest in whole
    best = max(record["correct"] for record in history if record["total"] == 100)
    assert search.result.best.score.counts["correct"] == best


def search(folder: Path, scorer: Scorer, *, halved: bool = True) -> None:
    constraint = Constraint()
    settings = {**TINY, "population": 7}
    searcher = EvolutionSearcher(scorer.net.space, constraint, num_classes=10, **settings)
    progress = SearchProgress(searcher.num_candidates, None)
    job = SearchJob(
        scorer=scorer, searcher=searcher, folder=folder, constraint=constraint, halving=halved
    )
    run_search(job, progress)


@pytest.mark.parametrize("lines", [0, 3, 7, 9, 15])
def test_a_halved_search_goes_on_from_any_line(lines: int, scorer: Scorer, tmp_path: Path) -> None:
    search(tmp_path / "whole", scorer)
    shutil.copytree(tmp_path / "whole", tmp_path / "torn")
    whole, torn = (tmp_path / name / "search" / "history.jsonl" for name in ("whole", "torn"))
    kept = whole.read_text().splitlines(keepends=True)[:lines]
    torn.write_text("".join(kept) + '{"digest": "0')  # a kill in the middle of a line
    search(tmp_path / "torn", scorer)
    assert torn.read_bytes() == whole.read_bytes()
    best = Path("search") / "best.json"
    assert (tmp_path / "torn" / best).read_bytes() == (tmp_path / "whole" / best).read_bytes()


def test_halved_and_whole_histories_are_not_mixed(scorer: Scorer, tmp_path: Path) -> None:
    search(tmp_path, scorer)
    with pytest.raises(HistoryError, match="halving was true, is null"):
        search(tmp_path, scorer, halved=False)


def test_a_front_needs_whole_scores(module: SearchableClassifier) -> None:
    from vitsearch.searchers import Nsga2Searcher

    with pytest.raises(ConfigError, match="a front needs the cheap half too"):
        EvolutionarySearch(searcher=Nsga2Searcher, halving=True).check(module)
    EvolutionarySearch(searcher=EvolutionSearcher, halving=True).check(module)


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_halving_is_true_or_false(given: Any) -> None:
    with pytest.raises(ConfigError, match=f"halving={given} must be true or false"):
        EvolutionarySearch(halving=given)
