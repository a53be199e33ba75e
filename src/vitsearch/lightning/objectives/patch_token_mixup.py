"""Patch-token mixup: patches learn the labels of what cutmix put there."""

from __future__ import annotations

import torch
from torch import Tensor

from vitsearch.errors.checks import check_flag
from vitsearch.lightning.objectives.base import PATCHES, Objective, StepOutputs


class PatchTokenMixup(Objective):
    """The patch head's loss for the labels of patches.

    With cutmix, a patch has the labels of both images by the areas that they have in its cell of
    the last stage's grid. With mixup, without mixing, or where a module's own `mix` says nothing of
    a box, every patch has the target of its image. Source: Searching for Efficient Multi-Stage
    Vision Transformers (ViT-ResNAS), section 3.3.
    """

    uses = frozenset({PATCHES})
    of_images = True

    def __init__(self, mean_of_patches: bool = False) -> None:
        """Say what is classified.

        Args:
            mean_of_patches: The mean of an image's patch tokens, for the image's target, instead of
                every patch token.

        Raises:
            ConfigError: It is no flag.
        """
        self.mean_of_patches = check_flag("mean_of_patches", mean_of_patches)

    def __call__(self, step: StepOutputs) -> Tensor:
        """`compute_loss` of the patches' logits, architecture by architecture."""
        losses = []
        targets_of: dict[tuple[int, int], Tensor] = {}
        for index, heads in enumerate(step.heads):
            assert heads.patches is not None
            if self.mean_of_patches:
                loss = step.compute_loss(heads.patches.mean(1), step.seen(step.targets, index))
            else:
                if heads.grid not in targets_of:
                    targets_of[heads.grid] = patch_targets(step, heads.grid)
                targets = step.seen(targets_of[heads.grid], index)
                loss = step.compute_loss(heads.patches.flatten(0, 1), targets.flatten(0, 1))
            losses.append(step.part([index]) * loss)
        return torch.stack(losses).sum()


def patch_targets(step: StepOutputs, grid: tuple[int, int]) -> Tensor:
    """(B, patches) labels or (B, patches, classes) targets of the cells of a grid."""
    if step.mixing is not None:
        return step.mixing.patch_targets(grid)
    targets = step.targets[:, None]
    return targets.expand(-1, grid[0] * grid[1], *targets.shape[2:])
