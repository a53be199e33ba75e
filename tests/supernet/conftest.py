from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from tests.every_space import perturbed

from vitsearch import SearchSpace, SuperTransformer, build_space
from vitsearch.errors import CheckpointError


def space_named(name: str) -> SearchSpace:
    if name == "glit":
        return build_space("glit")
    if name == "grid":
        return build_space("glit", **{"mixer.local": "grid"})
    if name == "tiny":
        return build_space("glit_tiny").resized(image_size=32)
    if name == "tiny grid":
        return build_space("glit_tiny", **{"mixer.local": "grid"}).resized(image_size=32)
    if name == "small":
        return build_space("glit", num_blocks=2)
    if name == "attention":
        return build_space("glit", num_blocks=3, mixer="attention", embed_dims=[24, 48])
    if name == "avg":
        return build_space("glit", num_blocks=3, head="avg")
    if name == "widths and patches":
        return build_space(
            "glit",
            num_blocks=3,
            embed_dims=[24, 36, 48],
            **{"patch_sizes": [4, 7], "mixer.head_dim": 16},
        )
    assert name == "stages"
    return build_space("glit", num_stages=2, num_blocks=[1, 2], mlp={"ratios": [[2, 3], [1, 2]]})


@cache
def _supernet(name: str, num_classes: int, dtype: torch.dtype) -> SuperTransformer:
    torch.manual_seed(0)
    network = SuperTransformer(space_named(name), num_classes=num_classes)
    return perturbed(network).to(dtype).eval()


@pytest.fixture(scope="session")
def supernet() -> Callable[..., SuperTransformer]:
    """A supernet with arbitrary weights, in eval mode; shared, so copy it before changing it."""

    def get(name: str, num_classes: int = 5, dtype: torch.dtype = torch.float64) -> Any:
        return _supernet(name, num_classes, dtype)

    return get


@pytest.fixture(scope="session")
def images() -> Callable[..., torch.Tensor]:
    """Random images for a network or space."""

    def draw(of: Any, count: int = 2, seed: int = 0, dtype: torch.dtype | None = None) -> Any:
        space = of if isinstance(of, SearchSpace) else of.space
        if dtype is None:
            dtype = torch.float32 if of is space else next(of.parameters()).dtype
        generator = torch.Generator().manual_seed(seed)
        shape = (count, space.in_chans, space.image_size, space.image_size)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return draw


@pytest.fixture
def quick_building(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing random weights where they are overwritten at once."""
    for name in ("trunc_normal_", "xavier_uniform_", "kaiming_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, **_: torch.nn.init.zeros_(tensor))


@contextmanager
def _damaged(*words: object) -> Iterator[None]:
    with pytest.raises(CheckpointError) as info:
        yield
    message = str(info.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


@pytest.fixture(scope="session")
def damaged() -> Callable[..., AbstractContextManager[None]]:
    """Expect a `CheckpointError` of one line that holds all the given words."""
    return _damaged
