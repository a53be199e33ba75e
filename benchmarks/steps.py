"""A training step of several architectures beside its peers: the same images, forward and backward.

Peers: the largest architecture on the whole batch; the same architectures as networks of their own,
a share each, also compiled if asked for; the largest with masks, which stands in for masked
execution; plain timm networks of the same sizes. Beside them stands a matrix product: a step counts
three times the multiply-accumulates of its forward pass, whatever padding adds to them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import vitsearch
from benchmarks.ceiling import PRODUCT, add_shares, product
from benchmarks.memory import peak_megabytes
from benchmarks.tables import Section, rows_of
from benchmarks.timing import Settings, side_by_side
from benchmarks.timm_blocks import has_twin, timm_twin
from vitsearch import Architecture, SearchSpace, SuperTransformer

LARGEST, EXTRACTED, PLAIN, MASKED = "largest", "extracted", "plain timm", "masked"
COMPILED = "extracted, compiled"


@dataclass(frozen=True, slots=True)
class Case:
    """A space, its batch, how many architectures, and which peers.

    Attributes:
        share: The MACs of the architectures beside the largest one's; `None` for the space's mean.
    """

    space: str
    batch: int
    counts: tuple[int, ...]
    peers: tuple[str, ...]
    share: float | None = None


ALL = (LARGEST, EXTRACTED, PLAIN, MASKED)
DEMOS = tuple(
    Case(name, 32, (4, 1, 2, 8, 16), ALL) for name in ("glit", "vit_resnas", "vitas", "autoformer")
)
PAPERS = (
    Case("vit_resnas_tiny", 32, (4,), (LARGEST, EXTRACTED, MASKED), share=0.406),
    Case("glit_tiny", 32, (4,), (EXTRACTED,)),
    Case("vitas_small", 32, (4,), (EXTRACTED,)),
    Case("autoformer_tiny", 32, (4,), (EXTRACTED, PLAIN)),
)


def cases(settings: Settings) -> Iterator[Case]:
    """What is measured."""
    chosen = DEMOS if settings.quick else (*PAPERS, *DEMOS)
    if settings.spaces is not None:
        known = {case.space: case for case in (*PAPERS, *DEMOS)}
        chosen = tuple(known.get(n, Case(n, 32, (4,), ALL)) for n in settings.spaces)
    for case in chosen:
        yield replace(
            case,
            batch=settings.batch or case.batch,
            counts=settings.architectures or case.counts,
            peers=ALL if settings.device.type == "cuda" else case.peers,
        )


def measure(settings: Settings) -> Iterator[Section]:
    """A table for each space."""
    for case in cases(settings):
        yield measure_case(case, settings)


def measure_case(case: Case, settings: Settings) -> Section:
    """The steps of one space."""
    torch.manual_seed(0)
    space = vitsearch.build_space(case.space)
    if settings.image_size is not None:
        space = space.resized(image_size=settings.image_size)
    net = SuperTransformer(space, num_classes=1000).to(settings.device).train()
    shape = (case.batch, space.in_chans, space.image_size, space.image_size)
    images = torch.randn(shape, device=settings.device)
    first = case.counts[0]
    chosen = usual_architectures(space, first, case.share)
    steps = _Steps(net, images, settings)
    candidates: dict[str, Callable[[], object]] = {f"{first} architectures": steps.of(chosen)}
    if LARGEST in case.peers:
        candidates[LARGEST] = steps.largest
    if EXTRACTED in case.peers:
        candidates[EXTRACTED] = steps.apart([net.extract(one) for one in chosen])
        if settings.compile:
            torch.compiler.reset()  # what it keeps for one function is limited
            own = [torch.compile(net.extract(one)) for one in chosen]
            candidates[COMPILED] = steps.apart(own)
    if PLAIN in case.peers and all(has_twin(space, one) for one in chosen):
        candidates[PLAIN] = steps.apart([timm_twin(space, one) for one in chosen])
    if MASKED in case.peers:
        candidates[MASKED] = steps.masked(chosen)
    macs = dict.fromkeys(candidates, _step_macs(net, chosen, case.batch))
    macs[LARGEST] = _step_macs(net, [net.largest], case.batch)
    share = macs[f"{first} architectures"] / macs[LARGEST]
    for count in case.counts[1:]:
        usual = usual_architectures(space, count)
        candidates[f"{count} architectures"] = steps.of(usual)
        macs[f"{count} architectures"] = _step_macs(net, usual, case.batch)
    candidates[PRODUCT], macs[PRODUCT] = product(settings)
    rounds = side_by_side(candidates, settings)
    rows = rows_of(rounds, (LARGEST, EXTRACTED, PLAIN))
    rows[-1].ratios.clear()  # what a product takes beside a step says nothing
    add_shares(rows, rounds, macs)
    for row in rows[:-1]:
        peak = peak_megabytes(candidates[row.label], settings.device)
        row.more["peak MB"] = "" if peak is None else f"{peak:.0f}"
    title = (
        f"training step: {space.name}, {space.image_size} px, batch {case.batch}; "
        f"the {first} architectures have {share:.3f} of the largest one's MACs"
    )
    return Section(title, rows)


def _step_macs(net: SuperTransformer, chosen: Sequence[Architecture], batch: int) -> float:
    """Forward and backward, of a batch that the architectures share."""
    return 3 * batch * sum(net.cost(one).macs for one in chosen) / len(chosen)


def usual_architectures(
    space: SearchSpace, count: int, share: float | None = None
) -> list[Architecture]:
    """Random ones whose mean MACs are near the space's, or that share of the largest one's.

    They are the closest of some draws.
    """
    rng = random.Random(0)
    draws = [[space.sample(rng) for _ in range(count)] for _ in range(32 if share is None else 512)]
    model = vitsearch.costs.CostModel(space)
    means = [sum(model.cost(one).macs for one in draw) / count for draw in draws]
    largest = model.cost(space.largest()).macs
    usual = sum(means) / len(means) if share is None else share * largest
    return draws[min(range(len(draws)), key=lambda index: abs(means[index] - usual))]


class _Steps:
    """Training steps on the same images; gradients start from nothing each time, as in training."""

    def __init__(self, net: SuperTransformer, images: Tensor, settings: Settings) -> None:
        self._net, self._images, self._settings = net, images, settings

    def _step(self, module: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor) -> None:
        module.zero_grad(set_to_none=True)
        with self._settings.autocast():
            loss = run(images).float().square().mean()
        loss.backward()

    def largest(self) -> None:
        self._step(self._net, self._net, self._images)

    def of(self, architectures: Sequence[Architecture]) -> Callable[[], None]:
        net = self._net
        return lambda: self._step(net, lambda x: net(x, architectures), self._images)

    def masked(self, architectures: Sequence[Architecture]) -> Callable[[], None]:
        net = self._net
        masks = [self._mask(stage, architectures) for stage in range(len(net.stages))]

        def run(images: Tensor) -> Tensor:
            hooks = [
                block.register_forward_hook(lambda _, __, x, mask=mask: x * mask)
                for stage, mask in zip(net.stages, masks, strict=True)
                for block in stage.blocks
            ]
            try:
                return net(images)
            finally:
                for hook in hooks:
                    hook.remove()

        return lambda: self._step(net, run, self._images)

    def _mask(self, stage: int, architectures: Sequence[Architecture]) -> Tensor:
        """(B, 1, C): 1 for the channels that the stage has in each image's architecture."""
        widest = self._net.space.plan(self._net.largest).stages[stage].embed_dim
        shares = self._images.chunk(len(architectures))
        mask = self._images.new_zeros(len(self._images), 1, widest)
        start = 0
        for one, share in zip(architectures, shares, strict=True):
            width = self._net.space.plan(one).stages[stage].embed_dim
            mask[start : start + len(share), :, :width] = 1
            start += len(share)
        return mask

    def apart(self, networks: Sequence[nn.Module]) -> Callable[[], None]:
        for network in networks:
            network.to(self._settings.device).train()

        def run() -> None:
            shares = self._images.chunk(len(networks))
            for network, share in zip(networks, shares, strict=True):
                self._step(network, network, share)

        return run
