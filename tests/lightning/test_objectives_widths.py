"""Teachers of another width: learnt through projections that are trained, and thrown away."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import EMAWeightAveraging

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.objective_steps import make_batch, run_step
from tests.lightning.test_objectives_features import cosine, supernet, timm_vit
from tests.lightning.test_objectives_gradients import check_sum
from vitsearch.data import FashionMini
from vitsearch.lightning import Classifier, MultiArchitectureSampling, SearchableClassifier
from vitsearch.samplers import UniformSampler

WIDE, NARROW = 48, 12
PREFIX = "learned.feature_distillation."


def teacher_of(width: int) -> dict[str, Any]:
    """It sees images as they are."""
    return {"network": timm_vit(embed_dim=width, num_classes=0), "normalize": False}


def module_of(width: int = WIDE, **settings: Any) -> SearchableClassifier:
    """A supernet of 12 and 24 channels that learns from a teacher of another width."""
    torch.manual_seed(0)
    terms = {"feature_distillation": {"teacher": teacher_of(width), **settings}}
    module = SearchableClassifier(supernet().space, 10, objective=terms)
    module.prepare_objective(FashionMini())
    return module


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("size", ["largest", "smallest"])
def test_the_distance_is_that_of_projected_tokens(width: int, size: str):
    module = module_of(width, layers=[-1, 0]).double().eval()
    architecture = getattr(module.space, size)()
    with torch.no_grad():
        step = run_step(module, [architecture])
        found, _ = module.objective(step)
        network = module.net.extract(architecture)
        teacher = module.objective.terms[0].objective.teacher.network  # type: ignore[attr-defined]
        settings = {"norm": True, "return_prefix_tokens": True, "output_fmt": "NLC"}
        (_, own), (_, taught) = (
            n.forward_intermediates(step.images, **settings) for n in (network, teacher)
        )
        expected = 0.0
        for layer, projection in zip((-1, 0), module.learned["feature_distillation"], strict=True):
            assert projection.weight.shape == (width, 24)
            for mine, theirs in zip(own[layer], taught[layer], strict=True):
                columns = projection.weight[:, : mine.shape[-1]]
                distance = 1 - cosine(mine @ columns.T + projection.bias, theirs)
                expected += float(distance.mean()) / 4
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_gradient_is_the_sum_of_the_shares():
    objective = {"feature_distillation": {"teacher": teacher_of(WIDE), "layers": [-1]}}
    check_sum(objective, UniformSampler(seed=1), 4, space=supernet().space)


def test_a_projection_begins_as_one_that_keeps_angles_and_is_the_same_each_time():
    first, second = (module_of(logits_weight=0.0).learned.state_dict() for _ in range(2))
    assert first.keys() == second.keys() == {f"feature_distillation.0.{n}" for n in WEIGHTS}
    assert all(torch.equal(first[name], second[name]) for name in first)
    weight = first["feature_distillation.0.weight"]
    torch.testing.assert_close(weight.T @ weight, torch.eye(24))


WEIGHTS = ("weight", "bias")


def trained(
    folder: Path, epochs: int, *callbacks: pl.Callback, resume: Path | None = None
) -> tuple[SearchableClassifier, pl.Trainer]:
    torch.manual_seed(0)
    terms = {"feature_distillation": {"teacher": teacher_of(WIDE)}}
    optimizer = {"opt": "adamw", "lr": 1e-2, "layer_decay": 0.5}
    module = SearchableClassifier(
        supernet().space, 10, objective=terms, optimizer=optimizer, scheduler={}
    )
    trainer = quiet_trainer(folder, max_epochs=epochs, limit_val_batches=0)
    trainer.callbacks += [MultiArchitectureSampling(2), *callbacks]  # type: ignore[attr-defined]
    data = FashionMini(batch_size=8, search_per_class=5)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module, trainer


def test_it_is_trained_and_saved_and_is_no_part_of_the_network(tmp_path: Path):
    before = {n: t for n, t in module_of().state_dict().items() if n.startswith(PREFIX)}
    module, trainer = trained(tmp_path, 2)
    state = module.state_dict()
    for name, tensor in before.items():
        assert not torch.equal(state[name], tensor), name
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], state[name]) for name in before)
    net = vitsearch.load_supernet(tmp_path / "last.ckpt")
    assert net.state_dict().keys() == supernet().state_dict().keys()
    taken = net.extract(net.largest)
    assert sum(p.numel() for p in taken.parameters()) == net.cost(net.largest).params
    assert not [name for name in taken.state_dict() if "learned" in name]
    # Without its teacher the module is what it was.
    again = SearchableClassifier.load_from_checkpoint(
        tmp_path / "last.ckpt", objective=None, map_location="cpu", weights_only=True
    )
    assert all(torch.equal(again.state_dict()[n], t) for n, t in state.items() if n not in before)


def test_a_run_that_goes_on_has_the_same_projection(tmp_path: Path):
    straight, _ = trained(tmp_path / "straight", 2)
    _, half = trained(tmp_path / "half", 1)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = trained(tmp_path / "resumed", 2, resume=tmp_path / "half.ckpt")
    for name, tensor in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, msg=name)


def test_averages_have_it_too(tmp_path: Path):
    """Also where the trainer, not the user, lets the objective load its teacher."""
    module, _ = trained(tmp_path, 2, EMAWeightAveraging(decay=0.5))
    expected, _ = trained(tmp_path, 2)
    for name, tensor in expected.state_dict().items():
        assert module.state_dict()[name].shape == tensor.shape
        assert module.state_dict()[name].isfinite().all()
    name = f"{PREFIX}0.weight"
    assert not torch.equal(module.state_dict()[name], expected.state_dict()[name])  # an average


def test_a_copy_trains_its_own():
    module = module_of()
    other = copy.deepcopy(module)
    step = run_step(other.double(), [other.net.largest])
    other.objective(step)[0].backward()
    assert all(p.grad is None for p in module.learned.parameters())
    assert all(p.grad is not None for p in other.learned.parameters())


def test_a_network_alone_learns_from_a_wider_one(tmp_path: Path):
    net = supernet()
    network, teacher = net.extract(net.largest), teacher_of(WIDE)
    module = Classifier(network, objective={"feature_distillation": {"teacher": teacher}})
    module.prepare_objective(FashionMini())
    images, labels = make_batch(net.space)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    values = []
    for _ in range(5):
        loss, _ = module.objective(module.run_step(images.float(), labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values == sorted(values, reverse=True)
    projection = module.learned["feature_distillation"][0]
    with torch.no_grad():
        own = projection(network.forward_features(images.float()))
        taught = teacher["network"].forward_features(images.float())
    distance = 1 - F.cosine_similarity(own, taught, dim=-1)
    assert float((distance[:, 0].mean() + distance[:, 1:].mean()) / 2) < values[-1]
