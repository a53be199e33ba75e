"""What does not fit a network is refused in one line, before anything inside has to fail."""

from __future__ import annotations

import pytest
import torch

import vitsearch
from vitsearch import SuperTransformer, VisionTransformer
from vitsearch.errors import ConfigError, SpaceError

NAMES = ["small", "avg", "stages", "attention"]


def refused(kind: type[Exception], call, *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "shape", [(2, 1, 32, 32), (2, 3, 28, 28), (2, 1, 28, 24), (1, 28, 28), (28, 28), (2, 1, 14, 14)]
)
def test_images_of_another_shape(name, shape, supernet):
    network = supernet(name, dtype=torch.float32)
    alone = network.extract(network.space.smallest())
    x = torch.zeros(shape)
    for call in (
        lambda: network(x),
        lambda: network(x, [network.space.smallest()]),
        lambda: alone(x),
        lambda: alone.forward_features(x),
        lambda: alone.forward_intermediates(x),
    ):
        refused(ConfigError, call, str(shape), "must be (B, 1, 28, 28)", "28 x 28 pixels")
    if network.has_batch_norm:
        refused(
            ConfigError,
            lambda: network.estimate_statistics(network.space.smallest(), [x]),
            "must be (B, 1, 28, 28)",
        )


def test_an_empty_batch_is_a_batch(supernet):
    network = supernet("small", dtype=torch.float32)
    assert network(torch.zeros(0, 1, 28, 28)).shape == (0, 5)


def test_an_architecture_that_is_none(supernet, images):
    network = supernet("small", dtype=torch.float32)
    space, x = network.space, images(network)
    plain = space.smallest().to_dict()
    for given in (plain, [plain], "smallest", 3):
        kind = type(plain if isinstance(given, list) else given).__name__
        for call in (
            lambda given=given: network(x, given),
            lambda given=given: network.extract(given if given != [plain] else plain),
            lambda given=given: space.plan(given if given != [plain] else plain),
            lambda given=given: VisionTransformer(space, given if given != [plain] else plain, 5),
        ):
            refused(SpaceError, call, "must be an Architecture", "space.canonical", kind[:3])
    assert torch.equal(network(x, space.canonical(plain)), network(x, space.smallest()))


@pytest.mark.parametrize("count", [2.5, float("nan"), "many", None, True, -1, 2**31, 10**30])
def test_a_number_of_classes_that_is_none(count):
    space = vitsearch.build_space("glit", num_blocks=1)
    for call in (
        lambda: SuperTransformer(space, count),
        lambda: VisionTransformer(space, space.smallest(), count),
        lambda: VisionTransformer(space, space.smallest(), 2).reset_classifier(count),
    ):
        refused(ConfigError, call, f"num_classes={count} must be")
