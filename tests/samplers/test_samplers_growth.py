"""A space that grows in steps, and a sampler that trains its ends and what lies between."""

from __future__ import annotations

import random

import pytest

from vitsearch import build_space
from vitsearch.costs import CostModel
from vitsearch.errors import ConfigError
from vitsearch.samplers import StratifiedSampler, UniformSampler, growth_space
from vitsearch.spaces import SearchSpace

ELASTIC = SearchSpace(
    {
        "name": "elastic",
        "image_size": 28,
        "in_chans": 1,
        "patch_sizes": [7],
        "num_blocks": 2,
        "embed_dims": [12, 24],
        "stem": {"kind": "vit"},
        "block": {"kind": "vit", "removable": ["attention", "mlp"]},
        "mixer": {
            "kind": "vit_attention",
            "num_heads": [1, 2, 3],
            "qk_dims": [4, 8],
            "v_dims": [4, 8],
            "scale_dim": 8,
        },
        "mlp": {"kind": "vit_mlp", "hidden": [24, 48, 96]},
        "head": {"kind": "classifier", "pool": "token"},
    }
)
KINDS = {
    "mlp_hidden": 0,
    "num_heads": 1,
    "qk_dim": 1,
    "v_dim": 1,
    "keep_attention": 2,
    "keep_mlp": 2,
    "embed_dim": 3,
}


def test_choices_open_in_their_order():
    for epoch in range(11):
        part = growth_space(ELASTIC, epoch, 9)
        for choice, whole in zip(part.choices, ELASTIC.choices, strict=True):
            step = KINDS.get(choice.name.rpartition(".")[2])
            if step is None or epoch >= 3 * step:  # steps begin with epochs 0, 3, 6 and 9
                assert choice.options == whole.options
            else:
                assert choice.options == whole.options[-1:]


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 7])
def test_parts_grow_up_to_the_whole_and_are_legal_in_it(epochs: int):
    sizes = []
    for epoch in range(epochs + 1):
        part = growth_space(ELASTIC, epoch, epochs)
        sizes.append(part.size())
        for architecture in UniformSampler().sample(part, num_architectures=8, step=epoch):
            ELASTIC.validate(architecture)
        assert part.largest() == ELASTIC.largest()
    assert sizes == sorted(sizes)
    assert growth_space(ELASTIC, epochs, epochs) is ELASTIC


def test_steps_of_ones_own():
    part = growth_space(ELASTIC, 0, 2, ["*.num_heads", ["*.keep_mlp", "*.blocks.0.mlp_hidden"]])
    free = {choice.name for choice in part.choices if len(choice.options) > 1}
    assert "stages.0.blocks.1.mlp_hidden" in free
    assert "stages.0.embed_dim" in free
    assert not free & {"stages.0.blocks.0.mlp_hidden", "stages.0.blocks.1.keep_mlp"}
    with pytest.raises(ConfigError, match=r"growth: .*nope"):
        growth_space(ELASTIC, 0, 2, ["*.nope"])
    with pytest.raises(ConfigError, match="growth_epochs=-1"):
        growth_space(ELASTIC, 0, -1)


def test_spaces_without_a_step_s_choices_grow_too():
    for name in ("glit", "vitas", "vit_resnas", "autoformer"):
        space = build_space(name)
        assert growth_space(space, 0, 4).size() <= space.size()


def test_the_largest_comes_every_few_steps():
    sampler = StratifiedSampler(largest_every=3)
    firsts = [sampler.sample(ELASTIC, num_architectures=3, step=step)[0] for step in range(9)]
    is_largest = [first == ELASTIC.largest() for first in firsts]
    assert is_largest == [step % 3 == 0 for step in range(9)]


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_others_come_from_equal_ranges_of_macs(floor: float):
    model = CostModel(ELASTIC, 0)
    high = model.cost(ELASTIC.largest()).macs
    low = max(floor * high, model.cost(ELASTIC.smallest()).macs)
    sampler = StratifiedSampler(floor=floor, seed=random.Random(0).randrange(100))
    for step in range(1, 40):
        drawn = sampler.sample(ELASTIC, num_architectures=4, step=step)
        macs = [model.cost(architecture).macs for architecture in drawn]
        for number, found in enumerate(macs[1:]):
            assert low + (high - low) * number / 3 <= found <= low + (high - low) * (number + 1) / 3
        if step % 4:
            assert low <= macs[0] <= low + (high - low) / 20
    if not floor:
        assert sampler.sample(ELASTIC, num_architectures=1, step=1) == [ELASTIC.smallest()]


def test_settings_that_are_not_legal():
    with pytest.raises(ConfigError, match=r"sampler\.largest_every=0"):
        StratifiedSampler(largest_every=0)
    with pytest.raises(ConfigError, match=r"sampler\.floor=1"):
        StratifiedSampler(floor=1)
