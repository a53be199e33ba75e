"""Whether a file says what the network says, on random images and with any batch size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitsearch.errors import ExportError
from vitsearch.exporting.base import TOLERANCE, Run
from vitsearch.supernet import VisionTransformer

BATCH_SIZES = (1, 3, 8)
_SEED = 0


def example_images(network: VisionTransformer, batch_size: int, *, pixels: bool = False) -> Tensor:
    """Random images (B, C, H, W), the same at every call.

    Args:
        network: Says their size.
        batch_size: B.
        pixels: Uniform in [0, 1] instead of normal.
    """
    plan = network.plan
    shape = (batch_size, *plan.input_shape)
    generator = torch.Generator().manual_seed(_SEED + batch_size)
    draw = torch.rand if pixels else torch.randn
    return draw(shape, generator=generator)


@torch.inference_mode()
def largest_difference(
    module: nn.Module, run: Run, batches: Sequence[Tensor], *, what: str
) -> float:
    """The largest difference of a logit.

    Args:
        module: What was exported.
        run: The file, read back.
        batches: Images.
        what: The file, for the message.

    Raises:
        ExportError: It is above `TOLERANCE`, or outputs differ in shape, or are not finite, or the
            file does not run.
    """
    largest = 0.0
    for images in batches:
        expected = module(images)
        if not torch.isfinite(expected).all():
            raise ExportError("the network's own logits are not finite; its weights are damaged")
        try:
            found = run(images)
        except Exception as error:  # each runtime raises kinds of its own
            reason = " ".join(str(error).split())[:300]
            raise ExportError(
                f"{what} does not run with {len(images)} images, so it was not kept: {reason}"
            ) from error
        if found.shape != expected.shape:
            raise ExportError(
                f"{what} gives {tuple(found.shape)} for {tuple(expected.shape)}, so it was not kept"
            )
        largest = max(largest, float((found - expected).abs().max()))
        if not largest <= TOLERANCE:  # also what is no number
            raise ExportError(
                f"{what} differs from the network by {largest:.1e}, above {TOLERANCE:.0e}, so it "
                f"was not kept"
            )
    return largest
