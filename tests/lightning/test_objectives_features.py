"""Distillation of tokens: its value, its gradient, and teachers that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.objective_steps import make_batch, run_step
from tests.lightning.test_objectives_gradients import check_sum
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError
from vitsearch.lightning import Classifier, MultiArchitectureSampling, SearchableClassifier
from vitsearch.samplers import SandwichSampler, StratifiedSampler, UniformSampler
from vitsearch.spaces import SearchSpace
from vitsearch.supernet import SuperTransformer


def timm_vit(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    settings = {
        "num_classes": 10,
        "img_size": 28,
        "patch_size": 7,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 3,
        "in_chans": 1,
    }
    network: nn.Module = timm.create_model("vit_tiny_patch16_224", **{**settings, **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def supernet(**options: Any) -> SuperTransformer:
    shares = {"embed_dim": [0.5, 1], "depths": [2, 3]}
    return vitsearch.from_timm(timm_vit(**options), options=shares)


def module_of(net: SuperTransformer, settings: Any, **other: Any) -> SearchableClassifier:
    module = SearchableClassifier(
        net.space, 10, objective={"feature_distillation": settings}, **other
    )
    module.net.load_state_dict(net.state_dict())
    module.begin_with(net.extract(net.largest))
    with torch.no_grad():  # the teacher stays as it was
        for parameter in module.net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    module.prepare_objective(FashionMini())
    return module.double().train()


def cosine(own: Tensor, taught: Tensor) -> Tensor:
    return (own * taught).sum(-1) / own.norm(dim=-1) / taught.norm(dim=-1)


@pytest.mark.parametrize("logits_weight", [0.0, 0.7])
@pytest.mark.parametrize("layers", [[-1], [-1, 0]])
def test_value_is_the_formula(layers: list[int], logits_weight: float):
    original = timm_vit(reg_tokens=2).double()
    net = vitsearch.from_timm(timm_vit(reg_tokens=2), options={"embed_dim": [0.5, 1]})
    module = module_of(net, {"layers": layers, "logits_weight": logits_weight, "temperature": 2.0})
    architectures = SandwichSampler().sample(module.space, num_architectures=4, step=0)
    step = run_step(module, architectures)
    loss, _ = module.objective(step)

    module.eval()
    expected = []
    for index, architecture in enumerate(architectures):
        images = step.images[2 * index : 2 * index + 2]
        network = module.net.extract(architecture)
        with torch.no_grad():
            _, own = network.forward_intermediates(
                images, norm=True, return_prefix_tokens=True, output_fmt="NLC"
            )
            _, taught = original.forward_intermediates(  # type: ignore[operator]
                images, norm=True, return_prefix_tokens=True, output_fmt="NLC"
            )
            student, teacher = network(images), original(images)
        width = own[0][0].shape[-1]
        total: Any = 0.0
        for layer in layers:
            (patches, prefix), (their_patches, their_prefix) = own[layer], taught[layer]
            of_class = 1 - cosine(prefix[:, 0], their_prefix[:, 0, :width]).mean()
            of_patches = 1 - cosine(patches, their_patches[..., :width]).mean()
            total += (of_class + of_patches) / 2 / len(layers)
        p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
        expected.append(total + logits_weight * 4 * (p * (p / q).log()).sum(1).mean())
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=1e-5, atol=1e-6)


def test_the_original_has_nothing_to_learn():
    net = supernet()
    module = SearchableClassifier(net.space, 10, objective={"feature_distillation": {}})
    module.net.load_state_dict(net.state_dict())
    module.begin_with(net.extract(net.largest))
    module.prepare_objective(FashionMini())
    step = run_step(module.double().eval(), [net.largest])
    assert abs(module.objective(step)[0].item()) < 1e-6


@pytest.mark.parametrize("layers", [[-1], [0, -1]])
@pytest.mark.parametrize("whole", [False, True])
def test_gradient_is_the_sum_of_the_shares(layers: list[int], whole: bool):
    teacher = timm_vit(num_classes=0, patch_size=4).double()  # another grid, no head
    net = supernet()
    objective = {"feature_distillation": {"teacher": teacher, "layers": layers}}
    check_sum(objective, UniformSampler(seed=1), 4, space=net.space)
    if whole:
        check_sum(objective, SandwichSampler(seed=1), 2, space=net.space)


def test_every_architecture_of_a_run_learns(tmp_path: Path):
    net = supernet()
    module = module_of(net, {"layers": [-1, -2]}).float()
    trainer = quiet_trainer(tmp_path, limit_train_batches=4, limit_val_batches=0)
    trainer.callbacks.append(  # type: ignore[attr-defined]
        MultiArchitectureSampling(2, StratifiedSampler(largest_every=2), growth_epochs=3)
    )
    before = module.net.state_dict()["stages.0.blocks.0.mlp.fc1.weight"].clone()
    trainer.fit(module, datamodule=FashionMini(batch_size=8, search_per_class=5))
    assert torch.isfinite(trainer.callback_metrics["train/feature_distillation"])
    assert not torch.equal(before, module.net.state_dict()["stages.0.blocks.0.mlp.fc1.weight"])


def test_a_network_alone_learns_from_its_original():
    net = supernet()
    network = net.extract(net.space.smallest())  # narrower and with fewer blocks
    teacher = net.extract(net.largest)
    module = Classifier(network, objective={"feature_distillation": {"teacher": teacher}})
    module.prepare_objective(FashionMini())
    images, labels = make_batch(net.space)
    step = module.run_step(images.float(), labels)
    loss, _ = module.objective(step)
    loss.backward()
    own = network.forward_features(images.float())
    with torch.no_grad():
        taught = teacher.forward_features(images.float())[..., : own.shape[-1]]
    distance = 1 - F.cosine_similarity(own, taught, dim=-1)
    expected = (distance[:, 0].mean() + distance[:, 1:].mean()) / 2
    p, q = teacher(images.float()).log_softmax(1), network(images.float()).log_softmax(1)
    expected = expected + (p.exp() * (p - q)).sum(1).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert network.stem.weight.grad is not None


WRONG: dict[str, tuple[Any, list[str]]] = {
    "nobody": (None, ["teacher.name is missing", "original/"]),
    "no tokens": (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), ["forward_intermediates"]),
    "too few blocks": (timm_vit(depth=1), ["layers=[-2]", "1 blocks"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_teachers_that_do_not_fit(name: str):
    teacher, words = WRONG[name]
    settings = {"teacher": teacher, "layers": [-2]}
    module = SearchableClassifier(
        supernet().space, 10, objective={"feature_distillation": settings}
    )
    with pytest.raises(ConfigError) as info:
        module.prepare_objective(FashionMini())
    assert str(info.value).startswith("objective.feature_distillation: ")
    assert all(word in str(info.value) for word in words), info.value


def test_networks_that_cannot_learn_tokens():
    space: SearchSpace = supernet().space
    with pytest.raises(ConfigError, match="sharing=bilateral"):
        SearchableClassifier(space, 10, objective={"feature_distillation": {}}, sharing="bilateral")
