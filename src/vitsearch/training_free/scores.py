"""Training-free scores of a set of architectures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.training_free.base import Candidate, Requirement, TrainingFreeScore
from vitsearch.training_free.registry import find_score

BATCH_SIZE = 16


def training_free_scores(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    names: Sequence[str],
    *,
    num_classes: int,
    seed: int,
    images: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[str, list[float]]:
    """Score architectures as networks of their own, untrained and without labels.

    Every network is built with the same seed, so a score depends on the architecture, and those
    that rank a set (`az_nas`) on the set. Everything is computed on the CPU; nothing that is drawn
    elsewhere changes.

    Args:
        space: Where the architectures are legal.
        architectures: The set.
        names: Which scores; see `SCORES`.
        num_classes: Outputs of the classifiers.
        seed: Of the weights, and of what else is drawn.
        images: (B, C, H, W) for scores that look at a batch; `None` draws normal noise.
        batch_size: How many images are drawn, or at most taken of those given.

    Returns:
        By name, a number for each architecture; more is better.

    Raises:
        ConfigError: A score is unknown or not defined for these architectures, or images are of
            another size or fewer than two.
        SpaceError: An architecture is not legal in the space.
    """
    wanted = [find_score(name) for name in names]
    for reason in undefined_scores(space, architectures, names).values():
        raise ConfigError(reason)
    batch = _batch(space, images, batch_size, seed)
    candidates = [
        Candidate(space=space, architecture=a, num_classes=num_classes, seed=seed, images=batch)
        for a in architectures
    ]
    known: dict[str, list[float]] = {}

    def values(score: TrainingFreeScore) -> list[float]:
        if score.name not in known:
            if score.combine is not None:
                known[score.name] = score.combine([values(find_score(p)) for p in score.proxies])
            else:
                assert score.compute is not None, score.name
                known[score.name] = [score.compute(candidate) for candidate in candidates]
        return known[score.name]

    return {score.name: values(score) for score in wanted}


def undefined_scores(
    space: SearchSpace, architectures: Sequence[Architecture], names: Sequence[str]
) -> dict[str, str]:
    """The scores that are not defined for a set, with a line that says why.

    A score is defined where one of the networks at least has what it is made of; the others then
    have none of it, which is what it counts.

    Raises:
        ConfigError: A score is unknown.
    """
    answers: dict[str, bool] = {}

    def holds(requirement: Requirement) -> bool:
        if requirement.words not in answers:
            answers[requirement.words] = not architectures or any(
                requirement.holds(_network(space, a)) for a in architectures
            )
        return answers[requirement.words]

    found = {}
    for name in names:
        lacking = [one.words for one in _requirements(name) if not holds(one)]
        if lacking:
            found[name] = (
                f"training_free={name} needs {lacking[0]}, which networks of {space.name} do not "
                f"have"
            )
    return found


def _requirements(name: str) -> Iterator[Requirement]:
    score = find_score(name)
    if score.requires is not None:
        yield score.requires
    for proxy in score.proxies:
        yield from _requirements(proxy)


def _network(space: SearchSpace, architecture: Architecture) -> torch.nn.Module:
    nothing = torch.empty(0)
    return Candidate(
        space=space, architecture=architecture, num_classes=1, seed=0, images=nothing
    ).network()


def _batch(space: SearchSpace, images: Tensor | None, batch_size: int, seed: int) -> Tensor:
    count = check_whole("batch_size", batch_size, 2)
    shape = space.input_shape
    if images is None:
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    if images.dim() != 4 or tuple(images.shape[1:]) != shape or len(images) < 2:
        raise ConfigError(
            f"images of shape {tuple(images.shape)} must be two or more of shape {shape}"
        )
    return images[:count].float().cpu()
