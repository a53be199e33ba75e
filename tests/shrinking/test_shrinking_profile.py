"""The profile: costs that add up, budgets that hold, and more of a network for more MACs."""

from __future__ import annotations

import random

import pytest
from tests.shrinking.conftest import make_images, make_network

from vitsearch import Architecture, SuperTransformer
from vitsearch.errors import ConstraintError
from vitsearch.shrinking import Budget, Profile, UniformCuts, first_candidates, profile_branches
from vitsearch.shrinking.profile import BranchOption


def test_branches_add_up_to_what_a_network_costs(
    network: SuperTransformer, profile: Profile
) -> None:
    draw = random.Random(0)
    assert len(profile.branches) == 6
    for _ in range(50):
        chosen = [draw.choice(own) for own in profile.branches]
        expected = profile.macs + sum(option.macs for option in chosen)
        assert network.cost(profile.architecture(chosen)).macs == expected


def test_sizes_of_a_branch_lose_less_the_dearer_they_are(profile: Profile) -> None:
    for own in profile.branches:
        macs, losses = [o.macs for o in own], [o.loss for o in own]
        assert macs == sorted(set(macs))
        assert losses == sorted(set(losses), reverse=True)
        assert losses[-1] == 0
        assert own[0].macs == 0  # left out


def test_no_budget_is_exceeded_and_more_is_never_worse(
    network: SuperTransformer, profile: Profile
) -> None:
    full = network.cost(network.largest).macs
    before = float("inf")
    for share in (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 0.99):
        found = profile.within(share * full)
        network.space.validate(found)
        assert network.cost(found).macs <= share * full
        lost = sum(option.loss for option in sizes_of(profile, found))
        assert lost <= before + 1e-12
        before = lost
    assert profile.within(full) == network.largest


def sizes_of(profile: Profile, architecture: Architecture) -> list[BranchOption]:
    """The size that an architecture gives each branch."""

    def has(option: BranchOption) -> bool:
        return all(architecture.get(name) == value for name, value in option.values.items())

    return [next(option for option in own if has(option)) for own in profile.branches]


def test_a_budget_below_the_smallest_network(network: SuperTransformer, profile: Profile) -> None:
    with pytest.raises(ConstraintError, match=r"macs=10 .* below the smallest network"):
        profile.within(10)


def test_what_a_search_begins_with(network: SuperTransformer, profile: Profile) -> None:
    full = network.cost(network.largest).macs
    budgets = [Budget(macs=0.75 * full, name="75%"), Budget(macs=0.4 * full, name="40%")]
    first = first_candidates(profile, budgets, full, network.largest)
    assert len(set(first)) == len(first)
    assert first[-1] == network.largest
    for budget in budgets:
        assert profile.within(budget.macs) in first
    costs = [network.cost(a).macs for a in first]
    assert min(costs) <= 0.4 * full


def test_uniform_cuts_treat_all_blocks_alike(network: SuperTransformer) -> None:
    cuts = UniformCuts(network.space, 10)
    full = network.cost(network.largest).macs
    for share in (0.3, 0.5, 0.75, 1.0):
        cut = cuts.below(share * full)
        assert cut is not None
        assert network.cost(cut).macs <= share * full
        for kind in ("mlp_hidden", "num_heads"):
            sizes = {v for name, v in cut.to_dict().items() if name.endswith(f".{kind}")}
            assert len(sizes) == 1
        for name, value in cut.to_dict().items():
            if name.endswith(("qk_dim", "v_dim", "keep_attention", "keep_mlp")):
                assert value == network.largest[name]
    assert cuts.below(full) == network.largest
    assert cuts.below(10) is None


def test_with_fewer_tokens_branches_add_up_as_well() -> None:
    net = make_network(tokens={"kind": "merge", "merged": [0, 2, 3]})
    calibration = net.calibrate(make_images())
    net.order(calibration)
    profile = profile_branches(net, calibration, make_images(16))
    each = profile.by_tokens()
    assert [own.shared["stages.0.merged"] for own in each] == [0, 2, 3]
    draw = random.Random(0)
    for own in each:
        for _ in range(20):
            chosen = [draw.choice(sizes) for sizes in own.branches]
            architecture = own.architecture(chosen)
            assert architecture["stages.0.merged"] == own.shared["stages.0.merged"]
            expected = own.macs + sum(option.macs for option in chosen)
            assert net.cost(architecture).macs == expected
    full = net.cost(net.largest).macs
    started = first_candidates(profile, [Budget(macs=0.5 * full, name="50%")], full, net.largest)
    assert {a["stages.0.merged"] for a in started} == {0, 2, 3}
    assert all(net.cost(a).macs <= full for a in started)
