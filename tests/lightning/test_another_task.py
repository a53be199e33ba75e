"""Another task than classification goes the whole way: it is one class of `docs/extend.md`.

Training, search, history, report, retraining, audit; integers are lists, the figure is no share.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.test_lightning_search import history_of
from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError
from vitsearch.lightning import (
    Classifier,
    EvolutionarySearch,
    MultiArchitectureSampling,
    SaveNetwork,
    SearchableClassifier,
)
from vitsearch.lightning.audit.plan import AuditPlan, make_plan
from vitsearch.lightning.audit.run import run_audit
from vitsearch.lightning.retraining.train_alone import Recipe
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.training.progress_bar import EpochLines
from vitsearch.reports import SearchProgress
from vitsearch.reports.facts.run_record import read_run
from vitsearch.reports.page.report import write_report
from vitsearch.searchers import EvolutionSearcher
from vitsearch.searchers.front import pareto_front
from vitsearch.spaces import SearchSpace, build_space
from vitsearch.supernet import VisionTransformer

CLASSES = 3
FEW: dict[str, Any] = {
    "population": 4,
    "generations": 2,
    "parents": 2,
    "mutations": 1,
    "crossovers": 1,
}


def _example(name: str) -> Any:
    """A class of `examples/extend/many_labels.py`."""
    spec = importlib.util.spec_from_file_location("many_labels", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


EXAMPLE = Path(__file__).parents[2] / "examples" / "extend" / "many_labels.py"
ManyLabels = _example("ManyLabels")


class Tagged(Dataset[Any]):
    def __init__(self, count: int, first: int) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        rng = torch.Generator().manual_seed(self.first + index)
        tags = torch.randint(2, (CLASSES,), generator=rng)
        image = torch.randn(1, 28, 28, generator=rng)
        return {"image": image + tags[0], "tags": tags, "path": f"{index}.png"}


class TaggedData(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Tagged(50, 0), 16)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.search_dataloader()

    def search_dataloader(self, *, shard: bool = False) -> DataLoader[Any]:
        return DataLoader(Tagged(40, 1000), 16)

    def test_dataloader(self, *, shard: bool = False) -> DataLoader[Any]:
        return DataLoader(Tagged(24, 2000), 16)

    def statistics_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Tagged(20, 0), 10)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return build_space("glit", num_blocks=1, embed_dims=[24])


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "halving"])
def run(
    request: pytest.FixtureRequest, space: SearchSpace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SearchableClassifier, EvolutionarySearch]:
    """A finished training and search."""
    folder = tmp_path_factory.mktemp("run")
    pl.seed_everything(0)
    module = SearchableClassifier(space, CLASSES, task=ManyLabels())
    search = EvolutionarySearch(None, FEW, halving=request.param)
    trainer = quiet_trainer(
        folder,
        limit_train_batches=1.0,
        callbacks=[MultiArchitectureSampling(4), search],
    )
    trainer.fit(module, datamodule=TaggedData())
    assert set(trainer.callback_metrics) >= {
        "train/loss",
        "val/jaccard_smallest",
        "val/jaccard_largest",
        "val/jaccard_random",
    }
    return folder, module, search


def scorer_of(module: SearchableClassifier) -> Scorer:
    data = TaggedData()
    statistics = [batch["image"] for batch in data.statistics_dataloader()]
    device = torch.device("cpu")
    return Scorer(module.net, data.search_dataloader(), statistics, device=device, task=module.task)


def test_a_history_has_the_task_s_integers_and_its_figure(run: Any) -> None:
    folder, module, search = run
    scorer = scorer_of(module)
    history = history_of(folder)
    assert len(history) == 6
    for line, scored in zip(history, search.result.history, strict=True):
        assert module.task.recall(line) == scored.score
        if line["total"] == 40:
            assert scorer.score(scored.candidate.architecture) == scored.score
        names = list(line)
        place = names.index("jaccard")
        assert names[place : place + 4] == ["jaccard", "both", "either", "total"]
    best = json.loads((folder / "search" / "best.json").read_text())
    assert best["jaccard"] == max(line["jaccard"] for line in history if line["total"] == 40)
    assert "random_median_jaccard" in best
    assert vitsearch.load_model(folder / "best").architecture.digest == best["digest"]
    front = pareto_front(history, score="jaccard")
    assert max(line["jaccard"] for line in front) == best["jaccard"]
    result = json.loads((folder / "search" / "result.json").read_text())
    assert {"search_jaccard", "test_jaccard"} <= set(result["networks"][0])


def test_a_search_goes_on_from_such_a_history(run: Any, space: SearchSpace, tmp_path: Path) -> None:
    _, module, search = run
    results = []
    for kept in (0, 3, 6):
        file = tmp_path / "search" / "history.jsonl"
        if kept:
            lines = file.read_text().splitlines(keepends=True)[:kept]
            file.write_text("".join(lines))
        job = SearchJob(
            scorer=scorer_of(module),
            searcher=EvolutionSearcher(space, Constraint(), num_classes=CLASSES, **FEW),
            folder=tmp_path,
            constraint=Constraint(),
            halving=search.halving,
        )
        result = run_search(job, SearchProgress(6, None, module.task.figure))
        assert result.num_recalled == kept
        results.append(result.history)
    assert results[0] == results[1] == results[2]


def test_a_report_speaks_of_the_figure(run: Any) -> None:
    folder, module, search = run
    record = read_run(folder)
    assert record.figure == module.task.figure
    assert record.best is not None
    assert record.best.score == search.result.best.score.value
    text = write_report([folder], folder).read_text()
    assert "Jaccard index against MACs" in text
    for words in ("top-1", "Top-1", "ccurac", "classifies"):
        assert words not in text


def test_what_a_search_prints(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, module, _ = run
    search = EvolutionarySearch(None, FEW, report=False)
    trainer = quiet_trainer(
        tmp_path,
        callbacks=[MultiArchitectureSampling(2), search, EpochLines()],
        enable_progress_bar=True,
    )
    trainer.fit(module, datamodule=TaggedData())
    out = capsys.readouterr().out
    assert search.result is not None
    shown = f"{search.result.best.score.value:.4f}"
    assert f"best on the search split {shown}, median of 4 random" in out
    assert f"best so far {shown}" in out
    assert "inherited Jaccard index" in out
    assert " %" not in out
    line = next(line for line in out.splitlines() if line.startswith("epoch 1/1"))
    assert all(f"{name} 0." in line for name in ("largest", "random", "smallest"))


def test_one_network_is_trained_and_scored_alike(
    space: SearchSpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = VisionTransformer(space, space.smallest(), CLASSES)
    module = Classifier(network, task=ManyLabels())
    quiet_trainer(tmp_path, callbacks=[SaveNetwork()]).fit(module, datamodule=TaggedData())
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result["test"]) == {"jaccard", "both", "either", "total"}
    assert result["test"]["total"] == 24
    assert set(result["validation"]) == {"val/jaccard"}
    assert "Jaccard index on the test split (24 images)" in capsys.readouterr().out


def test_an_audit_of_such_a_supernet(run: Any, space: SearchSpace, tmp_path: Path) -> None:
    _, module, _ = run

    def plan() -> AuditPlan:
        few = {**FEW, "seeds": [0]}
        return make_plan(space, Constraint(), n=4, seeds=[0], searches=few, num_classes=CLASSES)

    recipe = Recipe(
        make_trainer=lambda **settings: pl.Trainer(max_epochs=1, **settings),
        make_classifier=lambda network: Classifier(network, task=ManyLabels()),
        drop_path_rate=0.0,
        zero_init_residual=False,
        settings={"trainer": {"max_epochs": 1}, "epochs": 1},
    )
    facts = run_audit(scorer_of(module), plan(), recipe, TaggedData(), tmp_path)
    assert facts is not None
    scorer = scorer_of(module)
    for row in facts["architectures"]:
        architecture = plan().by_digest[row["digest"]]
        assert row["inherited_jaccard"] == scorer.score(architecture).value
        assert row["mean_alone_jaccard"] == row["alone_jaccard"][0]
    assert facts["standard_error"] is None
    assert facts["searches"]["seeds"][0]["evolution_jaccard"] > 0
    assert json.loads((tmp_path / "audit.json").read_text())["figure"]["name"] == "jaccard"
    again = run_audit(scorer_of(module), plan(), recipe, TaggedData(), tmp_path)
    assert again == facts


def test_a_task_that_cannot_mix_refuses_to(space: SearchSpace) -> None:
    for name in ("mixup", "cutmix", "label_smoothing"):
        with pytest.raises(ConfigError, match=rf"{name}=0.2 is not for the task many labels"):
            SearchableClassifier(space, CLASSES, task=ManyLabels(), **{name: 0.2})
