"""A training with `compile=True` is that of the same network, which it leaves as it was."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError
from vitsearch.lightning import Classifier
from vitsearch.spaces import SearchSpace
from vitsearch.supernet import VisionTransformer

PLAIN = {"optimizer": {"opt": "sgd", "lr": 0.1}, "scheduler": {}}  # Adam tells the sign of noise
PATCHES: dict[str, Any] = {
    "objective": {"cross_entropy": {}, "patch_token_mixup": {}},
    "cutmix": 1.0,
}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """What `torch.compile` has traced; it leaves out the minute that kernels take."""
    traced: list[torch.fx.GraphModule] = []
    real = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        traced.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", lambda call: real(call, backend=backend, fullgraph=True))
    return traced


def network(space: SearchSpace, **settings: Any) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(space, space.largest(), 10, **settings)


@pytest.mark.parametrize("settings", [{}, PATCHES], ids=["labels", "patches"])
def test_it_trains_the_same_network(
    settings: dict[str, Any],
    space: SearchSpace,
    data: FashionMini,
    tmp_path: Path,
    graphs: list[torch.fx.GraphModule],
) -> None:
    first = network(space, patch_head="objective" in settings)
    seen = {}
    for compile in (False, True):
        module = Classifier(copy.deepcopy(first), compile=compile, **PLAIN, **settings)
        pl.seed_everything(1)  # mixing draws with NumPy
        trainer = quiet_trainer(tmp_path, limit_val_batches=0)
        trainer.fit(module, datamodule=copy.copy(data))
        assert len(graphs) == compile  # the step's
        seen[compile] = (module.net.state_dict(), trainer.callback_metrics["train/loss"])
    torch.testing.assert_close(seen[True], seen[False], rtol=1e-3, atol=1e-4)


def test_afterwards_it_is_a_module_like_any_other(
    space: SearchSpace, data: FashionMini, tmp_path: Path, graphs: list[torch.fx.GraphModule]
) -> None:
    module = Classifier(network(space), compile=True)
    quiet_trainer(tmp_path).fit(module, datamodule=data)
    assert len(graphs) >= 2  # training and validation
    graphs.clear()
    assert set(module.net.state_dict()) == set(network(space).state_dict())
    images = torch.randn(2, 1, 28, 28)
    module.eval()
    expected = module(images)
    for copied in (copy.deepcopy(module.net), pickle.loads(pickle.dumps(module.net))):
        assert torch.equal(copied(images), expected)
    assert not graphs


def test_a_copy_runs_its_own_weights(
    space: SearchSpace, graphs: list[torch.fx.GraphModule]
) -> None:
    """Averaging callbacks copy a module that is compiled."""
    module = Classifier(network(space), compile=True).eval()
    module._logits = torch.compile(module._logits)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.net.head.bias += 1
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(other(images), module(images) + 1)
    assert graphs


def test_every_one_of_many_networks_is_compiled(
    space: SearchSpace,
    data: FashionMini,
    tmp_path: Path,
    graphs: list[torch.fx.GraphModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch keeps 256 versions of a function, here four, and runs further ones as they are."""
    monkeypatch.setattr(torch._dynamo.config, "accumulated_recompile_limit", 4)
    rng = random.Random(0)
    architectures = {space.sample(rng) for _ in range(6)}
    for architecture in architectures:
        module = Classifier(VisionTransformer(space, architecture, 10), compile=True)
        quiet_trainer(tmp_path, limit_train_batches=1, limit_val_batches=0).fit(module, data)
    assert len(graphs) == len(architectures) == 6


def test_it_is_a_flag(space: SearchSpace) -> None:
    with pytest.raises(ConfigError, match="compile=fast must be true or false"):
        Classifier(network(space), compile="fast")  # type: ignore[arg-type]
