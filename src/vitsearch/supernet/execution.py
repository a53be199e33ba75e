"""How several sub-networks are computed in one step, and who decides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from vitsearch.supernet import masked, together
from vitsearch.supernet.network import ElasticTransformer, HeadOutputs
from vitsearch.supernet.together import Run

EXECUTIONS = ("auto", "sliced", "masked")


class Executor(Protocol):
    """Runs sub-networks on images of their own."""

    def run(self, network: ElasticTransformer, runs: Sequence[Run]) -> list[Tensor]:
        """Images to logits (B, num_classes), for each sub-network."""

    def run_heads(self, network: ElasticTransformer, runs: Sequence[Run]) -> list[HeadOutputs]:
        """Images to what each classifier says, for each sub-network."""


def executor(execution: str) -> Executor:
    """Who computes a step; the outputs are the same.

    `sliced`: each share of the batch at its own sizes. `masked`: all at the largest sizes, as one
    batch whose shapes do not depend on the architectures; one architecture alone, too. `auto` is
    `sliced` everywhere: a CPU pays for what it computes, and no GPU has been measured. Whatever a
    measurement may say of steps, one architecture alone, and all that has no gradient, gains
    nothing from being masked and is to stay sliced under `auto`.

    Args:
        execution: One of `EXECUTIONS`.
    """
    return masked if execution == "masked" else together
