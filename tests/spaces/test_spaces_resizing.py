from __future__ import annotations

import random

import pytest

from vitsearch import build_space, published
from vitsearch.errors import SpaceError
from vitsearch.spaces.resizing import resized_for


def test_a_size_that_all_patches_fit_changes_nothing_else():
    space = build_space("glit")
    architecture = space.sample(random.Random(0))
    assert resized_for(space, architecture) == space
    larger = resized_for(space, architecture, image_size=32, in_chans=3)
    assert larger == space.resized(image_size=32, in_chans=3)


def test_a_size_that_only_its_own_patches_fit():
    space, architecture = published("vitas_b")
    with pytest.raises(SpaceError, match="patch_size 14 does not divide"):
        space.resized(image_size=384)
    larger = resized_for(space, architecture, image_size=384)
    assert larger.plan(architecture).stages[0].grid == (24, 24)
    assert larger.choice("stem.patch_size").options == (16,)
    with pytest.raises(SpaceError, match="patch_size 16 does not divide image_size 390"):
        resized_for(space, architecture, image_size=390)


def test_a_size_on_which_only_its_own_tokens_can_merge():
    space = build_space("glit", tokens={"kind": "merge", "merged": [0, 4, 20]})
    architecture = space.restrict({"stages.0.merged": 4}).largest()
    with pytest.raises(SpaceError, match="cannot merge 20 of 16 patch tokens"):
        space.resized(image_size=16)
    smaller = resized_for(space, architecture, image_size=16)
    assert smaller.choice("stages.0.merged").options == (4,)
    smaller.validate(architecture)
