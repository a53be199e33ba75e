"""Small supernets in float64 with everything moved away from where it begins."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor

import vitsearch
from vitsearch import SuperTransformer, build_space
from vitsearch.shrinking.progressive.factors import Factors
from vitsearch.shrinking.progressive.ladder import Ladder, Place
from vitsearch.shrinking.progressive.shrink import Shrink, Shrunk, axes_in
from vitsearch.shrinking.progressive.surgery import Surgery, smaller_supernet
from vitsearch.shrinking.progressive.units import UnitFinder, UnitGroup, start_space

CLASSES = 5
_TWO_STAGES: dict[str, Any] = {
    "image_size": 32,
    "num_stages": 2,
    "block.stride": [1, 2],
    "num_blocks": [1, 2],
    "depths": None,
}
SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "glit": ("glit", {"num_blocks": 2, "mlp.ratios": [2, 3, 4]}),
    "glit on the grid": ("glit", {"num_blocks": 2, "mixer.local": "grid"}),
    "vit_resnas": ("vit_resnas", {}),
    "autoformer": ("autoformer", {"num_blocks": 3, "depths": [2, 3]}),
    "vitas": ("vitas", {"num_blocks": 2}),
    "resnet": ("resnet18", {**_TWO_STAGES, "embed_dims": [[16], [24]]}),
    "hr_nas": (
        "hr_nas",
        {
            "image_size": 16,
            "body.branches": [[6], [4, 6]],
            "body.blocks": [[1], [1, 1]],
            "body.widen": [6, 8],
            "body.features": 12,
            "stem.width": 6,
            "block.kernel_sizes": [3, 5],
            "block.step": 2,
            "block.num_tokens": 0,
        },
    ),
    "bottlenecks": ("resnet50", {**_TWO_STAGES, "embed_dims": [[32], [64]]}),
}
PRETRAINED = {
    "deit": "deit_tiny_patch16_224",
    "dinov2": "vit_small_patch14_dinov2",
    "beit": "beit_base_patch16_224",
}
NAMES = [*SPACES, *PRETRAINED]


@cache
def _whole(name: str) -> SuperTransformer:
    torch.manual_seed(0)
    if name in PRETRAINED:
        sizes = {"img_size": 28, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}
        return vitsearch.from_timm(timm.create_model(PRETRAINED[name], in_chans=1, **sizes).eval())
    base, settings = SPACES[name]
    return SuperTransformer(build_space(base, **settings), CLASSES)


def supernet(name: str, seed: int = 0) -> SuperTransformer:
    """A copy in which no unit is like another."""
    whole = _whole(name)
    net = SuperTransformer(whole.space, whole.num_classes).double()
    net.load_state_dict(whole.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.add_(0.1 * noise if tensor.dim() == 1 else 0.1 * (noise - 0.5))
    return net


def images(net: SuperTransformer, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    size = net.space.image_size
    shape = (count, net.space.in_chans, size, size)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def begin(net: SuperTransformer) -> tuple[Shrunk, dict[str, UnitGroup]]:
    """The start of a shrinking of a supernet, with gates that are not 1."""
    space = start_space(net.space, UnitFinder(net).groups())
    own = smaller_supernet(net, space, Surgery(net, space, {}).weights(net.state_dict()))
    groups = UnitFinder(own).groups()
    axes = {choice: group.axes for choice, group in groups.items()}
    factors = Factors(axes_in(own, axes), next(own.parameters()))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for gate in factors.parameters():
            gate.add_(0.5 * torch.randn(gate.shape, generator=generator, dtype=gate.dtype))
    factors.attach(own)
    return Shrunk(net=own, factors=factors), groups


def planned(
    start: Shrunk, groups: dict[str, UnitGroup], seed: int
) -> tuple[Shrink, Ladder, Place, dict[str, Tensor]]:
    """A shrink to a random place, by random importance; both are returned as well."""
    units = {choice: group.counted for choice, group in groups.items()}
    ladder = Ladder(start.net.space, units, num_classes=start.net.num_classes)
    rng = random.Random(seed)
    # A searching block keeps a branch: the last one takes the norm behind it along.
    least = {name: int(name.endswith("kernel3")) for name in ladder.start}
    place = {name: rng.randint(least[name], index) for name, index in ladder.start.items()}
    generator = torch.Generator().manual_seed(seed)
    importance = {
        axis.reader: torch.rand(axis.num_units, generator=generator)
        for axis in start.factors.all_axes()
    }
    left = {name: list(units[name].options[: i + 1]) for name, i in place.items()}
    space = start.net.space.restrict(left)
    counts = ladder.counts(place)
    shrink = Shrink(start.net, start.factors, space=space, counts=counts, importance=importance)
    return shrink, ladder, place, importance


@torch.no_grad()
def mask(start: Shrunk, counts: dict[str, int], importance: dict[str, Tensor]) -> None:
    """Set the factors of the least important units to 0, in place."""
    for choice, axes in start.factors.axes.items():
        for axis in axes:
            going = importance[axis.reader].argsort(descending=True)[counts[choice] :]
            start.factors.of(axis, start.net)[going] = 0.0
