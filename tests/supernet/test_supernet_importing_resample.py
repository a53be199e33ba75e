"""Position embeddings at other image sizes."""

from __future__ import annotations

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

import vitsearch
from vitsearch import SuperTransformer, VisionTransformer
from vitsearch.supernet import resample_positions

pytestmark = pytest.mark.usefixtures("quick_building")


def glit(image_size, seed=0):
    space = vitsearch.build_space("glit").resized(image_size=image_size)
    generator = torch.Generator().manual_seed(seed)
    network = VisionTransformer(space, space.smallest(), num_classes=5)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network.eval()


class Stages(nn.Module):
    """Names of a network with transitions, two prefix tokens and private embeddings."""

    def __init__(self, side):
        super().__init__()
        self.stem = nn.Module()
        self.stem.embeds = nn.ModuleDict({"4": nn.Module(), "2": nn.Module()})
        for patch, sides in (("4", side), ("2", 2 * side)):
            embed = self.stem.embeds[patch]
            embed.cls_token = nn.Parameter(torch.zeros(1, 1, 6))
            embed.dist_token = nn.Parameter(torch.zeros(1, 1, 6))
            embed.pos_embed = nn.Parameter(torch.randn(1, 2 + sides**2, 6))
        self.transition = nn.Module()
        self.transition.pos_embed = nn.ParameterDict(
            {f"{n}x{n}": nn.Parameter(torch.randn(1, n**2, 8)) for n in (side, side // 2)}
        )
        self.transition.token = nn.Linear(6, 8)


def test_nothing_changes_at_the_same_size():
    state = glit(28).state_dict()
    resampled = resample_positions(state, glit(28, seed=1))
    assert list(resampled) == list(state)
    assert all(resampled[name] is tensor for name, tensor in state.items())


@torch.no_grad()
@pytest.mark.parametrize("image_size", [16, 32, 64])
def test_another_size_runs(image_size):
    small, other = glit(28), glit(image_size, seed=1)
    state = resample_positions(small.state_dict(), other)
    other.load_state_dict(state)
    assert other(torch.randn(2, 1, image_size, image_size)).shape == (2, 5)
    before, after = small.stem.embeds["4"].pos_embed, other.stem.embeds["4"].pos_embed
    assert torch.equal(after[:, :1], before[:, :1])  # the class token's
    side = image_size // 4
    expected = resample_abs_pos_embed(before, [side, side], [7, 7], num_prefix_tokens=1)
    assert torch.equal(after, expected)
    assert torch.equal(other.head.weight, small.head.weight)


@torch.no_grad()
def test_transitions_and_several_prefix_tokens():
    old, new = Stages(4), Stages(6)
    state = resample_positions(old.state_dict(), new)
    new.load_state_dict(state)
    for old_side, new_side in ((4, 6), (2, 3)):
        before = old.state_dict()[f"transition.pos_embed.{old_side}x{old_side}"]
        after = state[f"transition.pos_embed.{new_side}x{new_side}"]
        expected = resample_abs_pos_embed(before, [new_side] * 2, num_prefix_tokens=0)
        assert torch.equal(after, expected)
    for patch, side in (("4", 6), ("2", 12)):
        name = f"stem.embeds.{patch}.pos_embed"
        assert state[name].shape == (1, 2 + side**2, 6)
        assert torch.equal(state[name][:, :2], old.state_dict()[name][:, :2])


@torch.no_grad()
def test_a_supernet_is_resampled_as_a_whole():
    sizes = {"num_blocks": 1, "stem.patch_sizes": [4, 8]}
    spaces = [vitsearch.build_space("glit", image_size=size, **sizes) for size in (32, 48)]
    old, new = (SuperTransformer(space, num_classes=3) for space in spaces)
    for name, tensor in old.named_parameters():
        if name.endswith("pos_embed"):
            nn.init.normal_(tensor)
    new.load_state_dict(resample_positions(old.state_dict(), new))
    for patch in "48":
        grid = new.stem.embeds[patch].pos_embed
        assert grid.shape[1] == 1 + (48 // int(patch)) ** 2
        assert torch.equal(grid[:, 0], old.stem.embeds[patch].pos_embed[:, 0])


def test_a_smooth_embedding_stays_smooth():
    old, new = Stages(4), Stages(8)
    ramp = torch.linspace(0, 1, 4)
    state = old.state_dict()
    state["stem.embeds.4.pos_embed"] = torch.cat([torch.zeros(2), ramp.repeat_interleave(4)]).view(
        1, -1, 1
    )
    rows = resample_positions(state, new)["stem.embeds.4.pos_embed"][0, 2:, 0].view(8, 8)
    assert torch.all(rows.diff(dim=0) > 0)
    torch.testing.assert_close(rows.diff(dim=1), torch.zeros(8, 7), rtol=0, atol=1e-6)


def test_what_is_no_grid_is_refused(damaged):
    state = glit(28).state_dict()
    name = "stem.embeds.4.pos_embed"
    for shape in ((1, 49, 48), (1, 1, 48), (50, 48)):
        with damaged(name, shape, "1 prefix tokens and a grid"):
            resample_positions({**state, name: torch.zeros(shape)}, glit(32))


def test_grids_of_other_patch_sizes_are_refused(damaged):
    state = Stages(4).state_dict()
    state["transition.pos_embed.1x1"] = torch.zeros(1, 1, 8)
    with damaged("transition.pos_embed has 3 grids for 2 patch sizes"):
        resample_positions(state, Stages(6))
    state = {**Stages(4).state_dict(), "transition.pos_embed.2x2": torch.zeros(1, 9, 8)}
    with damaged("transition.pos_embed.2x2", (1, 9, 8), "0 prefix tokens"):
        resample_positions(state, Stages(6))


@torch.no_grad()
def test_grids_need_not_be_square():
    old, new = Stages(4), Stages(6)
    state = old.state_dict()
    state["transition.pos_embed.1x4"] = state.pop("transition.pos_embed.2x2")
    resampled = resample_positions(state, new)
    expected = resample_abs_pos_embed(
        state["transition.pos_embed.1x4"], [3, 3], [1, 4], num_prefix_tokens=0
    )
    assert torch.equal(resampled["transition.pos_embed.3x3"], expected)
