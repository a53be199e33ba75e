"""Authors' checkpoints as networks, from file to logits."""

from __future__ import annotations

import pytest
import torch
from authors import authors_state, checkpoint, golden_images
from safetensors.torch import save_file

import vitsearch
from vitsearch import load_published_checkpoint
from vitsearch.errors import SpaceError

pytestmark = pytest.mark.usefixtures("quick_building")

GOLDEN = [
    "glit_tiny",
    "vit_resnas_tiny",
]


def equal_states(first, second):
    second = second.state_dict()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())


@pytest.fixture(scope="module")
def imported():
    return load_published_checkpoint("glit_tiny", authors_state("glit_tiny"))


@torch.no_grad()
@pytest.mark.parametrize("name", GOLDEN)
def test_logits_are_those_of_the_authors_implementation(name):
    network = load_published_checkpoint(name, authors_state(name)).double()
    logits, expected = network(golden_images()), checkpoint(name)["expected"]
    first = torch.tensor(expected["first8_logits"], dtype=torch.float64)
    torch.testing.assert_close(logits[:, :8], first, rtol=0, atol=1e-6)
    assert float(logits.mean()) == pytest.approx(expected["mean"], abs=1e-6)
    assert float(logits.std()) == pytest.approx(expected["std"], abs=1e-6)
    assert logits.argmax(1).tolist() == expected["argmax"]


def test_it_is_the_published_network(imported):
    assert not imported.training
    assert (imported.space, imported.architecture) == vitsearch.published("glit_tiny")
    assert imported.num_classes == 1000
    assert next(imported.parameters()).dtype == torch.float32
    assert all(parameter.requires_grad for parameter in imported.parameters())


def test_files(imported, tmp_path):
    state = authors_state("glit_tiny")
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 299, "model": wrapped}, tmp_path / "best.pth")
    save_file(state, tmp_path / "best.safetensors")
    for file in ("best.pth", "best.safetensors"):
        network = load_published_checkpoint("glit_tiny", tmp_path / file)
        assert equal_states(imported, network)
    assert equal_states(imported, load_published_checkpoint("glit_tiny", str(tmp_path / file)))


def test_without_counters_and_in_other_precisions(imported):
    state = authors_state("glit_tiny")
    without = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    assert equal_states(imported, load_published_checkpoint("glit_tiny", without))
    double = {name: tensor.double() for name, tensor in without.items()}
    assert equal_states(imported, load_published_checkpoint("glit_tiny", double))
    half = load_published_checkpoint("glit_tiny", {n: t.half() for n, t in without.items()})
    assert half.head.weight.dtype == torch.float32
    assert torch.equal(half.head.weight, state["head.weight"].half().float())


def test_weights_are_copies(imported):
    state = authors_state("glit_tiny")
    network = load_published_checkpoint("glit_tiny", state)
    with torch.no_grad():
        network.norm.weight.zero_()
    assert state["norm.weight"].abs().sum() > 0


@torch.no_grad()
@pytest.mark.parametrize("num_classes", [1, 10])
def test_classes_are_those_of_the_file(num_classes):
    state = authors_state("glit_tiny")
    state["head.weight"] = state["head.weight"][:num_classes]
    state["head.bias"] = state["head.bias"][:num_classes]
    network = load_published_checkpoint("glit_tiny", state)
    assert network.num_classes == num_classes
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, num_classes)


@torch.no_grad()
@pytest.mark.parametrize("image_size", [160, 256])
def test_other_image_sizes(image_size, imported):
    state = authors_state("glit_tiny")
    network = load_published_checkpoint("glit_tiny", state, image_size=image_size)
    assert network.space.image_size == image_size
    assert network.architecture == imported.architecture
    assert not network.training
    assert network(torch.randn(1, 3, image_size, image_size)).shape == (1, 1000)
    old, new = imported.stem.embeds["16"], network.stem.embeds["16"]
    assert new.pos_embed.shape[1] == 1 + (image_size // 16) ** 2
    assert torch.equal(new.pos_embed[:, 0], old.pos_embed[:, 0])
    assert torch.equal(network.head.weight, imported.head.weight)


def test_the_published_image_size_changes_nothing(imported):
    state = authors_state("glit_tiny")
    network = load_published_checkpoint("glit_tiny", state, image_size=224)
    assert equal_states(imported, network)
    assert network.space == imported.space


@torch.no_grad()
def test_transitions_are_resampled_too():
    state = authors_state("vit_resnas_tiny")
    network = load_published_checkpoint("vit_resnas_tiny", state, image_size=280)
    assert network(torch.randn(1, 3, 280, 280)).shape == (1, 1000)
    assert network.state_dict()["stages.1.transition.pos_embed.10x10"].shape == (1, 100, 352)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm.weight": None}, ["missing: norm.weight"]),
        ({"blocks.1.0.attn.net.1.bias": None}, ["missing: blocks.1.0.attn.net.1.bias"]),
        ({"head.weight": None}, ["missing: head.weight"]),
        ({"norm.scale": (3,)}, ["extra: norm.scale"]),
        ({"blocks.12.0.norm1.weight": (192,)}, ["extra: blocks.12.0.norm1.weight"]),
        (
            {"blocks.1.0.attn.net.1.weight": (768, 192)},
            ["misshapen: blocks.1.0.attn.net.1.weight (768, 192) for (768, 192, 1)"],
        ),
        ({"head.weight": (10, 192)}, ["head.bias (1000,) for (10,)"]),
        ({"head.weight": (10, 100)}, ["head.weight (10, 100) for (10, 192)"]),
        ({"head.weight": (192,)}, ["head.weight (192,) for (1000, 192)"]),
        ({"head.weight": (0, 192)}, ["head.weight (0, 192) for (1000, 192)"]),
        ({"cls_token": None, "token": (1, 1, 192)}, ["missing: cls_token; extra: token"]),
        ({"pos_embed": (1, 577, 192)}, ["pos_embed (1, 577, 192) for (1, 197, 192)"]),
    ],
)
def test_what_does_not_fit_is_named_as_the_authors_do(changes, words, tmp_path, damaged):
    state = authors_state("glit_tiny")
    for name, shape in changes.items():
        if shape is None:
            del state[name]
        else:
            state[name] = torch.zeros(shape)
    with damaged("state dict of glit_tiny does not fit", *words):
        load_published_checkpoint("glit_tiny", state)
    torch.save(state, tmp_path / "x.pth")
    with damaged(f"checkpoint {tmp_path / 'x.pth'} of glit_tiny does not fit", *words):
        load_published_checkpoint("glit_tiny", tmp_path / "x.pth")


def test_another_networks_checkpoint(damaged):
    words = ["missing: patch_embed.proj.weight", "and 201 more; extra: net.backbone", "and 99 more"]
    with damaged("does not fit", *words):
        load_published_checkpoint("glit_tiny", authors_state("vitas_b"))


def test_unknown_names_and_sizes():
    with pytest.raises(SpaceError, match=r"glit_huge is unknown; legal: .*glit_tiny"):
        load_published_checkpoint("glit_huge", {})
    with pytest.raises(SpaceError, match="does not divide image_size 230"):
        load_published_checkpoint("glit_tiny", {}, image_size=230)
