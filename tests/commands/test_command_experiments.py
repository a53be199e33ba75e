"""The recipes compose and train two steps, the papers' on a folder of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

import vitsearch
from tests.commands.running import run_here
from tests.commands.test_command_config import composed  # noqa: F401
from vitsearch import SearchSpace, VisionTransformer, build_space
from vitsearch.costs import Constraint
from vitsearch.lightning.search.factory import make_searcher
from vitsearch.spaces import config_dir
from vitsearch.spaces.phases import read_phases

FILES = sorted(p.stem for p in (config_dir() / "experiment").glob("[!_]*.yaml"))
RETRAININGS = [name for name in FILES if name.startswith(("retrain", "finetune"))]
AUDITED = [name for name in FILES if name.endswith("_fashion")]
PRETRAINED = [name for name in FILES if name.endswith("_timm")]
EXPERIMENTS = [name for name in FILES if name not in RETRAININGS + AUDITED + PRETRAINED]
ON_ONE_CPU = (
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.strategy=auto",
    "trainer.precision=32-true",
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=2",
    "data.batch_size=4",
    "data.search_per_class=2",
    "data.statistics_images=4",
    "data.num_workers=0",
    "callbacks.search=null",
    "searcher.phases=null",
)


def test_the_experiments_are_there() -> None:
    assert EXPERIMENTS == [
        "autoformer_tiny_imagenet",
        "glit_tiny_imagenet",
        "vit_resnas_small_imagenet",
        "vit_resnas_tiny_imagenet",
        "vitas_1g_imagenet",
        "vt_resnet18_imagenet",
    ]
    assert RETRAININGS == [
        "finetune",
        "finetune_384_imagenet",
        "retrain_imagenet",
        "retrain_vit_resnas_imagenet",
        "retrain_vt_advanced_imagenet",
        "retrain_vt_imagenet",
    ]
    assert AUDITED == ["glit_short_fashion", "vit_resnas_narrow_fashion"]
    assert PRETRAINED == ["elastic_timm"]  # tests/commands/test_command_timm.py runs it


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_composes(name: str, composed: Callable[..., DictConfig]) -> None:  # noqa: F811
    config = composed("train", f"experiment={name}", "data.root=images", "run_dir=run")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    space = SearchSpace(plain["space"])
    assert space.image_size == plain["data"]["image_size"] == 224
    constraint = Constraint.from_settings(plain["constraint"])
    assert constraint.windows()
    constraint.check_reachable(space, 1000)
    with_phases = plain["searcher"].pop("phases")
    assert bool(with_phases) == name.startswith("glit")
    read_phases(with_phases or [])
    with open_dict(config):
        del config.searcher["phases"]
    make_searcher(instantiate(config.searcher), space, constraint, 1000, measure={})
    assert (plain["trainer"]["strategy"], plain["trainer"]["precision"]) == ("ddp", "bf16-mixed")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_trains(name: str, colour_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = colour_folders("images", per_class=12)
    # The papers' spaces with fewer blocks and smaller images, so that two steps take seconds.
    small = {
        "glit_tiny_imagenet": ("data.image_size=64", "space.num_blocks=3"),
        "vitas_1g_imagenet": ("data.image_size=224", "space.num_blocks=2"),
        "vt_resnet18_imagenet": ("data.image_size=128",),
        "autoformer_tiny_imagenet": (
            "data.image_size=64",
            "space.num_blocks=3",
            "space.depths=[3]",
        ),
    }.get(name, ("data.image_size=56", "space.num_blocks=2", "space.skippable=[1]"))
    run_dir = tmp_path / "run"
    run_here(
        "train",
        f"experiment={name}",
        f"data.root={root}",
        *ON_ONE_CPU,
        *small,
        "constraint.macs=null",
        "constraint.params=null",
        *(["sampler.identity_probability=0.5"] if name.startswith("vitas") else []),
        f"run_dir={run_dir}",
        folder=tmp_path,
    ).succeeded()
    assert (run_dir / "supernet.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", AUDITED)
def test_it_can_be_audited(name: str, tmp_path: Path) -> None:
    """Two steps on the embedded images, half of which are left to score on."""
    steps = ("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "callbacks.search=null")
    run_here("train", f"experiment={name}", *steps, "run_dir=run", folder=tmp_path).succeeded()
    audit = ("checkpoint=run", "n=4", "compare_searches=null")
    run_here("audit", *audit, folder=tmp_path).succeeded()
    found = json.loads((tmp_path / "run" / "audit" / "audit.json").read_text())
    assert (found["num_architectures"], found["num_images"]) == (4, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("name", RETRAININGS)
def test_it_retrains(name: str, colour_folders: Callable[..., Path], tmp_path: Path) -> None:
    """Two steps of a small network of one block a stage, from a model folder of fresh weights."""
    root = colour_folders("images", per_class=12)
    space = build_space("vit_resnas", num_blocks=1, skippable=None, image_size=32, in_chans=3)
    given = VisionTransformer(space, space.smallest(), num_classes=1000)
    vitsearch.save_model(given, tmp_path / "given")
    small = tuple(setting for setting in ON_ONE_CPU if not setting.startswith(("call", "search")))
    size = 64 if name == "finetune_384_imagenet" else 32
    data = () if "imagenet" in name else ("data=image_folder",)
    if "advanced" in name:
        teacher = VisionTransformer(space, space.smallest(), num_classes=3)
        vitsearch.save_model(teacher, tmp_path / "teacher")
        its = "objective.teacher_distillation.teacher"
        data = (f"{its}.name=teacher", f"{its}.pretrained=false")
    run_here(
        "retrain",
        f"experiment={name}",
        "architecture=given",
        *data,
        f"data.root={root}",
        f"data.image_size={size}",
        *small,
        "run_dir=run",
        folder=tmp_path,
    ).succeeded()
    network = vitsearch.load_model(tmp_path / "run")
    assert network(torch.zeros(1, 3, size, size)).shape == (1, 3)
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert config.init == ("inherited" if name.startswith("finetune") else "scratch")
