"""What goes into the activations of a network, whatever layers they stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ACTIVATIONS = {
    F.elu,
    F.gelu,
    F.hardswish,
    F.leaky_relu,
    F.mish,
    F.relu,
    F.relu6,
    F.silu,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}
_SIGMOIDS = {torch.sigmoid, Tensor.sigmoid, F.sigmoid}
_PRODUCTS = {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__}


class PreActivations(TorchFunctionMode):
    """Inside this context, everything that enters an activation is seen.

    Layers call activations as functions, so there is no module to hook. GELU, ReLU, Swish and their
    like count, and x * sigmoid(b x), which is how some write Swish; the gates of a GLU or of
    squeeze-excitation do not.
    """

    def __init__(self, see: Callable[[Tensor], None]) -> None:
        """Set up.

        Args:
            see: Called with what enters each activation, (B, ...), in the order of computation.
        """
        super().__init__()
        self._see = see
        self._gate: tuple[Tensor, Tensor] | None = None

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and look at what went in."""
        given = dict(kwargs or {})
        made = func(*args, **given)
        entered: Any = args[0] if args else given.get("input")
        if func in _ACTIVATIONS:
            self._see(entered)
        elif func in _SIGMOIDS:
            self._gate = (made, entered)
        elif func in _PRODUCTS and self._gate is not None:
            gate, x = self._gate
            if any(one is gate for one in args) and all(_shape(one) == x.shape for one in args):
                self._see(x)
        return made


def _shape(one: Any) -> torch.Size | None:
    return one.shape if isinstance(one, Tensor) else None
