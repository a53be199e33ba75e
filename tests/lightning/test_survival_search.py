"""A search that goes on from any history of its own ends with the same files; no other does."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tests.lightning.conftest import quiet_trainer
from vitsearch import SuperTransformer
from vitsearch.costs import Constraint
from vitsearch.data import FashionMini
from vitsearch.errors import FormatError, HistoryError
from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.tasks import Score
from vitsearch.reports import SearchProgress
from vitsearch.runs import signals
from vitsearch.searchers import EvolutionSearcher
from vitsearch.spaces import Architecture, SearchSpace

TINY = {"population": 5, "generations": 3, "parents": 3, "mutations": 2, "crossovers": 2}
CANDIDATES = 5 + 2 * 4


class Counting(Scorer):
    """Scores by the digest alone, and counts; no network runs."""

    calls = 0
    each: Callable[[int], None] | None = None

    def score(self, architecture: Architecture, statistics: Any = None) -> Score:
        self.calls += 1
        if self.each is not None:
            self.each(self.calls)
        correct = int(architecture.digest, 16) % 41
        score = self.task.recall({"correct": correct, "total": self.num_images})
        assert score is not None
        return score


def search(
    folder: Path,
    space: SearchSpace,
    *,
    weights: int = 0,
    images: int = 40,
    each: Callable[[int], None] | None = None,
    constraint: Constraint | None = None,
    **settings: Any,
) -> Counting:
    torch.manual_seed(weights)
    net = SuperTransformer(space, num_classes=10)
    batches = [(torch.zeros(images, 1, 28, 28), torch.arange(images) % 10)]
    scorer = Counting(net, batches, [torch.zeros(4, 1, 28, 28)], device=torch.device("cpu"))
    scorer.each = each
    constraint = constraint or Constraint()
    searcher = EvolutionSearcher(space, constraint, num_classes=10, **{**TINY, **settings})
    job = SearchJob(scorer=scorer, searcher=searcher, folder=folder, constraint=constraint)
    run_search(job, SearchProgress(searcher.num_candidates, None))
    return scorer


def files(folder: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    found.pop("timing.json", None)
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.fixture
def done(space: SearchSpace, tmp_path: Path) -> Path:
    """The folder of a whole search."""
    search(tmp_path / "done", space)
    return tmp_path / "done"


def test_any_beginning_of_a_history_leads_to_the_same_end(
    done: Path, space: SearchSpace, tmp_path: Path
) -> None:
    lines = (done / "search" / "history.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == CANDIDATES
    for number in range(CANDIDATES + 1):
        folder = tmp_path / str(number)
        (folder / "search").mkdir(parents=True)
        (folder / "search" / "settings.json").write_bytes(
            (done / "search" / "settings.json").read_bytes()
        )
        torn = lines[number][: 1 + 7 * number] if number < CANDIDATES else b""
        (folder / "search" / "history.jsonl").write_bytes(b"".join(lines[:number]) + torn)
        assert search(folder, space).calls == CANDIDATES - number
        assert files(folder) == files(done)
    assert search(done, space).calls == 0


def test_scores_are_on_the_disk_one_by_one(space: SearchSpace, tmp_path: Path) -> None:
    def each(calls: int) -> None:
        text = (tmp_path / "search" / "history.jsonl").read_text()
        assert text.count("\n") == calls - 1

    search(tmp_path, space, each=each)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_end_is_granted_after_the_candidate(
    signum: int, done: Path, space: SearchSpace, tmp_path: Path
) -> None:
    def each(calls: int) -> None:
        if calls == 7:
            os.kill(os.getpid(), signum)

    with signals.listening(speaks=False), pytest.raises(signals.Interrupted) as caught:
        search(tmp_path / "mine", space, each=each)
    assert caught.value.exit_code == 128 + signum
    assert len((tmp_path / "mine" / "search" / "history.jsonl").read_text().splitlines()) == 7
    assert not signals.wished()
    assert search(tmp_path / "mine", space).calls == CANDIDATES - 7
    assert files(tmp_path / "mine") == files(done)


def other_space() -> SearchSpace:
    from vitsearch.spaces import build_space

    return build_space("glit", num_blocks=2, embed_dims=[24, 30])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 1}, "searcher.seed was 0, is 1"),
        ({"population": 6}, "searcher.population was 5, is 6"),
        ({"constraint": Constraint(macs=(None, 1.2e6))}, r"searcher.constraint was \{\}, is"),
        ({"weights": 1}, "weights was"),
        ({"images": 30}, "images was 40, is 30"),
        ({"space": other_space()}, "space was"),
    ],
    ids=str,
)
def test_the_history_of_another_search_is_refused(
    settings: dict[str, Any], words: str, done: Path, space: SearchSpace
) -> None:
    before = files(done)
    with pytest.raises(HistoryError, match=words) as caught:
        search(done, **{"space": space, **settings})
    assert f"delete {done / 'search'}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(done) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:4], "{oh", *lines[5:]], "damaged: line 5"),
        (lambda lines: [*lines[:4], "[1]", *lines[5:]], "damaged: line 5"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "another search: line 1 is candidate"),
        (lambda lines: [*lines, ""], "damaged: line 14 is no candidate"),
        (
            lambda lines: [lines[0].replace('"correct": ', '"correct": 1'), *lines[1:]],
            "line 1 has (top1|correct)=",
        ),
        (
            lambda lines: [*lines[:2], lines[2].replace("kernel_size", "kernel"), *lines[3:]],
            r"another search: line 3 has stages\.0\.blocks\.\d\.kernel, which is no choice",
        ),
        (lambda lines: [*lines, lines[0]], "has 14 candidates, this search 13"),
        (lambda lines: [*lines[:3], lines[3].replace('"macs": ', '"macs": 1')], "another search"),
        (
            lambda lines: [json.dumps({"digest": "x"})],
            "line 1 is no candidate: it has no generation",
        ),
    ],
    ids=[
        "garbage",
        "no candidate",
        "order",
        "blank",
        "score",
        "name",
        "too long",
        "cost",
        "fields",
    ],
)
def test_a_damaged_history_is_refused(
    change: Callable[[list[str]], list[str]], words: str, done: Path, space: SearchSpace
) -> None:
    file = done / "search" / "history.jsonl"
    lines = change(file.read_text().splitlines())
    file.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(HistoryError, match=words):
        search(done, space)


def test_ends_of_lines_may_be_those_of_windows(done: Path, space: SearchSpace) -> None:
    file = done / "search" / "history.jsonl"
    lines = file.read_text().splitlines()
    file.write_bytes("".join(f"{line}\r\n" for line in lines[:4]).encode())
    assert search(done, space).calls == CANDIDATES - 4
    assert file.read_text().splitlines() == lines


def test_a_newer_history_is_refused(done: Path, space: SearchSpace) -> None:
    file = done / "search" / "settings.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
    before = files(done)
    with pytest.raises(FormatError, match=r"settings\.json has format 2; .* reads format 1"):
        search(done, space)
    assert files(done) == before


def test_a_history_without_its_settings_is_refused(done: Path, space: SearchSpace) -> None:
    (done / "search" / "settings.json").unlink()
    with pytest.raises(HistoryError, match=r"does not say which search.*settings\.json"):
        search(done, space)


def test_settings_without_a_history_are_replaced(
    done: Path, space: SearchSpace, tmp_path: Path
) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "settings.json").write_text('{"weights": "others"}')
    search(tmp_path, space)
    assert files(tmp_path / "search") == files(done / "search")


def test_a_new_training_does_not_touch_the_search_of_another(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    def fit() -> pl.Trainer:
        callback = EvolutionarySearch(searcher=TINY, use_test_split=False, report=False)
        trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=[callback])
        trainer.fit(SearchableClassifier(space, 10), datamodule=data)
        return trainer

    fit()
    before = files(tmp_path)
    with pytest.raises(HistoryError, match="of another training; take a fresh run folder"):
        fit()
    assert files(tmp_path) == before
