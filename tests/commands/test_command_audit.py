"""`vitsearch.audit`: scores of a trained supernet against networks trained alone."""

from __future__ import annotations

import json
import re
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import vitsearch
from tests.commands.killing import kill_when, start
from tests.commands.running import (
    FEW_CANDIDATES,
    Outcome,
    files_below,
    run_here,
    run_module,
    small_range,
    small_space,
)
from tests.commands.test_command_errors import refused
from vitsearch.errors import ConfigError
from vitsearch.lightning.audit.training_free import chosen_scores
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.reports.facts.agreement import kendall_tau_b, spearman_rho
from vitsearch.spaces import Architecture, build_space
from vitsearch.training_free import training_free_scores

SEARCHES = tuple(option.replace("searcher", "compare_searches") for option in FEW_CANDIDATES)
ONE = ("trainer.devices=1", "trainer.accelerator=cpu")
UNTRAINED = "training_free=[synflow,naswot,az_nas,macs]"
TINY = (*ONE, *SEARCHES, "compare_searches.seeds=[0,1]", "n=4", "seeds=[0,1]", UNTRAINED)
FEW = (*ONE, "compare_searches=null", "n=4", "training_free=null")


@pytest.fixture
def run(trained: Outcome, tmp_path: Path) -> Path:
    """A run to write into."""
    return Path(shutil.copytree(trained.run, tmp_path / "run"))


@pytest.fixture(scope="module")
def audited(trained: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A whole audit, to be read, not changed."""
    folder = tmp_path_factory.mktemp("audited")
    shutil.copytree(trained.run, folder / "run")
    return run_here("audit", "checkpoint=run", *TINY, folder=folder).succeeded()


def facts_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "audit.json").read_text())
    return found


def trainings_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of trainings.jsonl, without the time they took."""
    lines = [json.loads(line) for line in (folder / "trainings.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_files_of_an_audit(audited: Outcome, trained: Outcome) -> None:
    assert audited.err == ""
    before, after = files_below(trained.run), files_below(audited.folder / "run")
    new = {name for name in after - before if not name.endswith(".png")}
    assert new == {"audit/audit.json", "audit/config.yaml", "audit/trainings.jsonl"}
    config = (audited.folder / "run" / "audit" / "config.yaml").read_text()
    assert "${" not in config
    assert "???" not in config
    for words in ("4 architectures, 1 epoch, seeds 0, 1", small_range(), "trained 8/8", "ranks"):
        assert words in audited.out, words


def test_lines_of_trainings(audited: Outcome) -> None:
    trainings = trainings_of(audited.folder / "run" / "audit")
    assert [line["seed"] for line in trainings] == [0] * 4 + [1] * 4
    assert len({line["digest"] for line in trainings}) == 4
    assert len({line["recipe"] for line in trainings}) == 1
    space = small_space()
    for line in trainings:
        architecture = Architecture.from_dict(line["architecture"])
        space.validate(architecture)
        assert line["digest"] == architecture.digest
        cost = vitsearch.cost(space, architecture, num_classes=10)
        assert (line["macs"], line["params"]) == (cost.macs, cost.params)
        assert line["total"] == 50
        assert line["top1"] == line["correct"] / 50
        assert line["epochs"] == 1
    assert all(a["macs"] <= b["macs"] for a, b in pairwise(trainings[:4]))


def test_figures_come_from_the_trainings(audited: Outcome) -> None:
    facts = facts_of(audited.folder / "run" / "audit")
    trainings = trainings_of(audited.folder / "run" / "audit")
    rows = {row["digest"]: row for row in facts["architectures"]}
    alone = {
        digest: [line["top1"] for line in trainings if line["digest"] == digest] for digest in rows
    }
    inherited = [row["inherited_top1"] for row in rows.values()]
    mean = [fmean(tops) for tops in alone.values()]
    for digest, row in rows.items():
        assert row["alone_top1"] == alone[digest]
        assert row["gap"] == pytest.approx(fmean(alone[digest]) - row["inherited_top1"])
    macs = [row["macs"] for row in rows.values()]
    params = [row["params"] for row in rows.values()]
    for name, x in (("supernet", inherited), ("macs", macs), ("params", params)):
        found = facts["agreement"][name]
        for measure, correlation in (
            ("kendall_tau_b", kendall_tau_b),
            ("spearman_rho", spearman_rho),
        ):
            expected = correlation(x, mean)
            if expected == expected:  # else one of them is constant
                assert found[measure]["value"] == pytest.approx(expected)
            else:
                assert found[measure]["value"] is None
    seeds = list(zip(*alone.values(), strict=True))
    ceiling = kendall_tau_b(*seeds)
    assert facts["noise_ceiling"]["kendall_tau_b"] == (
        pytest.approx(ceiling) if ceiling == ceiling else None
    )
    assert facts["gap"]["mean"] == pytest.approx(fmean(mean) - fmean(inherited))


def test_training_free_scores_are_those_of_the_function(audited: Outcome) -> None:
    run = audited.folder / "run"
    facts = facts_of(run / "audit")
    names = ["synflow", "naswot", "az_nas"]  # MACs have a row of their own
    assert list(facts["agreement"]["training_free"]) == names
    data = instantiate(OmegaConf.load(run / "config.yaml").data)
    data.setup("fit")
    rows = facts["architectures"]
    found = training_free_scores(
        small_space(),
        [Architecture.from_dict(row["architecture"]) for row in rows],
        names,
        num_classes=10,
        seed=0,
        images=torch.cat([images for images, _ in data.statistics_dataloader()]),
    )
    for name in names:
        assert [row["training_free"][name] for row in rows] == found[name]
    assert "NASWOT, untrained" in audited.out
    assert "given MACs" in audited.out


def test_scores_that_a_space_does_not_have() -> None:
    space = build_space("resnet18", image_size=32)
    architectures = [space.smallest(), space.largest()]
    names, notes = chosen_scores(space, architectures, "auto")
    assert names == ("synflow", "naswot")
    (note,) = notes
    assert "az_expressivity needs transformer blocks" in note
    with pytest.raises(ConfigError, match="training_free=dss needs attention layers"):
        chosen_scores(space, architectures, ["synflow", "dss"])
    assert chosen_scores(space, architectures, []) == chosen_scores(space, [], None) == ((), ())
    transformers = small_space()
    auto = chosen_scores(transformers, [transformers.largest()], "auto")
    assert auto == (("synflow", "naswot", "az_expressivity"), ())


def test_inherited_scores_are_those_of_a_search(audited: Outcome) -> None:
    run = audited.folder / "run"
    facts, net = facts_of(run / "audit"), vitsearch.load_supernet(run)
    data = instantiate(OmegaConf.load(run / "config.yaml").data)
    data.setup("fit")
    statistics = [images for images, _ in data.statistics_dataloader()]
    scorer = Scorer(net, data.search_dataloader(), statistics, device=torch.device("cpu"))
    for row in facts["architectures"]:
        architecture = Architecture.from_dict(row["architecture"])
        assert row["inherited_top1"] == scorer.score(architecture).value
    assert facts["ends"]["smallest"] == scorer.score(net.space.smallest()).value
    assert facts["ends"]["largest"] == scorer.score(net.space.largest()).value
    assert facts["num_images"] == 50


def test_searches_are_compared(audited: Outcome) -> None:
    searches = facts_of(audited.folder / "run" / "audit")["searches"]
    assert [row["seed"] for row in searches["seeds"]] == [0, 1]
    for row in searches["seeds"]:
        assert len(row["evolution"]) == len(row["random"]) == row["evaluations"] == 8
        assert row["evolution"][:4] == row["random"][:4]
        assert row["evolution_top1"] == max(row["evolution"])
        assert row["difference"] == row["evolution_top1"] - row["random_top1"]


@pytest.mark.parametrize("damage", ["last line gone", "last line torn"])
def test_a_stopped_audit_goes_on(damage: str, audited: Outcome, tmp_path: Path) -> None:
    shutil.copytree(audited.folder / "run", tmp_path / "run")
    folder = tmp_path / "run" / "audit"
    before, facts = trainings_of(folder), facts_of(folder)
    lines = (folder / "trainings.jsonl").read_text().splitlines(keepends=True)
    torn = "" if damage == "last line gone" else lines[-1][:25]
    (folder / "trainings.jsonl").write_text("".join(lines[:-1]) + torn)
    (folder / "audit.json").unlink()
    again = run_here("audit", "checkpoint=run", *TINY, folder=tmp_path).succeeded()
    assert "7 of 8 trainings are done" in again.out
    assert re.findall(r"trained (\d+/\d+)", again.out) == ["1/1"]
    assert trainings_of(folder) == before
    assert facts_of(folder) == facts

    fewer = run_here("audit", "checkpoint=run", *TINY, "seeds=[1]", folder=tmp_path).succeeded()
    assert "4 of 4 trainings are done" in fewer.out
    assert [row["alone_top1"] for row in facts_of(folder)["architectures"]] == [
        row["alone_top1"][1:] for row in facts["architectures"]
    ]
    assert trainings_of(folder) == before


def test_a_window_and_other_epochs(run: Path, tmp_path: Path) -> None:
    window = ("constraint=none", "constraint.macs=[0.6M,0.9M]")
    run_here(
        "audit", "checkpoint=run", *FEW, *window, "epochs=2", "run_dir=mine", folder=tmp_path
    ).succeeded()
    assert not (run / "audit").exists()
    given = facts_of(tmp_path / "mine")
    assert all(600_000 <= row["macs"] <= 900_000 for row in given["architectures"])
    assert given["recipe"]["epochs"] == 2
    assert given["searches"] is None

    config = OmegaConf.load(run / "config.yaml")
    config.constraint.macs = ["0.6M", "0.9M"]
    config.trainer.max_epochs = 2
    OmegaConf.save(config, run / "config.yaml")
    run_here("audit", "checkpoint=run/supernet.ckpt", *FEW, folder=tmp_path).succeeded()
    assert trainings_of(run / "audit") == trainings_of(tmp_path / "mine")


def test_the_recipe_is_the_run_s(run: Path, tmp_path: Path) -> None:
    config = OmegaConf.load(run / "config.yaml")
    config.model.mixup = 0.3
    config.model.drop_path_rate = 0.1
    config.optimizer.lr = 1.0  # what model.optimizer says is what trained
    config.model.optimizer.lr = 0.02
    config.callbacks.ema = {
        "_target_": "pytorch_lightning.callbacks.EMAWeightAveraging",
        "decay": 0.5,
    }
    config.callbacks.mine = {"_target_": "tests.commands.parts.CountSteps", "unit": "batches"}
    OmegaConf.save(config, run / "config.yaml")
    run_here("audit", "checkpoint=run", *FEW, folder=tmp_path).succeeded()
    recipe = facts_of(run / "audit")["recipe"]
    assert recipe["classifier"]["mixup"] == 0.3
    assert recipe["classifier"]["optimizer"]["lr"] == 0.02
    assert recipe["drop_path_rate"] == 0.1
    assert recipe["zero_init_residual"] == "auto"
    assert [section["decay"] for section in recipe["averaging"]] == [0.5]
    assert recipe["trainer"]["limit_train_batches"] == 3
    assert recipe["data"]["batch_size"] == 16
    assert not list(tmp_path.rglob("steps.txt"))

    config.callbacks.ema = None
    OmegaConf.save(config, run / "config.yaml")
    line = run_here("audit", "checkpoint=run", *FEW, folder=tmp_path)
    assert line.code == 2
    assert "4 trainings of another recipe" in line.err
    plain = run_here("audit", "checkpoint=run", *FEW, "run_dir=plain", folder=tmp_path)
    plain.succeeded()
    tops = [[line["top1"] for line in trainings_of(f)] for f in (run / "audit", tmp_path / "plain")]
    assert tops[0] != tops[1]


def test_settings_that_come_before_the_run_s(run: Path, tmp_path: Path) -> None:
    outcome = run_here(
        "audit",
        "checkpoint=run",
        *FEW,
        "batch_size=8",
        "+classifier.optimizer={opt: sgd, lr: 0.1}",
        "+classifier.scheduler={}",
        folder=tmp_path,
    ).succeeded()
    recipe = facts_of(run / "audit")["recipe"]
    assert recipe["data"]["batch_size"] == 8
    assert recipe["classifier"]["optimizer"] == {"opt": "sgd", "lr": 0.1}
    assert recipe["classifier"]["scheduler"] == {}
    assert "note" not in outcome.out


def test_notes_say_what_may_differ(run: Path, tmp_path: Path) -> None:
    config = OmegaConf.load(run / "config.yaml")
    config.model._target_ = "my_project.Focal"
    config.model.objective = {"cross_entropy": {"weight": 1.0}, "in_place_distillation": {}}
    config.searcher.phases = [{"name": "first"}]
    config.constraint.latency_ms = [None, 5]
    config.trainer.devices = 4
    OmegaConf.save(config, run / "config.yaml")
    outcome = run_here("audit", "checkpoint=run", *FEW, folder=tmp_path).succeeded()
    assert "note: the run was trained by my_project.Focal" in outcome.out
    assert "note: the run also learned from in_place_distillation; networks alone" in outcome.out
    assert "note: the run had phases" in outcome.out
    assert "note: the run had trainer.devices=4" in outcome.out
    assert "note: windows on measured costs are left out: latency_ms" in outcome.out
    assert outcome.out.count("note: ") == 5


def test_the_test_split_is_read_for_the_trained_networks(run: Path, tmp_path: Path) -> None:
    run_here("audit", "checkpoint=run", *FEW, folder=tmp_path).succeeded()
    assert facts_of(run / "audit")["agreement_on_test"] is None
    outcome = run_here("audit", "checkpoint=run", *FEW, "use_test_split=true", folder=tmp_path)
    assert "0 of 4 trainings are done" in outcome.succeeded().out  # no network had been kept
    facts = facts_of(run / "audit")
    assert facts["agreement_on_test"] is not None
    data = instantiate(OmegaConf.load(run / "config.yaml").data)
    images, labels = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    for row in facts["architectures"]:
        network = vitsearch.load_model(run / "audit" / "networks" / f"{row['digest']}-0")
        data.setup("fit")
        network.reestimate_statistics([batch for batch, _ in data.statistics_dataloader()])
        with torch.inference_mode():
            correct = int((network(images).argmax(dim=1) == labels).sum())
        assert row["alone_test_top1"] == [correct / len(labels)]
    again = run_here("audit", "checkpoint=run", *FEW, "use_test_split=true", folder=tmp_path)
    assert "4 of 4 trainings are done" in again.succeeded().out


SETTINGS = [
    ("n=3", ("n=3", "4 or more")),
    ("n=many", ("n=many", "whole number")),
    ("n=2000", ("n=2000", "1294 architectures")),
    ("seeds=[]", ("seeds=[]", "one or more")),
    ("seeds=[1,1]", ("seeds=[1, 1]", "different")),
    ("seeds=3", ("seeds=3", "list")),
    ("seeds=[-1]", ("seeds=[-1]", "from 0")),
    ("seed=-1", ("seed=-1",)),
    ("process_timeout=0", ("process_timeout=0",)),
    ("training_free=[zen]", ("training_free=zen", "legal: macs, params, synflow")),
    ("training_free=synflow", ("training_free=synflow", "list of macs", "or auto, or null")),
    ("epochs=0", ("epochs=0", "1 or more")),
    ("epochs=1.5", ("epochs=1.5", "whole number")),
    ("epoch=3", ("epoch=3", "did you mean epochs?")),
    ("batch_size=0", ("batch_size=0",)),
    ("compare_searches.population=0", ("compare_searches.population=0", "1 or more")),
    ("compare_searches.seeds=[0,0]", ("compare_searches.seeds=[0, 0]",)),
    ("+compare_searches.nope=1", ("compare_searches", "'nope'")),
    ("classifier._target_=pathlib.Path", ("classifier",)),
    ("classifier._target_=torch.nn.Identity", ("torch.nn.Identity", "Classifier")),
    ("+classifier.nope=1", ("classifier", "'nope'")),
    ("+classifier.mixup=-1", ("mixup=-1",)),
    ("+classifier.optimizer={opt: nope}", ("optimizer.opt=nope",)),
    ("trainer.accelerator=toaster", ("toaster", "cpu")),
    ("trainer.devices=0", ("devices=0",)),
    ("--multirun", ("--multirun",)),
]


@pytest.mark.parametrize(("override", "words"), SETTINGS)
def test_a_setting_that_is_not_legal(
    override: str, words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    arguments = (f"checkpoint={trained.run}", *ONE, *SEARCHES, override)
    refused(run_here("audit", *arguments, folder=tmp_path / "work"), *words)
    assert not (trained.run / "audit").exists()


def test_a_window_that_is_not_reached(trained: Outcome, tmp_path: Path) -> None:
    def audit(window: str) -> Outcome:
        given = (f"checkpoint={trained.run}", *FEW, "constraint=none", f"constraint.macs={window}")
        return run_here("audit", *given, folder=tmp_path / "work")

    refused(audit("[1,2]"), "constraint.macs=[1, 2]", small_range())
    refused(audit("[367K,370K]"), "n=4", "found 0", "367 K to 370 K")


def test_a_run_that_is_none(trained: Outcome, tmp_path: Path) -> None:
    def audit(*overrides: str) -> Outcome:
        return run_here("audit", *FEW, *overrides, folder=tmp_path / "work")

    refused(audit(), "no checkpoint", "checkpoint=")
    refused(audit("checkpoint=nowhere"), "checkpoint=nowhere", "supernet.ckpt")
    assert not (tmp_path / "work" / "nowhere").exists()
    (tmp_path / "alone").mkdir()
    shutil.copy(trained.run / "supernet.ckpt", tmp_path / "alone")
    refused(audit("checkpoint=../alone"), "config.yaml", "recipe")
    (tmp_path / "alone" / "config.yaml").write_text("data: {}\n")
    refused(audit("checkpoint=../alone"), "config.yaml", "model", "trainer")
    assert not (tmp_path / "alone" / "audit").exists()


def test_damaged_trainings(run: Path, tmp_path: Path) -> None:
    (run / "audit").mkdir()
    (run / "audit" / "trainings.jsonl").write_text("what?\n\n")
    refused(
        run_here("audit", f"checkpoint={run}", *FEW, folder=tmp_path / "work"),
        "trainings.jsonl line 1 is damaged",
    )


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_an_audit_that_is_stopped_in_a_training(
    signum: int, audited: Outcome, run: Path, tmp_path: Path
) -> None:
    before = audited.folder / "run" / "audit"
    log = run / "audit" / "trainings.jsonl"

    def has_two() -> bool:
        return log.is_file() and log.read_bytes().count(b"\n") >= 2

    process = start("audit", "checkpoint=run", *TINY, folder=tmp_path, output="stopped")
    code = kill_when(process, has_two, signum)
    errors = (tmp_path / "stopped.err").read_text()
    if signum == signal.SIGKILL:
        assert code == -signum
    else:
        assert code == 128 + signum
        assert errors.splitlines()[-1].endswith("the same command goes on")
    finished = trainings_of(run / "audit")
    assert 2 <= len(finished) < 8
    assert finished == trainings_of(before)[: len(finished)]
    again = run_here("audit", "checkpoint=run", *TINY, folder=tmp_path).succeeded()
    assert f"{len(finished)} of 8 trainings are done" in again.out
    assert trainings_of(run / "audit") == trainings_of(before)
    assert facts_of(run / "audit") == facts_of(before)


@pytest.mark.slow
def test_two_processes_audit_like_one(audited: Outcome, tmp_path: Path) -> None:
    shutil.copytree(audited.folder / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "audit")
    two = ("trainer.devices=2", "trainer.strategy=ddp")
    both = run_module("vitsearch.audit", "checkpoint=run", *TINY, *two, folder=tmp_path)
    assert "2 x cpu" in both.succeeded().out
    one, other = audited.folder / "run" / "audit", tmp_path / "run" / "audit"
    assert facts_of(one) == facts_of(other)
    assert sorted(map(str, trainings_of(one))) == sorted(map(str, trainings_of(other)))
    assert not [name for name in files_below(other) if re.search(r"trainings\.\d", name)]
