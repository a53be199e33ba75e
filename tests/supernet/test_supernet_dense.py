"""Dense heads on every space: supernet and extracted network agree, and cost what is counted."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tests.every_space import DRAWING, EVERY, drawn, perturbed, quick_space
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import SuperTransformer, build_space
from vitsearch.errors import SpaceError
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.parts import ClassifierPlan, DensePlan
from vitsearch.spaces.parts.heads.dense import with_dense_head
from vitsearch.supernet.heads import resized
from vitsearch.supernet.storage.inherit import inherit_weights
from vitsearch.supernet.vision_transformer import VisionTransformer

CLASSES = 3
QUICK = [name for name in EVERY if not name.endswith(("_base", "_small", "34", "50"))]


def dense(name: str) -> SearchSpace:
    return SearchSpace(with_dense_head(quick_space(name).config))


def images_for(space: SearchSpace, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, space.in_chans, space.image_size, space.image_size)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", QUICK)
def test_extracted_networks_say_the_same_and_cost_what_is_counted(name: str) -> None:
    space = dense(name)
    supernet = perturbed(SuperTransformer(space, CLASSES)).double().eval()
    images = images_for(space, 2)
    for architecture in drawn(space, 2):
        plan = space.plan(architecture)
        assert isinstance(plan.head, DensePlan)
        network = supernet.extract(architecture)
        with torch.no_grad():
            said = network(images)
            with FlopCounterMode(display=False) as counter:
                network(images[:1])
        assert said.shape == (2, CLASSES, *plan.head.grid)
        assert (said - supernet(images, architecture)).abs().max() < 1e-12
        assert counter.get_total_flops() / 2 == plan.cost(CLASSES).macs
        assert sum(p.numel() for p in network.parameters()) == plan.cost(CLASSES).params


@pytest.mark.parametrize("name", [n for n in QUICK if n not in DRAWING])
def test_a_mixed_batch_is_its_single_runs_on_the_images(name: str) -> None:
    space = dense(name)
    supernet = perturbed(SuperTransformer(space, CLASSES)).double().eval()
    architectures = drawn(space, 2)
    images = images_for(space, 2 * len(architectures))
    with torch.no_grad():
        mixed = supernet(images, architectures)
        alone = [supernet(images[2 * i : 2 * i + 2], a) for i, a in enumerate(architectures)]
    several_grids = len({own.shape[2:] for own in alone}) > 1
    if several_grids:
        assert mixed.shape[2:] == images.shape[2:]
    expected = torch.cat([resized(own, mixed.shape[2:]) for own in alone])
    assert (mixed - expected).abs().max() < 1e-12


def test_some_space_has_several_grids() -> None:
    space = dense("GLiT with two widths and patch sizes")
    assert len({space.plan(a).head.grid for a in drawn(space, 10)}) == 2


def test_the_head_is_the_classifier_of_every_patch() -> None:
    classifying = build_space("glit", num_blocks=1, head="avg")
    space = SearchSpace(with_dense_head(classifying.config))
    network = perturbed(VisionTransformer(space, space.largest(), CLASSES)).double().eval()
    images = images_for(space, 2)
    with torch.no_grad():
        tokens = network.forward_features(images)
        weight, bias = network.head.classifier.weight, network.head.classifier.bias
        expected = tokens[:, 1:] @ weight[:, :, 0, 0].T + bias
        assert torch.allclose(network(images).flatten(2).mT, expected, rtol=0, atol=1e-12)
        network.head.classifier.weight.zero_()
        assert torch.equal(network(images), bias.view(1, -1, 1, 1).expand(2, -1, 7, 7))


@pytest.mark.parametrize("name", ["glit", "resnet18", "vt"])
def test_without_classes_the_features_are_the_answer(name: str) -> None:
    space = dense(name)
    network = VisionTransformer(space, space.largest(), 0).double().eval()
    plan = network.plan
    assert not list(network.head.parameters())
    said = network(images_for(space, 1))
    assert said.shape == (1, plan.head.embed_dim, *plan.head.grid)
    assert plan.cost(0).params == sum(p.numel() for p in network.parameters())


def test_only_classifiers_give_way() -> None:
    for kind in ("fpn", "vt_fpn"):
        config = build_space("resnet18", head=kind).config
        assert with_dense_head(config) == config
        assert SearchSpace(config).head.dense
    once = with_dense_head(build_space("vitas").config)
    assert with_dense_head(once) == once
    assert not build_space("vitas").head.dense


@pytest.mark.parametrize("name", QUICK)
def test_the_body_is_that_of_the_classifier(name: str) -> None:
    classifying, space = quick_space(name), dense(name)
    if classifying.head.dense:
        assert space == classifying
        return
    own, other = (s.plan(s.largest()) for s in (classifying, space))
    assert isinstance(own.head, ClassifierPlan)
    if own.feature_names:  # what leads from the branches to the head is another
        shared = {node.name: node.plan for node in other.nodes}
        assert own.feature_names == other.feature_names
        body = [node for node in own.nodes if node.stage != len(own.stages) - 1]
        assert all(shared[n.name] == n.plan for n in body if n.name in shared)
        assert shared.keys() >= set(own.feature_names)
    elif not name.startswith("vt"):  # whose last module then ends with a map
        assert [node.plan for node in own.nodes if node.name != "norm"] == [
            node.plan for node in other.nodes if node.name != "norm"
        ]


def test_a_classifier_s_weights_begin_a_dense_network() -> None:
    classifying = build_space("glit", num_blocks=2, head={"pool": "avg", "norm_place": "after"})
    space = SearchSpace(with_dense_head(classifying.config))
    architecture = classifying.sample(random.Random(0))
    classifier = perturbed(VisionTransformer(classifying, architecture, 10)).double()
    network = VisionTransformer(space, architecture, CLASSES).double()
    fresh = network.head.classifier.weight.clone()
    notes = inherit_weights(network, classifier.state_dict(), "classifier")
    assert notes == ("the head is fresh: it answers for every pixel, 3 classes",)
    assert torch.equal(network.head.classifier.weight, fresh)
    images = images_for(space, 1)
    normed = torch.nn.functional.layer_norm(
        classifier.forward_features(images),
        (network.num_features,),
        classifier.fc_norm.weight,
        classifier.fc_norm.bias,
        1e-6,
    )
    assert (network.forward_features(images) - normed).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_place": "after"}, "space.head.norm_place=after is unknown; legal: before, none"),
        ({"norm_place": "none", "pool": "avg"}, "space.head.pool"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as error:
        SearchSpace({**quick_space("resnet18").config, "head": {"kind": "dense", **settings}})
    assert message in str(error.value)


def test_maps_have_no_norm() -> None:
    space = SearchSpace({**quick_space("resnet18").config, "head": {"kind": "dense"}})
    network = VisionTransformer(space, space.largest(), CLASSES)
    assert network.plan.nodes[-1].name != "norm"
    assert not [name for name in network.state_dict() if name.startswith("norm")]


def test_tokens_without_places_are_refused() -> None:
    with pytest.raises(SpaceError, match="needs patch tokens in their places or a map"):
        SearchSpace({**build_space("vt").config, "head": {"kind": "dense", "norm_place": "none"}})
