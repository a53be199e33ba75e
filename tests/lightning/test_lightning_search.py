from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

import vitsearch
from tests.lightning.conftest import quiet_trainer
from vitsearch.costs import Constraint
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.lightning import (
    EvolutionarySearch,
    MultiArchitectureSampling,
    SearchableClassifier,
)
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.spaces import Architecture, SearchSpace

TINY = {"population": 6, "generations": 3, "parents": 3, "mutations": 2, "crossovers": 2}


def history_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "search" / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def make_scorer(module: SearchableClassifier, data: FashionMini) -> Scorer:
    return Scorer(
        module.net,
        data.search_dataloader(shard=False),
        [images for images, _ in data.statistics_dataloader()],
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_networks_in_true_half_or_double_precision_are_searched(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path, precision: str
) -> None:
    search = EvolutionarySearch(None, {**TINY, "generations": 1})
    trainer = quiet_trainer(
        tmp_path, precision=precision, callbacks=[MultiArchitectureSampling(), search]
    )
    trainer.fit(module, datamodule=data)
    assert len(history_of(tmp_path)) == 6
    assert vitsearch.load_model(tmp_path / "best").architecture is not None


def test_search_runs_in_a_plain_trainer_and_leaves_its_files(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path, capsys: Any
) -> None:
    low, high = 900_000, 1_400_000
    search = EvolutionarySearch({"macs": [low, high]}, TINY)
    quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(), search]).fit(
        module, datamodule=data
    )
    history = history_of(tmp_path)
    assert len(history) == 14
    digests = [line["digest"] for line in history]
    assert len(set(digests)) == len(digests)
    assert [line["generation"] for line in history] == [0] * 6 + [1] * 4 + [2] * 4
    for line in history:
        architecture = Architecture.from_dict(line["architecture"])
        assert architecture.digest == line["digest"]
        cost = vitsearch.cost(module.space, architecture, 10)
        assert (cost.macs, cost.params) == (line["macs"], line["params"])
        assert low <= cost.macs <= high
        assert line["total"] == 100
        assert line["top1"] == line["correct"] / 100
        assert set(line["parents"]) <= set(digests)
        assert bool(line["parents"]) == (line["origin"] != "random")
    best = json.loads((tmp_path / "search" / "best.json").read_text())
    assert best["correct"] == max(line["correct"] for line in history)
    assert search.result is not None
    assert search.result.best.score.counts["correct"] == best["correct"]
    printed = capsys.readouterr().out
    assert "median of 6 random architectures" in printed
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "accuracy_macs.png",
        "architecture.json",
        "architecture.png",
        "best.json",
        "history.jsonl",
        "model.safetensors",
        "options.png",
        "progress.png",
        "report.html",
        "result.json",
        "settings.json",
        "timing.json",
    ]
    assert f"report: {tmp_path / 'report.html'}" in printed


def test_the_model_that_is_shipped_has_the_score_that_was_found(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    trainer = quiet_trainer(
        tmp_path,
        callbacks=[MultiArchitectureSampling(), EvolutionarySearch(searcher=TINY, report=False)],
    )
    trainer.fit(module, datamodule=data)
    best = json.loads((tmp_path / "search" / "best.json").read_text())
    network = vitsearch.load_model(tmp_path / "best")
    correct = sum(
        int((network(images).argmax(1) == labels).sum())
        for images, labels in data.search_dataloader(shard=False)
    )
    assert correct == best["correct"]
    assert network.architecture.to_dict() == best["architecture"]
    described = json.loads((tmp_path / "best" / "architecture.json").read_text())
    assert described["class_names"] == list(data.class_names)
    assert described["pretrained_cfg"]["mean"] == [0.286]
    assert described["pretrained_cfg"]["crop_pct"] == 1.0


def test_scores_do_not_depend_on_order_or_history(
    module: SearchableClassifier, data: FashionMini
) -> None:
    data.setup("fit")
    scorer = make_scorer(module, data)
    a, b = module.space.largest(), module.references["random"]
    before = {name: buffer.clone() for name, buffer in module.net.named_buffers()}
    first = scorer.score(a), scorer.score(b)
    assert (scorer.score(b), scorer.score(a)) == (first[1], first[0])
    for name, buffer in module.net.named_buffers():
        assert torch.equal(before[name], buffer), name


def test_the_same_seed_gives_the_same_history_twice(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    texts = []
    for name in ("a", "b"):
        pl.seed_everything(7)
        module = SearchableClassifier(space, 10)
        search = EvolutionarySearch(searcher=TINY, use_test_split=False, report=False)
        quiet_trainer(tmp_path / name, callbacks=[MultiArchitectureSampling(), search]).fit(
            module, datamodule=data
        )
        texts.append((tmp_path / name / "search" / "history.jsonl").read_bytes())
    assert texts[0] == texts[1]


def test_without_a_data_module_the_validation_loader_is_searched(
    module: SearchableClassifier, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 28, 28, generator=generator)
    labels = torch.arange(40) % 10
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, drop_last=True)
    search = EvolutionarySearch(searcher=TINY, report=False)
    quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(), search]).fit(
        module, loader, loader
    )
    assert {line["total"] for line in history_of(tmp_path)} == {40}


def test_the_search_split_is_not_the_test_split(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path, monkeypatch: Any
) -> None:
    reads: list[str] = []
    monkeypatch.setattr(
        data, "test_dataloader", lambda **_: reads.append("test") or data.search_dataloader()
    )
    search = EvolutionarySearch(searcher=TINY, report=False)
    quiet_trainer(tmp_path / "with", callbacks=[search]).fit(module, datamodule=data)
    assert reads == ["test"]  # once, at the end
    search = EvolutionarySearch(searcher=TINY, use_test_split=False, report=False)
    quiet_trainer(tmp_path / "without", callbacks=[search]).fit(module, datamodule=data)
    assert reads == ["test"]


def test_an_impossible_budget_is_refused_before_training(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    search = EvolutionarySearch(Constraint(macs=(1, 2)))
    trainer = quiet_trainer(tmp_path, callbacks=[search])
    with pytest.raises(ConstraintError, match="reaches"):
        trainer.fit(module, datamodule=data)
    assert trainer.global_step == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"population": 0}, "population=0"), ({"mutation_prob": 2}, "mutation_prob=2")],
)
def test_searcher_settings_name_themselves(
    settings: dict[str, Any], words: str, module: SearchableClassifier, data: Any, tmp_path: Path
) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[EvolutionarySearch(searcher=settings)])
    with pytest.raises(ConfigError, match=words):
        trainer.fit(module, datamodule=data)
