"""Rules of sharing: the first channels, the first and the last, or each width's own in turn."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from tests.every_space import DRAWING, SMALL, drawn, perturbed, quick_space

from vitsearch import SuperTransformer, load_supernet
from vitsearch.elastic import Context
from vitsearch.errors import ConfigError
from vitsearch.supernet.storage.checkpoint import supernet_entry

SHARINGS = ("prefix", "bilateral", "cyclic")
pytestmark = pytest.mark.usefixtures("quick_building")


def make_supernet(name: str, sharing: str, num_classes: int = 5) -> SuperTransformer:
    torch.manual_seed(0)
    network = SuperTransformer(quick_space(name), num_classes, sharing=sharing)
    return perturbed(network).double().eval()


def run(network, x, architecture, alignment, **context):
    plan = network.space.plan(architecture)
    return network.run(x, plan, Context(alignment=alignment, **context)).answer


def assert_equal(found, expected):
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["bilateral", "cyclic"])
@pytest.mark.parametrize("name", SMALL)
def test_extracted_equals_supernet(name, sharing, images):
    network = make_supernet(name, sharing)
    x = images(network)
    differ = 0
    for architecture in drawn(network.space, 6, seed=1):
        logits = network(x, architecture)
        ways = {
            way: network.extract(architecture, alignment=way)(x)
            for way in ("prefix", "suffix", "cyclic")
        }
        for way, found in ways.items():
            assert_equal(found, run(network, x, architecture, way))
        if sharing == "cyclic":
            assert_equal(network.extract(architecture)(x), logits)
            assert_equal(ways["cyclic"], logits)
        else:
            assert_equal(network.extract(architecture)(x), ways["prefix"])
            assert_equal((ways["prefix"] + ways["suffix"]) / 2, logits)
        differ += not torch.allclose(ways["prefix"], ways["suffix"])
    assert differ > 3


@pytest.mark.parametrize("name", [name for name in SMALL if name not in DRAWING])
def test_bilateral_training_adds_both_runs(name, images):
    network = make_supernet(name, "bilateral").train()
    x = images(network, 4)
    for architecture in drawn(network.space, 1, seed=2):
        together, apart = copy.deepcopy(network), copy.deepcopy(network)
        logits = together(x, architecture)
        ways = [run(apart, x, architecture, way) for way in ("prefix", "suffix")]
        assert_equal(logits, ways[0] + ways[1])
        logits.square().sum().backward()
        (ways[0] + ways[1]).square().sum().backward()
        for one, other in zip(together.parameters(), apart.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None:
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-9)
        # Running statistics move as in the two runs.
        for key, tensor in together.state_dict().items():
            torch.testing.assert_close(tensor, apart.state_dict()[key], rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vitas", "vit_resnas"])
def test_the_largest_is_the_same_both_ways(name, images):
    network = make_supernet(name, "bilateral")
    x = images(network)
    # One patch size, all channels: first and last are the same.
    assert_equal(network(x), run(network, x, network.largest, "prefix"))
    network.train()
    assert_equal(network(x), 2 * run(network, x, network.largest, "prefix"))


@torch.no_grad()
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("name", ["vit_resnas", "ViT-ResNAS with GLiT's mixer", "autoformer"])
def test_statistics_of_each_way(name, sharing, images):
    network = make_supernet(name, sharing)
    space, x = network.space, images(network)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for architecture in drawn(space, 1, seed=3):
        batches = [images(network, count, seed=count) for count in (4, 2)]
        statistics = network.estimate_statistics(architecture, iter(batches))
        logits = network(x, architecture, statistics=[statistics])
        ways = ["prefix", "suffix"] if sharing == "bilateral" else [sharing]
        found = [
            network.extract(architecture, statistics=statistics, alignment=way)(x) for way in ways
        ]
        assert_equal(sum(found) / len(found), logits)
        suffixes = [key for key in statistics if key.endswith("@suffix")]
        assert len(suffixes) * 2 == (len(statistics) if sharing == "bilateral" else 0)
        for way, output in zip(ways, found, strict=True):
            assert_equal(run(network, x, architecture, way, statistics=statistics), output)
        # Each way's statistics are those of its own network.
        for way in ways:
            alone = network.extract(architecture, alignment=way)
            own = SuperTransformer.estimate_statistics(as_supernet(alone), architecture, batches)
            for key, path in network.norm_paths(space.plan(architecture)).items():
                if path in own:
                    mean, var = statistics[Context(alignment=way).norm_key(key)]
                    torch.testing.assert_close(mean, own[path][0], rtol=1e-9, atol=1e-9)
                    torch.testing.assert_close(var, own[path][1], rtol=1e-9, atol=1e-9)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert bool(statistics) == network.has_batch_norm


def as_supernet(network):
    """The supernet of a space with this one architecture, and its weights."""
    part = network.space.restrict(network.architecture)
    supernet = SuperTransformer(part, network.num_classes).double().eval()
    state = supernet.state_dict()
    plan = part.plan(network.architecture)
    for (_, _, own, _), (_, _, _, name) in zip(
        supernet._parts(plan), network._parts(network.plan), strict=True
    ):
        for key, tensor in network.get_submodule(name).state_dict().items():
            state[f"{own}.{key}"] = tensor
    supernet.load_state_dict(state)
    return supernet


@torch.no_grad()
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("name", ["vitas", "vit_resnas", "GLiT in two stages"])
def test_mixed_batches(name, sharing, images):
    network, rng = make_supernet(name, sharing), random.Random(4)
    chosen = [network.space.sample(rng) for _ in range(4)]
    x = images(network, 8)
    for training in (False, True):
        together = copy.deepcopy(network).train(training)
        apart = copy.deepcopy(network).train(training)
        single = [apart(share, a) for share, a in zip(x.chunk(4), chosen, strict=True)]
        assert_equal(together(x, chosen), torch.cat(single))
        for key, tensor in together.state_dict().items():
            assert torch.equal(tensor, apart.state_dict()[key])


@pytest.mark.parametrize("sharing", ["suffix", "", "Prefix", None])
def test_unknown_sharing(sharing):
    with pytest.raises(ConfigError, match="legal: prefix, bilateral, cyclic") as info:
        SuperTransformer(quick_space("glit"), 5, sharing=sharing)
    assert f"sharing={sharing} is unknown" in str(info.value)
    assert "\n" not in str(info.value)


@torch.no_grad()
@pytest.mark.parametrize("sharing", SHARINGS)
def test_checkpoints_keep_the_sharing(sharing, tmp_path, images):
    network = make_supernet("vitas", sharing).float()
    state = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    content = {"vitsearch": supernet_entry(network), "state_dict": state}
    torch.save(content, tmp_path / "supernet.ckpt")
    loaded = load_supernet(tmp_path)
    assert loaded.sharing == network.sharing == sharing
    x, architecture = images(network), network.space.sample(random.Random(0))
    assert torch.equal(loaded(x, architecture), network(x, architecture))
    extracted, expected = loaded.extract(architecture), network.extract(architecture)
    assert torch.equal(extracted(x), expected(x))


@torch.no_grad()
def test_checkpoints_without_a_sharing_are_of_prefixes(tmp_path, damaged):
    network = make_supernet("vitas", "prefix").float()
    state = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    entry = supernet_entry(network)
    del entry["sharing"]
    torch.save({"vitsearch": entry, "state_dict": state}, tmp_path / "supernet.ckpt")
    assert load_supernet(tmp_path).sharing == "prefix"
    for wrong in ("both", 3, [1]):
        content = {"vitsearch": {**entry, "sharing": wrong}, "state_dict": state}
        torch.save(content, tmp_path / "supernet.ckpt")
        with damaged(tmp_path, "damaged"):
            load_supernet(tmp_path)
