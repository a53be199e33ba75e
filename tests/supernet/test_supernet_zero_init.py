"""Blocks that begin as the identity: in every space, whole or extracted; they learn from there."""

from __future__ import annotations

import random

import pytest
import torch
from tests.every_space import OF_TOKENS, quick_space, space_named
from torch import Tensor, nn

from vitsearch import SuperTransformer, VisionTransformer
from vitsearch.elastic import ElasticBlock
from vitsearch.elastic.layers.tokens.flow import spread
from vitsearch.errors import ConfigError

CLASSES = 5
KEEPING_ALL = [
    name for name in OF_TOKENS if not any(stage.token_choices for stage in space_named(name).stages)
]
"""Those whose blocks can be the identity: all of their tokens go on."""


def changes(network: nn.Module, images: Tensor, *call: object) -> list[float]:
    """The largest change of a token by each block that runs."""
    found: list[float] = []

    def note(block: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((spread(output) - spread(given[0])).abs().max().item())

    hooks = [
        m.register_forward_hook(note) for m in network.modules() if isinstance(m, ElasticBlock)
    ]
    with torch.no_grad():
        network(images, *call)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", KEEPING_ALL)
def test_every_block_begins_as_the_identity(name: str) -> None:
    space = quick_space(name)
    network = SuperTransformer(space, CLASSES).eval()
    images = torch.randn(2, space.in_chans, space.image_size, space.image_size)
    chosen = [space.largest(), *(space.sample(random.Random(seed)) for seed in range(3))]
    assert min(changes(network, images, chosen[0])) > 0
    network.zero_init_residual()
    for architecture in chosen:
        assert set(changes(network, images, architecture)) <= {0.0}

    alone = VisionTransformer(space, chosen[0], CLASSES).eval()
    assert min(changes(alone, images)) > 0
    alone.zero_init_residual()
    assert set(changes(alone, images)) == {0.0}


@pytest.mark.parametrize(("choice", "behind"), [(True, "any"), ("auto", "conv"), (False, "none")])
def test_which_networks_begin_so(choice: bool | str, behind: str) -> None:
    for name in ("glit", "vit_resnas", "ViTAS with a conv stem"):
        space = quick_space(name)
        network = SuperTransformer(space, CLASSES).eval()
        network.zero_init_residual(choice)
        images = torch.randn(2, space.in_chans, space.image_size, space.image_size)
        identity = behind == "any" or (behind == "conv" and name != "glit")
        assert (max(changes(network, images)) == 0) == identity


def test_an_unknown_choice_is_refused() -> None:
    network = SuperTransformer(quick_space("glit"), CLASSES)
    with pytest.raises(ConfigError, match="zero_init_residual=perhaps is unknown; legal: true, "):
        network.zero_init_residual("perhaps")


def test_all_weights_learn_from_the_second_step_on() -> None:
    space = quick_space("vit_resnas")
    torch.manual_seed(0)
    network = SuperTransformer(space, CLASSES).train()
    network.zero_init_residual()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    images = torch.randn(8, space.in_chans, space.image_size, space.image_size)
    targets = torch.arange(8) % CLASSES
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still
