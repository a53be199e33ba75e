"""A search for several objectives leaves its front, as a file and as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.test_lightning_search import history_of
from vitsearch.data import FashionMini
from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.reports import front_table
from vitsearch.searchers import Nsga2Searcher, pareto_front

SETTINGS = {"population": 8, "generations": 3, "mutations": 3, "crossovers": 3}


def make_searcher(*args: Any, **more: Any) -> Nsga2Searcher:
    return Nsga2Searcher(*args, minimise=["macs", "params"], **SETTINGS, **more)


def test_the_front_of_a_search(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path, capsys: Any
) -> None:
    window = {"macs": [500_000, 1_400_000]}
    search = EvolutionarySearch(window, make_searcher, use_test_split=False, report=False)
    quiet_trainer(tmp_path, callbacks=[search]).fit(module, datamodule=data)
    history = history_of(tmp_path)
    assert len(history) == 8 + 2 * 6
    written = json.loads((tmp_path / "search" / "front.json").read_text())
    assert written["minimise"] == ["macs", "params"]
    assert written["constraint"] == window
    assert vitsearch.SearchSpace(written["space"]) == module.space
    front = written["front"]
    expected = pareto_front(history, ["macs", "params"])
    assert {record["digest"] for record in front} == {record["digest"] for record in expected}
    assert [record["macs"] for record in front] == sorted(record["macs"] for record in front)
    assert search.result is not None
    assert [scored.record() for scored in search.result.front] == front
    best = json.loads((tmp_path / "search" / "best.json").read_text())
    assert best["digest"] in {record["digest"] for record in front}
    assert best["correct"] == max(record["correct"] for record in history)
    printed = capsys.readouterr().out
    assert f"front of top-1 and macs, params: {len(front)} networks" in printed
    assert all(record["digest"] in printed for record in front[:5])


def test_other_searches_leave_no_front(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    settings = {"population": 4, "generations": 1}
    search = EvolutionarySearch(searcher=settings, use_test_split=False, report=False)
    quiet_trainer(tmp_path, callbacks=[search]).fit(module, datamodule=data)
    assert not (tmp_path / "search" / "front.json").exists()
    assert search.result is not None
    assert search.result.front == ()


def test_long_fronts_are_shown_at_even_steps() -> None:
    records = [{"digest": f"d{i}", "macs": i, "params": i, "top1": i / 50} for i in range(50)]
    table = front_table(records, ["macs"], 100)
    assert table.row_count == 20
    digests = list(table.columns[0].cells)
    assert (digests[0], digests[-1]) == ("d0", "d49")
    assert table.caption == "30 more between these in search/front.json"
    short = front_table(
        [{**record, "latency_ms": 2.5} for record in records[:3]], ["latency_ms"], 100
    )
    assert short.row_count == 3
    assert short.caption is None
    assert "latency, ms" in [column.header for column in short.columns]
