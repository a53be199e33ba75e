"""How many tokens go on, as a choice: counts of the papers, conditions, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import SearchSpace, build_space, from_timm
from vitsearch.errors import SpaceError
from vitsearch.spaces.parts.tokens import KeepStep, MergeStep

ALONE: dict[str, Any] = {
    "mlp_hidden": [1],
    "num_heads": [1],
    "qk_dim": [1],
    "v_dim": [1],
    "removable": [],
}


@pytest.fixture(scope="module")
def deit() -> dict[str, Any]:
    """DeiT-S as a space without choices."""
    return from_timm("deit_small_patch16_224", options=ALONE).space.config


def tokens_of(space: SearchSpace, **shared: Any) -> list[int]:
    """How many tokens come into each block."""
    named = {f"stages.0.{name}": value for name, value in shared.items()}
    plan = space.plan(space.restrict(named).largest())
    return [block.mixer.inner.num_tokens for block in plan.stages[0].blocks]


def matching(numbers: list[int], key_dim: int = 64) -> int:
    """MACs of comparing tokens, which the paper leaves out."""
    return sum((n + 1) // 2 * (n // 2) * key_dim for n in numbers)


@pytest.mark.parametrize(
    ("merged", "published"), [(0, 4.599), (8, 3.416), (13, 2.703), (16, 2.291)]
)
def test_merging_costs_what_the_paper_says(deit: Any, merged: int, published: float) -> None:
    space = SearchSpace({**deit, "tokens": {"kind": "merge", "merged": [0, 8, 13, 16]}})
    architecture = space.restrict({"stages.0.merged": merged}).largest()
    numbers = tokens_of(space, merged=merged)
    assert numbers == [197 - merged * block for block in range(12)]
    without = space.plan(architecture).cost(1000).macs - (matching(numbers) if merged else 0)
    assert without / 1e9 == pytest.approx(published, abs=0.0005)


@pytest.mark.parametrize(
    ("share", "macs"), [(0.9, 4.022), (0.8, 3.477), (0.7, 3.029), (0.6, 2.635), (0.5, 2.309)]
)
def test_keeping_costs_what_the_paper_says(deit: Any, share: float, macs: float) -> None:
    shares = [0.5, 0.6, 0.7, 0.8, 0.9, 1]
    space = SearchSpace({**deit, "tokens": {"kind": "keep", "keep": shares}})
    keep = {f"stages.0.keep.{i}": share for i in range(3)}
    plan = space.plan(space.restrict(keep).largest())
    ranking = sum(
        block.tokens.cost().macs for block in plan.stages[0].blocks if block.tokens is not None
    )
    assert (plan.cost(1000).macs - ranking) / 1e9 == pytest.approx(macs, abs=0.002)


@pytest.mark.parametrize(("share", "macs"), [(0.9, 4.041), (0.8, 3.463), (0.7, 2.981)])
def test_predicting_costs_what_the_paper_says(deit: Any, share: float, macs: float) -> None:
    tokens = {"kind": "predict", "keep": [0.7, 0.8, 0.9, 1]}
    space = SearchSpace({**deit, "tokens": tokens})
    plan = space.plan(space.restrict({f"stages.0.keep.{i}": share for i in range(3)}).largest())
    assert plan.cost(1000).macs / 1e9 == pytest.approx(macs, abs=0.0005)
    left = [block.tokens.kept for block in plan.stages[0].blocks if block.tokens is not None]
    assert [n for n in left if n] == [int(196 * share**i + 1e-9) for i in (1, 2, 3)]


def test_tokens_left_are_those_of_the_paper(deit: Any) -> None:
    space = SearchSpace({**deit, "tokens": {"kind": "keep", "keep": [0.7, 1]}})
    keep = {f"stages.0.keep.{i}": 0.7 for i in range(3)}
    plan = space.plan(space.restrict(keep).largest())
    steps = [block.tokens for block in plan.stages[0].blocks]
    assert steps[:3] == [None] * 3
    assert all(isinstance(step, KeepStep) for step in steps[3:])
    assert [step.num_left for step in steps[3:]] == [140, 140, 140, 100, 100, 100, 72, 72, 72]


def test_a_choice_of_none_is_the_space_without(deit: Any) -> None:
    space = SearchSpace({**deit, "tokens": {"kind": "merge", "merged": [0, 8]}})
    plain = SearchSpace(deit)
    none = space.plan(space.restrict({"stages.0.merged": 0}).largest())
    assert none == plain.plan(plain.largest())


def test_a_falling_schedule_ends_with_none(deit: Any) -> None:
    tokens = {"kind": "merge", "merged": [0, 8], "schedule": "falling"}
    space = SearchSpace({**deit, "tokens": tokens})
    plan = space.plan(space.restrict({"stages.0.merged": 8}).largest())
    steps = [block.tokens for block in plan.stages[0].blocks]
    merged = [step.merged for step in steps if isinstance(step, MergeStep)]
    assert (merged[0], merged[-1], len(merged)) == (16, 0, 12)
    assert merged == sorted(merged, reverse=True)
    # Half of what r in every block would leave out, more or less: early blocks merge the most.
    assert 8 * 12 - 12 < sum(merged) <= 8 * 12


def test_shares_are_chosen_for_blocks_that_are_there() -> None:
    space = build_space(
        "glit",
        mixer="attention",
        depths=[2, 6],
        tokens={"kind": "keep", "keep": [0.5, 1], "slots": [1, 4]},
    )
    shallow = space.restrict({"stages.0.depth": 2}).largest()
    assert "stages.0.keep.0" in shallow
    assert "stages.0.keep.1" not in shallow


def test_costs_are_those_that_are_measured(deit: Any) -> None:
    tokens = {"kind": "keep", "keep": [0.6, 1]}
    network = from_timm("deit_tiny_patch16_224", img_size=112, options=ALONE, num_classes=10)
    space = SearchSpace({**network.space.config, "tokens": tokens})
    for architecture in (space.smallest(), space.largest()):
        made = network_of(space, architecture)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            made(torch.randn(1, 3, 112, 112))
        assert space.plan(architecture).cost(10).macs == counter.get_total_flops() / 2


def network_of(space: SearchSpace, architecture: Any) -> Any:
    """A network with fresh weights."""
    from vitsearch import VisionTransformer

    return VisionTransformer(space, architecture, num_classes=10).eval()


MERGE = {"kind": "merge", "merged": [0, 2]}
KEEP = {"kind": "keep", "keep": [0.5, 1]}


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("autoformer", {"tokens": MERGE}, "mixer relative_attention needs the tokens in their"),
        ("glit", {"tokens": MERGE, "mixer.local": "grid"}, "mixer glit needs the tokens in their"),
        (
            "vit_resnas",
            {"tokens": [MERGE, {"kind": "none"}, {"kind": "none"}], "skippable": None},
            "stage 0 is followed by another",
        ),
        ("vit_resnas", {"tokens": MERGE}, "take space.depths instead"),
        ("vt", {"tokens": MERGE}, "are no mixer and MLP"),
        ("resnet18", {"tokens": MERGE}, "are no mixer and MLP"),
        (
            "glit",
            {"tokens": {"kind": "merge", "merged": [0, 40]}},
            "cannot merge 40 of 49 patch tokens; at most half of them, 24",
        ),
        ("glit", {"tokens": {"kind": "merge"}}, "space.tokens.merged is missing"),
        (
            "glit",
            {"tokens": {"kind": "melt"}},
            "space.tokens.kind=melt is unknown",
        ),
        (
            "glit",
            {"tokens": {"kind": "keep", "keep": [0.5, 1]}},
            "some blocks of this space have none",
        ),
        (
            "glit",
            {"mixer": "attention", "head": "avg", "stem.class_token": False, "tokens": KEEP},
            "needs a class token, which this space has not",
        ),
        (
            "glit",
            {"mixer": "attention", "tokens": {"kind": "keep", "keep": [0.5, 0.99]}},
            "0.99 of 49 patch tokens leaves 0 to be fused; that needs 2",
        ),
        (
            "glit",
            {"mixer": "attention", "tokens": {"kind": "keep", "keep": [0.5, 0.51]}},
            "two of these keep the same number",
        ),
        (
            "glit",
            {"tokens": {"kind": "predict", "keep": [0.5, 1]}},
            "some blocks of this space mix tokens otherwise",
        ),
        (
            "glit",
            {"mixer": "attention", "tokens": {"kind": "predict", "keep": [0.5], "slots": [5]}},
            "behind the last of 6 blocks there is none",
        ),
        (
            "glit",
            {"mixer": "attention", "tokens": {"kind": "predict", "keep": [0.5, 0.51]}},
            "of 49 patch tokens these keep 24, 24, which must be 1 or more",
        ),
        (
            "glit",
            {
                "mixer": "attention",
                "embed_dims": 42,
                "tokens": {"kind": "predict", "keep": 0.5},
            },
            "needs a multiple of 4 channels, not 42",
        ),
        (
            "glit",
            {"mixer": "attention", "tokens": {"kind": "keep", "keep": [0.5, 2]}},
            "must be shares, at most 1",
        ),
    ],
)
def test_what_cannot_have_fewer_tokens_is_refused(name: str, overrides: Any, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        build_space(name, **overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
