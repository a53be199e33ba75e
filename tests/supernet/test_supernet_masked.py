"""The masked execution says what the sliced one says, by the same calls for any architectures."""

from __future__ import annotations

import copy
import random
from functools import cache

import pytest
import torch
from tests.commands.running import SMALL_SPACE, TINY, read_history, run_here
from tests.every_space import COMPOSED, drawn, perturbed
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from vitsearch import SuperTransformer, build_space
from vitsearch.elastic import Context
from vitsearch.errors import ConfigError
from vitsearch.samplers import SandwichSampler
from vitsearch.supernet import load_supernet, masked
from vitsearch.supernet.checkpoint import supernet_entry
from vitsearch.supernet.super_transformer import ALIGNMENTS

SPACES = {
    "glit": ("glit", {"num_blocks": 3}),
    "glit on the grid": ("glit", {"num_blocks": 2, "embed_dims": [24, 36], "mixer.local": "grid"}),
    "vit_resnas": ("vit_resnas", {"num_blocks": [1, 2, 1], "skippable": [[], [1], [0]]}),
    "vitas": ("vitas", {"num_blocks": 3}),
    "autoformer": ("autoformer", {"num_blocks": 4, "depths": [2, 3, 4]}),
    **{name: COMPOSED[name] for name in ("AutoFormer in three stages", "GLiT in two stages")},
    "private v": (
        "vitas",
        {"stem": "conv", "stem.mid_chans": 4, "num_blocks": 2, "mixer.private": "v"},
    ),
}
SHARINGS = ("prefix", "bilateral", "cyclic")
COUNT = 4
pytestmark = pytest.mark.usefixtures("quick_building")


@cache
def space_of(name):
    base, overrides = SPACES[name]
    return build_space(base, **overrides)


def make_supernet(name, sharing="prefix", **settings):
    torch.manual_seed(0)
    network = SuperTransformer(space_of(name), 5, sharing=sharing, **settings)
    return perturbed(network).double().train()


def architectures_of(space, seed=0):
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(COUNT)]


def passed(network, execution, x, architectures, **settings):
    """A step with a copy of a network in one execution: outputs, gradients, buffers."""
    own = copy.deepcopy(network)
    own.execution = execution
    outputs = own(x, architectures, **settings)
    outputs.square().sum().backward()
    return (
        outputs.detach(),
        {name: p.grad for name, p in own.named_parameters() if p.grad is not None},
        dict(own.named_buffers()),
    )


def assert_same(network, x, architectures, **settings):
    expected = passed(network, "sliced", x, architectures, **settings)
    found = passed(network, "masked", x, architectures, **settings)
    close(found[0], expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.keys() == other.keys()
        for name, tensor in other.items():
            close(one[name], tensor, name)


def close(found, expected, name=""):
    difference = (found - expected).abs().max()
    assert difference <= 1e-10 * max(1, expected.abs().max()), (name, difference)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("name", SPACES)
def test_a_step_is_the_sliced_one(name, sharing, images):
    network = make_supernet(name, sharing)
    x = images(network, 2 * COUNT)
    assert_same(network, x, architectures_of(network.space, 1))
    assert_same(
        network, x, SandwichSampler().sample(network.space, num_architectures=COUNT, step=0)
    )


@pytest.mark.parametrize("name", SPACES)
def test_one_architecture(name, images):
    network = make_supernet(name)
    for architecture in drawn(network.space, 1):
        assert_same(network, images(network, 2), architecture)


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["prefix", "bilateral"])
@pytest.mark.parametrize("name", ["glit", "glit on the grid", "vit_resnas"])
def test_statistics_of_each_architecture(name, sharing, images):
    network = make_supernet(name, sharing).eval()
    chosen = architectures_of(network.space, 2)
    given = [network.estimate_statistics(one, [images(network, 4, seed=1)]) for one in chosen[1:]]
    x = images(network, 2 * COUNT)
    for statistics in ([None, *given], None):
        expected = network(x, chosen, statistics=statistics)
        network.execution = "masked"
        close(network(x, chosen, statistics=statistics), expected)
        network.execution = "sliced"


@pytest.mark.parametrize("name", ["glit", "vit_resnas", "vitas"])
def test_recomputed_blocks(name, images):
    network = make_supernet(name)
    network.set_grad_checkpointing()
    assert_same(network, images(network, 2 * COUNT), architectures_of(network.space, 3))


@pytest.mark.parametrize("sharing", ["prefix", "bilateral"])
@pytest.mark.parametrize("name", ["AutoFormer in three stages", "GLiT in two stages"])
def test_every_head(name, sharing, images):
    network = make_supernet(name, sharing)
    x, chosen = images(network, 2 * COUNT), architectures_of(network.space, 4)
    expected = network.forward_heads(x, chosen)
    network.execution = "masked"
    for one, other in zip(network.forward_heads(x, chosen), expected, strict=True):
        assert one.grid == other.grid
        for own, others in zip(one[:3], other[:3], strict=True):
            assert (own is None) == (others is None)
            if own is not None:
                close(own, others)


@torch.no_grad()
def test_features_without_a_classifier(images):
    space = space_of("vitas")
    network = SuperTransformer(space, 0, execution="masked").double()
    same = [one for one in architectures_of(space, 5) for _ in "ab"]
    widths = {space.plan(one).head.embed_dim for one in same}
    assert len(widths) > 1
    for heads, one in zip(network.forward_heads(images(network, 8), same), same, strict=True):
        assert heads.logits.shape == (1, space.plan(one).head.embed_dim)


def test_bfloat16(images):
    network = make_supernet("glit").float()
    x, chosen = images(network, 2 * COUNT), architectures_of(network.space, 6)
    with torch.autocast("cpu", torch.bfloat16):
        expected, gradients, _ = passed(network, "sliced", x, chosen)
        found, others, _ = passed(network, "masked", x, chosen)
    assert found.dtype == expected.dtype
    assert (found - expected).norm() < 0.05 * expected.norm()
    assert gradients.keys() == others.keys()
    assert all(gradient.isfinite().all() for gradient in others.values())


def test_drop_path_drops_images_not_shares(images):
    network = make_supernet("autoformer", drop_path_rate=0.5, execution="masked").train()
    x = images(network, 1).repeat(16, 1, 1, 1)
    logits = network(x, [network.largest, network.largest])
    assert len({tuple(row) for row in logits[:8].tolist()}) > 1


class Log(TorchDispatchMode):
    """What is called, on which shapes."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        shapes = [
            tuple(one.shape)
            for one in torch.utils._pytree.tree_leaves((args, kwargs))
            if isinstance(one, torch.Tensor)
        ]
        self.calls.append((str(func), shapes))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def logged(monkeypatch):
    """What a call calls, but for what stands where, which is made before and kept for a pass."""
    once = masked.Shares.once

    def unlogged(*args):
        with _disable_current_modes():
            return once(*args)

    monkeypatch.setattr(masked.Shares, "once", unlogged)

    def calls(of):
        with Log() as log:
            of()
        return log.calls

    return calls


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("name", ["autoformer", "vit_resnas", "vitas"])
def test_a_block_is_the_same_calls_for_any_sizes(name, sharing, logged):
    network = make_supernet(name, sharing)
    space, (block, *_) = network.space, network.stages[0].blocks
    part = space.restrict({"stem.patch_size": space.largest()["stem.patch_size"]})
    found = set()
    for seed in (0, 1):
        plans = [part.plan(one) for one in architectures_of(part, seed)]
        sizes = [plan.stages[0].blocks[0] for plan in plans]
        widths = [own.embed_dim for own in sizes]
        ways = ALIGNMENTS[sharing] * COUNT
        shares = masked.Shares(tuple(Context(alignment=way) for way in ways[:COUNT]))
        tokens = plans[0].stages[0].grid[0] ** 2 + plans[0].head.num_prefix_tokens
        x = torch.randn(2 * COUNT, tokens, block.norm1.weight.numel(), dtype=torch.float64)
        x.requires_grad_()

        def step():
            y = masked.run_layer(block, x, sizes, shares, widths)  # noqa: B023
            if name != "vitas":  # gradients of a map that several shares use are added up
                y.square().sum().backward()

        network.zero_grad()
        found.add(repr(logged(step)))
    assert len(found) == 1


def test_a_whole_step_is_the_same_calls_for_any_architectures(images, logged):
    space = build_space("autoformer", num_blocks=3, depths=[2, 3], embed_dims=[48])
    network = SuperTransformer(space, 5, execution="masked")
    x = images(network, 2 * COUNT)
    draws = [
        SandwichSampler(seed=seed).sample(space, num_architectures=COUNT, step=0) for seed in (0, 1)
    ]
    assert draws[0] != draws[1]
    first, second = (logged(lambda own=own: network(x, own)) for own in draws)
    assert first == second


def test_what_no_share_uses_gets_no_gradient(images):
    network = make_supernet("autoformer")
    part = network.space.restrict({"stages.0.depth": 2})
    _, gradients, _ = passed(network, "masked", images(network, 4), architectures_of(part))
    assert {name.split(".")[3] for name in gradients if "blocks" in name} == {"0", "1"}


@pytest.mark.parametrize("execution", ["fused", "", "Masked", None])
def test_unknown_execution(execution):
    with pytest.raises(ConfigError, match="legal: auto, sliced, masked") as info:
        SuperTransformer(space_of("glit"), 5, execution=execution)
    assert f"execution={execution} is unknown" in str(info.value)


def test_auto_is_sliced():
    network = SuperTransformer(space_of("glit"), 5)
    assert network.execution == "auto"
    assert "execution" not in supernet_entry(network)  # how, not what


def test_a_run(tmp_path):
    run = (
        run_here("train", *SMALL_SPACE, *TINY, "model.execution=masked", folder=tmp_path)
        .succeeded()
        .run
    )
    assert len(read_history(run)) == 8
    assert load_supernet(run).execution == "auto"
