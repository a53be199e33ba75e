"""Objectives by configuration: every file trains, they combine, and what cannot be is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from tests.commands.running import SMALL_SPACE, TINY, files_below, run_here
from tests.lightning.conftest import quiet_trainer
from tests.lightning.objective_steps import Constant, dense_scores, small_space, tiny_vit
from vitsearch.commands.spec import required_space
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError
from vitsearch.lightning import MultiArchitectureSampling, SearchableClassifier
from vitsearch.lightning.objectives import OBJECTIVES
from vitsearch.samplers import SandwichSampler, UniformSampler
from vitsearch.spaces import SearchSpace, build_space
from vitsearch.spaces.config import config_dir
from vitsearch.supernet import VisionTransformer, save_model

FILES = sorted(path.stem for path in (config_dir() / "objective").glob("*.yaml"))
HEADS = ("space.head.patch_head=true", "space.head.distillation=true")

Composer = Callable[..., Any]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Composer]:
    """The module section of `vitsearch.train` with overrides, as its own arguments."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def make(*overrides: str) -> SearchableClassifier:
        given = [*SMALL_SPACE, *HEADS, *overrides]
        config = compose("train", given, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        space = SearchSpace(required_space(config))
        module = instantiate(config.model, space=space, num_classes=10)
        assert isinstance(module, SearchableClassifier)
        return module

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield make


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of a teacher; beside them, in `wide`, one as wide as the network that learns."""
    torch.save(tiny_vit().state_dict(), tmp_path / "teacher.pth")
    wide = build_space("glit", num_blocks=2, embed_dims=[24], patch_sizes=[7])
    save_model(VisionTransformer(wide, wide.largest(), 10), tmp_path / "wide")
    return tmp_path / "teacher.pth"


def naming(*names: str, checkpoint: Path) -> list[str]:
    """The overrides for some objectives, those that have a teacher with one."""
    found = [f"objective=[{','.join(names)}]"]
    for name in {"teacher_distillation", "token_labelling"} & set(names):
        teacher = f"objective.{name}.teacher"
        found += [f"{teacher}.name=test_vit", f"{teacher}.checkpoint_path='{checkpoint}'"]
        found += [f"+{teacher}.options.img_size=28", f"+{teacher}.options.patch_size=7"]
    if "keep_ratio" in names:
        found += ["space/mixer=attention", "+space/tokens=predict", "space.tokens.keep=[0.5,1]"]
    if "feature_distillation" in names:
        found.append(f"objective.feature_distillation.teacher.name='{checkpoint.parent}/wide'")
    return found


def train(module: SearchableClassifier, tmp_path: Path, num: int = 4) -> dict[str, float]:
    pl.seed_everything(0)
    sampling = MultiArchitectureSampling(num, SandwichSampler())
    trainer = quiet_trainer(tmp_path, limit_train_batches=2, limit_val_batches=0)
    trainer.callbacks.append(sampling)  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=FashionMini(batch_size=8, search_per_class=5))
    assert trainer.global_step == 2
    assert all(torch.isfinite(p).all() for p in module.parameters())
    return {
        name.removeprefix("train/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("train/")
    }


def test_there_is_a_file_for_every_objective() -> None:
    assert sorted(OBJECTIVES) == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_file_trains_and_logs_its_terms(
    name: str, composed: Composer, checkpoint: Path, tmp_path: Path
) -> None:
    module = composed(*naming(name, checkpoint=checkpoint), "model.cutmix=1.0")
    assert module.hparams["objective"] == module.objective.settings is not None
    logged = train(module, tmp_path)
    assert set(logged) == {"loss", "cross_entropy", name}
    weights = {term.name: term.weight for term in module.objective.terms}
    total = sum(weights[term] * logged[term] for term in weights)
    assert logged["loss"] == pytest.approx(total, rel=1e-5)


def test_files_combine(composed: Composer, checkpoint: Path, tmp_path: Path) -> None:
    module = composed(
        *naming(*FILES, checkpoint=checkpoint),
        "objective.in_place_distillation.weight=0.25",
        "objective.patch_token_mixup.weight=0",
    )
    weights = {term.name: term.weight for term in module.objective.terms}
    assert weights == {
        "cross_entropy": 1.0,
        "in_place_distillation": 0.25,
        "feature_distillation": 1.0,
        "keep_ratio": 2.0,
        "teacher_distillation": 1.0,
        "token_labelling": 0.5,
    }
    assert set(train(module, tmp_path)) == {"loss", *weights}


def test_the_default_is_labels(composed: Composer) -> None:
    (term,) = composed().objective.terms
    assert (term.name, term.weight) == ("cross_entropy", 1)
    (term,) = SearchableClassifier(small_space(), 10).objective.terms
    assert (term.name, term.weight) == ("cross_entropy", 1)


def module_with(objective: Any, *, heads: bool = True) -> SearchableClassifier:
    space = small_space(**{"head.patch_head": heads})
    return SearchableClassifier(space, 10, objective=objective)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ([{"cross_entropy": {}}], ["objective=[{'cross_entropy': {}}]", "mapping"]),
        ({}, ["no term"]),
        ({"cross_entropy": None}, ["no term"]),
        ({"cross_entropy": {"weight": 0}}, ["no term"]),
        ({"cross_entropy": 1.0}, ["objective.cross_entropy=1.0", "weight"]),
        ({"cross_entropy": {"weight": -1}}, ["objective.cross_entropy.weight=-1", "0 or more"]),
        ({"cross_entropy": {"weight": "x"}}, ["objective.cross_entropy.weight=x"]),
        ({"cross_entropy": {"nope": 1}}, ["objective.cross_entropy.nope=1", "largest_only"]),
        ({"cross_entropy": {"largest_only": 3}}, ["largest_only=3"]),
        ({"cross_entropi": {}}, ["cross_entropi", "did you mean cross_entropy", "type"]),
        ({"mine": {"type": "nowhere.Mine"}}, ["objective.mine.type=nowhere.Mine"]),
        ({"mine": {"type": "Mine"}}, ["objective.mine.type=Mine", "dotted"]),
        ({"mine": {"type": "pathlib.Path"}}, ["objective.mine.type", "Objective"]),
        ({"loss": {"type": "cross_entropy"}}, ["objective.loss", "another"]),
        ({"in_place_distillation": {"temperature": 0}}, ["temperature=0", "above 0"]),
        ({"in_place_distillation": {"temperature": "hot"}}, ["temperature=hot"]),
        ({"teacher_distillation": {"kind": "mild"}}, ["kind=mild", "hard, soft"]),
        ({"feature_distillation": {"layers": []}}, ["layers=[]", "[-1, -5]"]),
        ({"feature_distillation": {"layers": -1}}, ["layers=-1", "[-1, -5]"]),
        ({"feature_distillation": {"layers": [2]}}, ["layers=[2]", "2 blocks"]),
        ({"feature_distillation": {"logits_weight": -1}}, ["logits_weight=-1"]),
        ({"patch_token_mixup": {"mean_of_patches": 1}}, ["mean_of_patches=1"]),
        ({"token_labelling": {"top_k": 0}}, ["top_k=0", "1 or more"]),
        ({"token_labelling": {"scores": "no.where"}}, ["scores=no.where", "imported"]),
    ],
    ids=str,
)
def test_settings_that_are_not_legal(objective: Any, said: list[str]) -> None:
    with pytest.raises(ConfigError) as info:
        module_with(objective)
    assert "\n" not in str(info.value)
    assert all(word in str(info.value) for word in said), info.value


@pytest.mark.parametrize("name", ["patch_token_mixup", "token_labelling"])
def test_patches_need_their_head(name: str) -> None:
    with pytest.raises(ConfigError, match=r"space\.head\.patch_head=true") as info:
        module_with({"cross_entropy": {}, name: {}}, heads=False)
    assert str(info.value).startswith(f"objective.{name}: ")


def test_one_architecture_has_no_students() -> None:
    space = small_space(**{"head.patch_head": True})
    space = space.restrict(dict(space.smallest()))
    with pytest.raises(ConfigError, match="one architecture"):
        SearchableClassifier(space, 10, objective={"in_place_distillation": {}})


@pytest.mark.parametrize(
    ("num", "sampler", "objective", "words"),
    [
        (1, SandwichSampler(), {"in_place_distillation": {}}, "num_architectures 2 or more"),
        (1, UniformSampler(), {"in_place_distillation": {}}, "num_architectures 2 or more"),
        (1, SandwichSampler(), {"cross_entropy": {"largest_only": True}}, "sampler=sandwich"),
        (4, UniformSampler(), {"cross_entropy": {"largest_only": True}}, "sampler=sandwich"),
    ],
)
def test_architectures_that_cannot_learn_so_are_refused_before_the_first_step(
    num: int, sampler: Any, objective: Any, words: str, tmp_path: Path
) -> None:
    module = module_with({"cross_entropy": {}} | objective)
    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(num, sampler)])
    with pytest.raises(ConfigError, match=words) as info:
        trainer.fit(module, datamodule=FashionMini(batch_size=8, search_per_class=5))
    assert trainer.global_step == 0
    assert "\n" not in str(info.value)


def test_a_step_that_nobody_learns_from_says_so(tmp_path: Path) -> None:
    module = module_with({"in_place_distillation": {}})
    trainer = quiet_trainer(tmp_path)  # trains the largest alone
    with pytest.raises(ConfigError, match=r"in_place_distillation teaches .* add cross_entropy"):
        trainer.fit(module, datamodule=FashionMini(batch_size=8, search_per_class=5))


def test_scores_that_do_not_fit() -> None:
    for scores, words in (
        (lambda images: torch.zeros(1, 7, 2, 2), "(1, 7, 2, 2)"),
        (lambda images: 3, "()"),
    ):
        module = module_with({"token_labelling": {"scores": scores}})
        with pytest.raises(ConfigError) as info:
            module.prepare_objective(FashionMini())
        assert words in str(info.value)
        assert "(1, 10, h, w)" in str(info.value)
    module = module_with({"token_labelling": {"scores": dense_scores, "top_k": 11}})
    with pytest.raises(ConfigError, match="top_k=11 is more than 10"):
        module.prepare_objective(FashionMini())


def test_a_teacher_is_loaded_once_for_the_same_images() -> None:
    module = module_with({"teacher_distillation": {"teacher": Constant()}})
    module.prepare_objective(FashionMini())
    (term,) = module.objective.terms
    first = term.objective.teacher  # type: ignore[attr-defined]
    module.prepare_objective(FashionMini())
    assert term.objective.teacher is first  # type: ignore[attr-defined]


COMMAND = [
    (("objective=nope",), ("objective=nope", "cross_entropy", "token_labelling")),
    (("objective=patch_token_mixup",), ("patch_token_mixup", "space.head.patch_head=true")),
    (("objective=teacher_distillation",), ("teacher.name", "command line")),
    (
        ("objective=teacher_distillation", "objective.teacher_distillation.teacher.name=resnet18"),
        ("teacher.name=resnet18", "fresh weights"),
    ),
    (("objective=token_labelling", *HEADS), ("token_labelling", "teacher.name is missing")),
    (
        ("objective=in_place_distillation", "callbacks.sampling.num_architectures=1"),
        ("in_place_distillation", "num_architectures 2 or more"),
    ),
    (
        ("objective=in_place_distillation", "callbacks.sampling=null"),
        ("in_place_distillation", "num_architectures 2 or more"),
    ),
    (("objective.cross_entropy.weight=-1",), ("objective.cross_entropy.weight=-1",)),
    (("+objective.mine.weight=1",), ("objective.mine", "objective.mine.type")),
]


@pytest.mark.parametrize(("overrides", "words"), COMMAND, ids=str)
def test_the_command_refuses_in_one_line_and_leaves_nothing(
    overrides: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    outcome = run_here("train", *SMALL_SPACE, *TINY, *overrides, folder=tmp_path / "work")
    assert outcome.code == 2, outcome.out + outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert files_below(tmp_path / "work") == set()


def test_the_command_trains_with_several(tmp_path: Path) -> None:
    several = "objective=[in_place_distillation,patch_token_mixup]"
    outcome = run_here("train", *SMALL_SPACE, *TINY, several, HEADS[0], folder=tmp_path)
    header = (outcome.succeeded().run / "metrics.csv").read_text().splitlines()[0]
    for name in ("loss", "cross_entropy", "in_place_distillation", "patch_token_mixup"):
        assert f"train/{name}" in header.split(",")
