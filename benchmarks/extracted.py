"""A network taken out beside timm's vision transformer of the same sizes: what a user ships."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import vitsearch
from benchmarks.tables import Section, rows_of
from benchmarks.timing import Settings, side_by_side
from benchmarks.timm_blocks import timm_twin
from vitsearch import SuperTransformer


def measure(settings: Settings) -> Iterator[Section]:
    """Plain attention in GLiT-Tiny's frame, which at its largest is DeiT-Tiny."""
    if settings.quick:
        space = vitsearch.build_space("glit", mixer="attention")
        yield measure_pair(space, settings.batch or 64, settings, compiled=False)
    else:
        space = vitsearch.build_space("glit_tiny", mixer="attention")
        yield measure_pair(space, settings.batch or 16, settings, compiled=True)


def measure_pair(
    space: vitsearch.SearchSpace, batch: int, settings: Settings, *, compiled: bool
) -> Section:
    """Forward pass and training step of both, eager and compiled."""
    torch.manual_seed(0)
    if settings.image_size is not None:
        space = space.resized(image_size=settings.image_size)
    net = SuperTransformer(space, num_classes=1000)
    architecture = net.largest
    networks: dict[str, nn.Module] = {
        "timm": timm_twin(space, architecture).to(settings.device),
        "extracted": net.extract(architecture).to(settings.device),
    }
    counts = [sum(p.numel() for p in network.parameters()) for network in networks.values()]
    assert counts[0] == counts[1], counts
    images = torch.randn(
        batch, space.in_chans, space.image_size, space.image_size, device=settings.device
    )
    rows = []
    for mode in ("eager", "compiled") if compiled else ("eager",):
        ready = {
            name: torch.compile(network) if mode == "compiled" else network
            for name, network in networks.items()
        }
        for kind, make in (("forward", _forward), ("training step", _step)):
            runs = {
                f"{name}, {mode}, {kind}": make(networks[name], ready[name], images, settings)
                for name in networks
            }
            rounds = side_by_side(runs, settings, warmup=2)
            reference, own = runs
            rows += rows_of(rounds, ())
            rows[-1].ratios["timm"] = rounds.ratio(own, reference)
    title = f"taken out beside timm: {space.name}, {space.image_size} px, batch {batch}"
    return Section(title, rows)


def _forward(
    network: nn.Module, ready: Callable[[Tensor], Tensor], images: Tensor, settings: Settings
) -> Callable[[], None]:
    def run() -> None:
        network.eval()
        with torch.inference_mode(), settings.autocast():
            ready(images)

    return run


def _step(
    network: nn.Module, ready: Callable[[Tensor], Tensor], images: Tensor, settings: Settings
) -> Callable[[], None]:
    def run() -> None:
        network.train()
        network.zero_grad(set_to_none=True)
        with settings.autocast():
            loss = ready(images).float().square().mean()
        loss.backward()

    return run
