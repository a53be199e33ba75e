"""The teacher: which network, the images as it expects them, and that it stays as it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import timm
import torch
from torch import Tensor, nn

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.objective_steps import Constant, small_space, tiny_vit
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError
from vitsearch.lightning import MultiArchitectureSampling, SearchableClassifier, SupernetCheckpoint
from vitsearch.lightning.objectives import ImageFacts, Teacher
from vitsearch.lightning.objectives.teacher import load_teacher
from vitsearch.supernet import VisionTransformer

GREY = ImageFacts(num_classes=10, in_chans=1, image_size=28, mean=(0.286,), std=(0.353,))
COLOUR = ImageFacts(num_classes=10, in_chans=3, image_size=40, mean=(0.5, 0.4, 0.3), std=(0.2,) * 3)


def saved(network: nn.Module, folder: Path) -> str:
    torch.save(network.state_dict(), folder / "teacher.pth")
    return str(folder / "teacher.pth")


def grey_images(count: int = 2, side: int = 28) -> Tensor:
    """Pixels as FashionMini normalises them."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 1, side, side, generator=generator) - 0.286) / 0.353


class Sees(nn.Module):
    """Keeps the images that it is shown; expects what a timm model of ImageNet does."""

    def __init__(self, in_chans: int = 3, size: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 10, 1)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.pretrained_cfg = {"input_size": (3, size, size), "mean": mean, "std": std}
        self.seen = torch.zeros(())

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return self.conv(images).mean(dim=(2, 3))  # type: ignore[no-any-return]


def test_images_are_repeated_resized_and_normalised_anew() -> None:
    network = Sees()
    teacher = Teacher(network, GREY)
    images = grey_images()
    assert teacher.logits(images).shape == (2, 10)
    pixels = (images * 0.353 + 0.286).expand(-1, 3, -1, -1)
    pixels = nn.functional.interpolate(pixels, size=(32, 32), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(network.pretrained_cfg[name]) for name in ("mean", "std"))
    expected = (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(network.seen, expected, rtol=1e-5, atol=1e-5)


def test_images_that_are_as_expected_are_left_alone() -> None:
    network = Sees(size=40)
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    images = torch.randn(2, 3, 40, 40)
    facts = ImageFacts(num_classes=10, in_chans=3, image_size=40, mean=mean, std=std)
    Teacher(network, facts).logits(images)
    assert torch.equal(network.seen, images)
    Teacher(network, COLOUR, normalize=False).logits(images)
    assert torch.equal(network.seen, images)
    plain = Constant()  # says nothing of what it expects
    assert torch.equal(Teacher(plain, COLOUR).logits(images), plain(images))


def test_a_grey_network_gets_the_mean_of_three_normalisations() -> None:
    network = Sees(in_chans=1, size=28)
    images = grey_images()
    Teacher(network, GREY).logits(images)
    mean, std = (sum(network.pretrained_cfg[name]) / 3 for name in ("mean", "std"))
    torch.testing.assert_close(network.seen, (images * 0.353 + 0.286 - mean) / std)


def test_the_size_can_be_named() -> None:
    network = Sees()
    Teacher(network, GREY, image_size=20).logits(grey_images())
    assert network.seen.shape == (2, 3, 20, 20)


def test_a_model_of_timm_with_its_checkpoint(tmp_path: Path) -> None:
    expected = tiny_vit().eval()
    given = {
        "name": "test_vit",
        "checkpoint_path": saved(expected, tmp_path),
        "options": {"img_size": 28, "patch_size": 7},
    }
    state = torch.get_rng_state()
    teacher = load_teacher(given, GREY)
    assert torch.equal(torch.get_rng_state(), state)  # a seeded run stays the same
    images = grey_images()
    pixels = (images * 0.353 + 0.286 - 0.5) / 0.5
    found = teacher.logits(images)
    torch.testing.assert_close(found, expected(pixels.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_a_folder_of_ours(tmp_path: Path) -> None:
    space = vitsearch.build_space("vit_resnas")
    network = VisionTransformer(space, space.smallest(), 10).eval()
    vitsearch.save_model(network, tmp_path / "best")
    teacher = load_teacher({"name": str(tmp_path / "best")}, GREY)
    images = grey_images()
    assert torch.equal(teacher.logits(images), network(images))
    assert teacher.dense(images).shape == (2, 10, 2, 2)
    network.set_preprocessing({"mean": 0.5, "std": 0.5})  # it was trained on other numbers
    vitsearch.save_model(network, tmp_path / "best")
    seen = (images * 0.353 + 0.286 - 0.5) / 0.5
    again = load_teacher({"name": str(tmp_path)}, GREY)  # the run's folder
    torch.testing.assert_close(again.logits(images), network(seen), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_follows_the_type_of_the_images(dtype: torch.dtype) -> None:
    teacher = Teacher(tiny_vit(img_size=32, patch_size=8), GREY)
    assert teacher.logits(grey_images().to(dtype)).dtype == dtype
    assert teacher.logits(grey_images()).dtype == torch.float32


class Keep(pl.Callback):
    """Notes the teacher's weights before and after."""

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher
        self.before = copy.deepcopy(teacher.state_dict())
        self.training: list[bool] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.training.append(self.teacher.training)


def test_training_leaves_the_teacher_as_it_is_and_out_of_everything(tmp_path: Path) -> None:
    teacher = timm.create_model("test_resnet", num_classes=10).train()  # BatchNorm would show it
    space = small_space(**{"head.distillation": True, "head.patch_head": True})
    objective = {
        "cross_entropy": {"weight": 0.5},
        "teacher_distillation": {"weight": 0.5, "teacher": teacher},
        "token_labelling": {"weight": 0.5, "teacher": teacher},
    }
    pl.seed_everything(0)
    module = SearchableClassifier(space, 10, objective=objective)
    keep = Keep(teacher)
    callbacks = [
        MultiArchitectureSampling(2),
        SupernetCheckpoint(),
        pl.callbacks.EMAWeightAveraging(decay=0.5),
        keep,
    ]
    trainer = quiet_trainer(tmp_path, limit_train_batches=2, callbacks=callbacks)
    data = FashionMini(batch_size=4, eval_batch_size=50, search_per_class=5)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, keep.before[name]), name
    assert keep.training == [False, False]
    own = {id(p) for p in module.parameters()}
    trained = {id(p) for g in trainer.optimizers[0].param_groups for p in g["params"]}
    for parameter in teacher.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
        assert id(parameter) not in own | trained
    assert set(module.state_dict()) == {f"net.{name}" for name in module.net.state_dict()}
    checkpoint = torch.load(tmp_path / "supernet.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == set(module.state_dict())
    assert checkpoint["hyper_parameters"]["objective"] is None
    assert copy.deepcopy(module).objective is module.objective
    for name in ("loss", *objective):
        assert torch.isfinite(trainer.callback_metrics[f"train/{name}"])
    SearchableClassifier.load_from_checkpoint(tmp_path / "supernet.ckpt", weights_only=True)


def test_a_checkpoint_keeps_settings_and_loads_without_the_teacher(tmp_path: Path) -> None:
    path = saved(tiny_vit(), tmp_path)
    options = {"img_size": 28, "patch_size": 7}
    teacher = {"name": "test_vit", "checkpoint_path": path, "options": options}
    objective = {"cross_entropy": {}, "teacher_distillation": {"teacher": teacher}}
    module = SearchableClassifier(small_space(), 10, objective=objective)
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=[SupernetCheckpoint()])
    trainer.fit(module, datamodule=FashionMini(batch_size=4, search_per_class=5))
    Path(path).unlink()
    file = tmp_path / "supernet.ckpt"
    again = SearchableClassifier.load_from_checkpoint(file, weights_only=True)
    assert again.hparams["objective"] == objective
    with pytest.raises(ConfigError, match=r"checkpoint_path=.* is no file"):
        again.prepare_objective(FashionMini())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_vit2", {}),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 12}),
        ("mixer_s32_224", {}),
    ],
)
@torch.no_grad()
def test_the_mean_of_dense_scores_is_the_answer_where_features_are_pooled_by_their_mean(
    name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=10, **options).eval()
    for module in network.modules():  # a norm between pooling and classifier is not linear
        if isinstance(module, nn.LayerNorm) and module is getattr(network, "fc_norm", None):
            network.fc_norm = nn.Identity()
    size = network.pretrained_cfg["input_size"][-1]
    facts = ImageFacts(num_classes=10, in_chans=3, image_size=size)
    teacher = Teacher(network, facts, normalize=False)
    images = torch.randn(2, 3, size, size)
    dense = teacher.dense(images)
    assert dense.shape[:2] == (2, 10)
    assert dense.shape[2] == dense.shape[3] > 1
    torch.testing.assert_close(dense.mean(dim=(2, 3)), teacher.logits(images), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["test_vit", "test_vit3", "test_convnext", "deit_tiny_distilled_patch16_224"]
)
def test_dense_scores_are_the_head_s_of_each_location(name: str) -> None:
    torch.manual_seed(0)
    options = {"depth": 1} if name.startswith("deit") else {}
    network = timm.create_model(name, num_classes=10, **options).eval()
    size = network.pretrained_cfg["input_size"][-1]
    facts = ImageFacts(num_classes=10, in_chans=3, image_size=size)
    images = torch.randn(2, 3, size, size)
    dense = Teacher(network, facts, normalize=False).dense(images)
    features = network.forward_features(images)
    if features.dim() == 3:
        patch = features[:, network.num_prefix_tokens + 1]  # first row, second column
        one = patch[:, None].expand(-1, network.num_prefix_tokens + 1, -1)
    else:
        one = features[:, :, :1, 1:2]
    torch.testing.assert_close(dense[:, :, 0, 1], network.forward_head(one), atol=1e-5, rtol=1e-4)


def with_name(**settings: Any) -> dict[str, Any]:
    return {"name": "test_vit", **settings}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, ["teacher.name is missing"]),
        ("test_vit", ["teacher=test_vit", "teacher.name"]),
        (with_name(), ["teacher.name=test_vit", "checkpoint_path", "pretrained"]),
        (with_name(nope=1), ["teacher.nope=1", "teacher.checkpoint_path"]),
        (with_name(checkpoint_path="nowhere.pth"), ["checkpoint_path=nowhere.pth is no file"]),
        (with_name(image_size=0), ["teacher.image_size=0"]),
        (with_name(normalize="no"), ["teacher.normalize=no"]),
        ({"network": 3}, ["teacher.network=3", "Module"]),
        ({"name": "tset_vit", "checkpoint_path": __file__}, ["tset_vit", "test_vit"]),
        (with_name(checkpoint_path=__file__), ["teacher.name=test_vit"]),
        (with_name(checkpoint_path=__file__, options={"nope": 1}), ["nope"]),
    ],
)
def test_a_teacher_that_is_none(given: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as info:
        load_teacher(given, GREY)
    assert "\n" not in str(info.value)
    assert all(word in str(info.value) for word in words), info.value


def prepare(teacher: Any, term: str = "teacher_distillation", data: Any = None) -> str:
    space = small_space(**{"head.patch_head": True})
    objective = {"cross_entropy": {}, term: {"teacher": teacher}}
    module = SearchableClassifier(space, 10, objective=objective)
    with pytest.raises(ConfigError) as info:
        module.prepare_objective(data or FashionMini())
    assert "\n" not in str(info.value)
    assert str(info.value).startswith(f"objective.{term}: ")
    return str(info.value)


def test_a_teacher_that_does_not_fit(tmp_path: Path) -> None:
    assert "(7,)" in prepare(Constant(7))
    assert "10 classes" in prepare(Constant(7))
    assert "forward_features" in prepare(Constant(), "token_labelling")
    resnet = timm.create_model("test_resnet", num_classes=7)
    assert "(1, 7, 5, 5)" in prepare(resnet, "token_labelling")
    broken = nn.Sequential(nn.Conv2d(1, 10, 16, 16), nn.Flatten(), nn.Linear(7, 10))
    assert "fails on images of 28 px" in prepare(broken)
    path = saved(tiny_vit(num_classes=7), tmp_path)
    options = {"img_size": 28, "patch_size": 7}
    message = prepare({"name": "test_vit", "checkpoint_path": path, "options": options})
    assert "size mismatch for head.weight" in message

    class Plain:
        """Loaders without a word on how images are normalised."""

    assert "teacher.normalize=false" in prepare(tiny_vit(), data=Plain())
    load_teacher({"network": tiny_vit(), "normalize": False}, replace(GREY, mean=None))


def test_a_grey_teacher_for_images_in_colour() -> None:
    with pytest.raises(ConfigError, match="it sees 1 channels, the images have 3"):
        Teacher(Sees(in_chans=1), COLOUR)
