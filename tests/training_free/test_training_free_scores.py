"""All scores on every family: defined or refused in a line, and the same every time."""

from __future__ import annotations

import math
import random

import pytest
import timm
import torch
from tests.every_space import drawn, quick_space

from vitsearch import SearchSpace, VisionTransformer, cost
from vitsearch.errors import ConfigError
from vitsearch.supernet import from_timm
from vitsearch.training_free import SCORES, training_free_scores, undefined_scores

NAMES = list(SCORES)
AZ = {"az_nas", "az_expressivity", "az_trainability"}
LACKING = {
    "glit": set(),
    "vitas": set(),
    "vit_resnas": set(),
    "autoformer": set(),
    "vt": AZ,
    "hr_nas": AZ,
    "resnet18": AZ | {"dss"},
    "vt_resnet18": AZ,
    "attention with predicted tokens": set(),
    "ViTAS with merged tokens": set(),
}


@pytest.mark.parametrize("name", LACKING)
def test_scores_of_every_family(name: str) -> None:
    space = quick_space(name)
    architectures = [space.sample(random.Random(1)), space.sample(random.Random(2))]
    undefined = undefined_scores(space, architectures, NAMES)
    assert undefined.keys() == LACKING[name]
    names = [own for own in NAMES if own not in undefined]
    found = training_free_scores(space, architectures, names, num_classes=3, seed=0, batch_size=2)
    assert list(found) == names
    assert all(math.isfinite(value) for values in found.values() for value in values)
    for number, architecture in enumerate(architectures):
        closed = cost(space, architecture, 3)
        assert (found["macs"][number], found["params"][number]) == (closed.macs, closed.params)
    for reason in undefined.values():
        assert reason.startswith("training_free=")
        assert reason.endswith(f"which networks of {space.name} do not have")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return quick_space("GLiT with two widths and patch sizes")


def test_the_same_every_time_and_alone(space: SearchSpace) -> None:
    architectures = drawn(space, 1)
    given = {"num_classes": 10, "seed": 4, "batch_size": 2}
    state = torch.random.get_rng_state()
    first = training_free_scores(space, architectures, NAMES, **given)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert training_free_scores(space, architectures, NAMES, **given) == first
    alone = [own for own in NAMES if own != "az_nas"]
    turned = training_free_scores(space, architectures[:0:-1], alone, **given)
    assert turned == {own: first[own][:0:-1] for own in alone}
    few = ["macs", "synflow", "naswot", "dss"]
    other = training_free_scores(space, architectures, few, **(given | {"seed": 5}))
    assert other["macs"] == first["macs"]
    assert all(other[own] != first[own] for own in ("synflow", "naswot", "dss"))


def test_weights_are_fresh_and_images_count(space: SearchSpace) -> None:
    architectures = [space.smallest()]
    images = torch.randn(6, *space.input_shape)
    names = ["synflow", "naswot", "az_expressivity"]
    noise = training_free_scores(space, architectures, names, num_classes=10, seed=0)
    own = training_free_scores(space, architectures, names, num_classes=10, seed=0, images=images)
    few = training_free_scores(
        space, architectures, names, num_classes=10, seed=0, images=images[:4]
    )
    same = training_free_scores(
        space, architectures, names, num_classes=10, seed=0, images=images, batch_size=4
    )
    assert noise["synflow"] == own["synflow"]
    assert few == same
    assert all(noise[n] != own[n] != few[n] for n in names[1:])


def test_a_pretrained_network_s_space() -> None:
    sizes = {"img_size": 32, "num_classes": 5, "depth": 2}
    net = from_timm(timm.create_model("vit_tiny_patch16_224", **sizes))
    architectures = [net.space.sample(random.Random(0))]
    names = ["synflow", "naswot", "dss", "az_expressivity"]
    found = training_free_scores(
        net.space, architectures, names, num_classes=5, seed=0, batch_size=2
    )
    assert all(math.isfinite(value) for values in found.values() for value in values)


def test_an_architecture_without_a_block_has_nothing_to_count() -> None:
    space = quick_space("vitas_small")
    smallest = space.smallest()
    assert not any(
        ".blocks." in node.name for node in VisionTransformer(space, smallest).plan.nodes
    )
    names = ["naswot", "az_expressivity", "az_trainability"]
    found = training_free_scores(
        space, [smallest, space.largest()], names, num_classes=3, seed=0, batch_size=2
    )
    assert [found[name][0] for name in names] == [-math.inf, 0, 0]
    assert undefined_scores(space, [smallest], names).keys() == set(names[1:])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"names": ["zen"]}, ("training_free=zen", "legal: macs, params, synflow")),
        ({"batch_size": 1}, ("batch_size=1", "2 or more")),
        ({"images": torch.zeros(1, 1, 28, 28)}, ("two or more", "(1, 28, 28)")),
        ({"images": torch.zeros(4, 3, 28, 28)}, ("(4, 3, 28, 28)",)),
    ],
)
def test_what_is_refused(given: dict[str, object], words: tuple[str, ...]) -> None:
    space = quick_space("GLiT with two widths and patch sizes")
    settings: dict[str, object] = {"names": ["naswot"], "num_classes": 10, "seed": 0, **given}
    names = settings.pop("names")
    with pytest.raises(ConfigError) as error:
        training_free_scores(space, [space.smallest()], names, **settings)  # type: ignore[arg-type]
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_a_score_that_is_not_defined_is_refused() -> None:
    space = quick_space("small ResNet")
    with pytest.raises(ConfigError, match="dss needs attention layers, which networks of resnet18"):
        training_free_scores(space, [space.largest()], ["dss"], num_classes=3, seed=0)
