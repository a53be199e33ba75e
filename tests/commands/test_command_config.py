"""Every file under conf/ composes, is what `build_space` reads, and makes what it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from tests.lightning.conftest import quiet_trainer
from vitsearch import build_space, list_spaces
from vitsearch.commands.phases import resolve_phases
from vitsearch.commands.spec import without_phases
from vitsearch.costs import Constraint
from vitsearch.data import (
    VOC,
    Cityscapes,
    FashionMini,
    FashionMNIST,
    FashionScenes,
    ImageFolder,
    MaskFolder,
)
from vitsearch.lightning import (
    Classifier,
    EvolutionarySearch,
    MultiArchitectureSampling,
    ProgressiveShrinking,
    SearchableClassifier,
)
from vitsearch.lightning.training.optimizers import with_rate
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.config import config_dir, space_config
from vitsearch.supernet import VisionTransformer

CONF = config_dir()
SEARCHERS = sorted(path.stem for path in (CONF / "searcher").glob("*.yaml"))
FILES = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.rglob("*.yaml"))
GROUPS = [name for name in FILES if "/" in name]
SPACES = [name for name in GROUPS if name.startswith("space/")]
SAMPLERS = [name.split("/")[1] for name in GROUPS if name.startswith("sampler/")]
OF_FILES = {
    f"data/{name}" for name in ["image_folder", "fashion_mnist", "mask_folder", "voc", "cityscapes"]
}
PARTS = [name for name in SPACES if name.count("/") == 2]

Composer = Callable[..., DictConfig]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Composer]:
    """Compose as the commands do, from overrides."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def make(name: str, *overrides: str) -> DictConfig:
        config = compose(name, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return config

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield make


def plain(config: Any) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return container


def test_configurations_are_all_here() -> None:
    commands = "train search shrink transform retrain describe audit evaluate export report"
    assert set(commands.split()) == set(FILES) - set(GROUPS)
    groups = "callbacks constraint data logger model objective optimizer sampler scheduler searcher"
    assert {*groups.split(), "space", "trainer"} <= {name.split("/")[0] for name in GROUPS}


@pytest.mark.parametrize(
    "name", [n for n in GROUPS if n not in SPACES and not n.startswith("experiment/")]
)
def test_a_group_composes(name: str, composed: Composer) -> None:
    group, option = name.split("/")
    command, more = "train", ("+space=glit",)
    if name == "trainer/search":
        command, more = "search", ("checkpoint=x",)
    if option.startswith("network"):
        command, more = "retrain", ("architecture=x",)
    root = ("data.root=x",) if name in OF_FILES else ()
    if name == "objective/teacher_distillation":
        root = ("objective.teacher_distillation.teacher.name=x",)
    config = plain(composed(command, *more, f"{group}={option}", *root))
    own = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(own, dict)
    assert set(own) - {"defaults"} <= set(config[group])
    assert "???" not in str(config)


@pytest.mark.parametrize("name", ["train", "search", "shrink", "transform", "retrain"])
def test_every_section_of_a_command_is_resolved(name: str, composed: Composer) -> None:
    given = {
        "train": "+space=glit",
        "search": "checkpoint=x",
        "shrink": "model.path=x",
        "transform": "checkpoint=x",
        "retrain": "architecture=x",
    }[name]
    more = ("architecture=x",) if name == "transform" else ()
    config = composed(name, given, *more)
    assert "${" not in OmegaConf.to_yaml(plain(config))
    assert config.run_dir.startswith("outputs/")


@pytest.mark.parametrize("name", list_spaces())
def test_hydra_and_build_space_read_the_same_space(name: str, composed: Composer) -> None:
    assert plain(composed("train", f"+space={name}").space) == space_config(name)


@pytest.mark.parametrize(
    ("name", "hydra", "overrides"),
    [
        ("glit", ["space.num_blocks=3"], {"num_blocks": 3}),
        ("glit", ["space.mlp.ratios=[2,3]"], {"mlp": {"ratios": [2, 3]}}),
        ("glit", ["space.mlp.ratios=[2,3]"], {"mlp.ratios": [2, 3]}),
        (
            "glit",
            ["space/mixer=glit", "space.mlp.ratios=[2,3]"],
            {"mixer": "glit", "mlp.ratios": [2, 3]},
        ),
        (
            "glit",
            ["space/mixer=glit", "space.mixer.local=grid"],
            {"mixer": "glit", "mixer.local": "grid"},
        ),
        ("glit_tiny", ["space/head=avg", "space/mlp=mlp"], {"head": "avg", "mlp": "mlp"}),
        ("glit_small", ["space.embed_dims=[192,384]"], {"embed_dims": [192, 384]}),
    ],
)
def test_overrides_mean_the_same_in_python(
    name: str, hydra: list[str], overrides: dict[str, Any], composed: Composer
) -> None:
    config = plain(composed("train", f"+space={name}", *hydra).space)
    built = build_space(name, **overrides)
    assert SearchSpace(config) == built
    assert SearchSpace(config).config == built.config


@pytest.mark.parametrize("name", PARTS)
def test_a_part_makes_a_space(name: str, composed: Composer) -> None:
    _, section, option = name.split("/")
    host = "vit_resnas_tiny" if option.startswith("vit_resnas") else "glit_tiny"
    if section == "block" or option in ("resnet", "fpn", "vt_fpn"):
        host = "resnet18"
    if section == "body" or option in ("convs", "searching"):
        host = "hr_nas"
    mixer = {"mixer": "attention"} if section == "tokens" else {}
    added = "+" if section == "tokens" else ""  # no space's file has one
    given = [*(f"space/{k}={v}" for k, v in mixer.items()), f"{added}space/{section}={option}"]
    config = plain(composed("train", f"+space={host}", *given).space)
    space = SearchSpace(config)
    assert space.plan(space.largest()).cost(10).macs > 0
    if host not in ("resnet18", "hr_nas"):  # whose own file says more about its parts
        assert build_space(host, **mixer, **{section: option}) == space


@pytest.mark.parametrize("name", [name for name in GROUPS if name.startswith("data/")])
def test_data_is_made(name: str, composed: Composer, colour_folders: Callable[..., Path]) -> None:
    folder = colour_folders("images")
    if name == "data/mask_folder":
        (folder / "masks").mkdir()
        (folder / "classes.txt").write_text("ground\nant\n")
        (folder / "ant").rename(folder / "images")
    root = (f"data.root={folder}",) if name in OF_FILES else ()
    config = composed("train", "+space=glit", f"data={name.split('/')[1]}", *root)
    config.data.image_size = 28
    made = instantiate(config.data)
    assert type(made) in (
        *(FashionMini, FashionMNIST, ImageFolder),
        *(FashionScenes, MaskFolder, VOC, Cityscapes),
    )
    assert made.image_size == 28
    assert config.data.batch_size % config.callbacks.sampling.num_architectures == 0


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"identity"}))
@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("callbacks", ["default", "with_ema"])
def test_callbacks_are_made(
    sampler: str, searcher: str, callbacks: str, composed: Composer
) -> None:
    space = build_space("glit")
    config = composed(
        "train",
        "+space=glit",
        f"sampler={sampler}",
        f"searcher={searcher}",
        f"callbacks={callbacks}",
        "constraint.macs=[6M,8M]",
    )
    drawn = instantiate(config.sampler).sample(space, num_architectures=4, step=0, rank=0)
    assert len(drawn) == 4
    constraint = Constraint.from_settings(plain(config.constraint))
    assert resolve_phases(config) == ()
    config = without_phases(config)
    made = instantiate(config.searcher)(space, constraint, num_classes=10)
    assert all(constraint.holds(space.plan(c.architecture).cost(10)) for c in made.ask())
    found = {n: instantiate(c) for n, c in config.callbacks.items() if c is not None}
    assert all(isinstance(callback, pl.Callback) for callback in found.values())
    assert {"sampling", "search", "checkpoint", "progress"} <= set(found)
    assert ("ema" in found) == (callbacks == "with_ema")
    assert found["search"].constraint == constraint


@pytest.mark.parametrize(
    "overrides",
    [[], ["callbacks.sampling.whole_batch=true", "callbacks.sampling.warm_up_epochs=2"]],
    ids=["shares", "whole batches"],
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_trains(
    sampler: str, overrides: list[str], composed: Composer, tmp_path: Path
) -> None:
    name = "vitas" if sampler == "identity" else "glit"  # the one needs identities
    tiny = ["space.image_size=28", "space.num_blocks=2", "space.embed_dims=[24]"]
    patches = "space.patch_sizes=[7]"
    config = composed("train", f"+space={name}", f"sampler={sampler}", *tiny, patches, *overrides)
    module = SearchableClassifier(plain(config.space), 10)
    sampling = instantiate(config.callbacks.sampling)
    assert isinstance(sampling, MultiArchitectureSampling)
    trainer = quiet_trainer(tmp_path, limit_train_batches=2, callbacks=[sampling])
    trainer.fit(module, datamodule=FashionMini(batch_size=8, search_per_class=10))
    assert trainer.global_step == 2


def test_a_window_of_identities_by_configuration(composed: Composer) -> None:
    config = composed(
        "train", "+space=vitas", "sampler=identity", "sampler.identity_probability=[null,500K]"
    )
    sampler = instantiate(config.sampler)
    assert sampler.identity_probability == (0, 500_000)


def test_how_to_measure_is_set_beside_the_windows(composed: Composer) -> None:
    config = composed("train", "+space=glit", "constraint.latency_ms=[null,5]")
    made = instantiate(config.callbacks.search)
    assert made.constraint == Constraint(latency_ms=(None, 5))  # the file holds the defaults
    config = composed("search", "checkpoint=x", "constraint.measure.batch_size=8")
    assert Constraint.from_settings(plain(config.constraint)).measure.batch_size == 8


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("scheduler", ["cosine", "constant"])
def test_module_and_optimizers_are_made(
    optimizer: str, scheduler: str, composed: Composer, tmp_path: Path
) -> None:
    config = composed(
        "train",
        "+space=glit",
        f"optimizer={optimizer}",
        f"scheduler={scheduler}",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        f"run_dir={tmp_path}",
    )
    module = instantiate(config.model, space=build_space("glit", num_blocks=1), num_classes=10)
    assert isinstance(module, SearchableClassifier)
    assert module.optimizer_settings == with_rate(plain(config.optimizer), module.net.num_features)
    trainer = instantiate(config.trainer, logger=False)
    assert isinstance(trainer, pl.Trainer)
    assert trainer.default_root_dir == str(tmp_path)


def test_what_shrinks_stands_before_all_that_holds_weights(composed: Composer) -> None:
    config = composed(
        "train", "+space=glit", "callbacks=progressive_shrinking", "constraint.macs=[9M,10M]"
    )
    found = [instantiate(c) for c in config.callbacks.values() if c is not None]
    assert isinstance(found[0], ProgressiveShrinking)
    assert found[0].constraint == Constraint(macs=(9e6, 10e6))
    assert not any(isinstance(one, EvolutionarySearch) for one in found)


@pytest.mark.parametrize("callbacks", ["network", "network_with_ema"])
def test_what_retrains_is_made(callbacks: str, composed: Composer) -> None:
    config = composed("retrain", "architecture=x", f"callbacks={callbacks}")
    found = {n: instantiate(c) for n, c in config.callbacks.items() if c is not None}
    assert all(isinstance(callback, pl.Callback) for callback in found.values())
    assert {"checkpoint", "save", "progress"} == set(found) - {"ema"}
    assert ("ema" in found) == (callbacks == "network_with_ema")
    space = build_space("glit", num_blocks=1)
    settings = plain(config.model)
    assert settings.pop("drop_path_rate") == 0
    assert settings.pop("zero_init_residual") == "auto"
    module = instantiate(settings, _partial_=True)(VisionTransformer(space, space.smallest(), 10))
    assert isinstance(module, Classifier)
    assert module.optimizer_settings == with_rate(plain(config.optimizer), module.net.num_features)


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_loggers_are_made(name: str, composed: Composer, tmp_path: Path) -> None:
    config = composed("train", "+space=glit", f"logger={name}", f"run_dir={tmp_path}")
    made = {key: instantiate(logger) for key, logger in config.logger.items()}
    assert set(made) == {"csv", name}
    for logger in made.values():
        assert logger.log_dir.startswith(str(tmp_path))
