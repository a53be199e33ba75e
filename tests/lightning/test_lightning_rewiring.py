from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import EMAWeightAveraging
from timm.optim import create_optimizer_v2

from vitsearch import Architecture, SuperTransformer, build_space
from vitsearch.elastic import rewire
from vitsearch.elastic.rewiring import importance, tied_axes
from vitsearch.errors import ConfigError
from vitsearch.lightning import Rewiring, SearchableClassifier
from vitsearch.lightning.training.rewiring import reorder_moments

SPACES = {
    "glit": build_space("glit", num_blocks=2, **{"mlp.ratios": [4]}),
    "glit grid": build_space("glit", num_blocks=2, **{"mlp.ratios": [4], "mixer.local": "grid"}),
    "vitas": build_space("vitas", num_blocks=2),
    "vit_resnas": build_space("vit_resnas"),
    "autoformer": build_space("autoformer", num_blocks=3, depths=[2, 3]),
}


def supernet(name: str) -> SuperTransformer:
    torch.manual_seed(0)
    network = SuperTransformer(SPACES[name], 5).double()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return network


def images(network: SuperTransformer, count: int = 4) -> torch.Tensor:
    size = network.space.image_size
    return torch.randn(count, 1, size, size, dtype=torch.float64)


def whole(network: SuperTransformer) -> list[Architecture]:
    """Architectures that use every unit of the layers that they use.

    GLiT has no largest one: blocks are fully global or fully local to use all of either half.
    """
    space = network.space
    if "stages.0.blocks.0.global_heads" not in space.largest():
        return [space.largest()]
    return [
        space.restrict({"*.global_heads": thirds, "*.qkv_expansion": 1}).largest()
        for thirds in (0, 3)
    ]


@pytest.mark.parametrize("name", SPACES)
def test_the_function_is_unchanged(name: str) -> None:
    network = supernet(name).eval()
    x = images(network)
    before = [network(x, architecture) for architecture in whole(network)]
    assert rewire(network)
    for architecture, logits in zip(whole(network), before, strict=True):
        assert (network(x, architecture) - logits).abs().max() < 1e-10


@pytest.mark.parametrize("name", SPACES)
def test_units_stand_by_importance(name: str) -> None:
    network = supernet(name)
    smaller = network.space.sample(random.Random(3))
    x, before = images(network), network.state_dict(keep_vars=True)
    kept = copy.deepcopy(network).eval()(x, smaller)
    rewire(network)
    for axis in tied_axes(network):
        sizes = importance(axis, before)
        assert (sizes.diff() <= 1e-12).all()
    assert (network.eval()(x, smaller) - kept).abs().max() > 1e-6  # it has other units now


def test_every_unit_of_a_layer_moves_together() -> None:
    layers = {axis.places[0][0].rsplit(".", 2)[0] for axis in tied_axes(supernet("glit"))}
    blocks = [f"stages.0.blocks.{i}" for i in range(2)]
    assert layers == {f"{b}.{m}" for b in blocks for m in ("mixer.attn", "mixer.local", "mlp")}
    # Of ViTAS's channels no two can trade places for all numbers of heads.
    layers = {axis.places[0][0].rsplit(".", 2)[0] for axis in tied_axes(supernet("vitas"))}
    assert layers == {f"{b}.mlp" for b in blocks}


@pytest.mark.parametrize("opt", ["adamw", "sgd", "lamb", "nadamw"])
@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas", "autoformer"])
def test_the_next_step_is_the_step_of_the_network_as_it_was(name: str, opt: str) -> None:
    plain, rewired = supernet(name), supernet(name)
    x, labels = images(plain, 6), torch.arange(6) % 5
    optimizers = [create_optimizer_v2(n, opt=opt, lr=1e-2) for n in (plain, rewired)]

    def step(network: SuperTransformer, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x, whole(network)[-1]), labels).backward()
        optimizer.step()

    for _ in range(2):
        for network, optimizer in zip((plain, rewired), optimizers, strict=True):
            step(network, optimizer)
    reorder_moments(optimizers[1], rewired, rewire(rewired))
    for network, optimizer in zip((plain, rewired), optimizers, strict=True):
        step(network, optimizer)
    used = whole(plain)[-1]
    assert (plain.eval()(x, used) - rewired.eval()(x, used)).abs().max() < 1e-9


def test_moments_of_rows_and_columns_are_refused() -> None:
    network = supernet("vitas")
    optimizer = create_optimizer_v2(network, opt="adafactorbv", lr=1e-2, min_dim_size_to_factor=2)
    F.cross_entropy(network(images(network)), torch.arange(4)).backward()
    optimizer.step()
    with pytest.raises(ConfigError, match="one moment for each weight"):
        reorder_moments(optimizer, network, rewire(network))


class Watch(pl.Callback):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SearchableClassifier)
        before = importance(next(tied_axes(pl_module.net)), pl_module.net.state_dict())
        if (before.diff() <= 1e-9).all():
            self.epochs.append(trainer.current_epoch)


def test_in_a_trainer_with_averages(tmp_path) -> None:
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(16, 1, 28, 28), torch.arange(16) % 5)
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    module = SearchableClassifier(SPACES["vit_resnas"], 5)
    watch, average = Watch(), EMAWeightAveraging(decay=0.0)  # equal to the weights
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        callbacks=[Rewiring(epochs=3), watch, average],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader)
    assert watch.epochs[:2] == [1, 2]
    averaged = average._average_model.module.net.state_dict()
    for name, tensor in module.net.state_dict().items():
        assert torch.equal(averaged[name], tensor)


@pytest.mark.parametrize("epochs", [0, 1.5, True])
def test_wrong_numbers(epochs: object) -> None:
    with pytest.raises(ConfigError, match=f"epochs={epochs}"):
        Rewiring(epochs=epochs)


def test_sharing_of_other_units() -> None:
    module = SearchableClassifier("vitas", 5, sharing="bilateral")
    with pytest.raises(ConfigError, match="bilateral"):
        Rewiring(1).setup(SimpleNamespace(), module, "fit")
