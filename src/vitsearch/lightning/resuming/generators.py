"""The states of the global random generators, as data that a checkpoint can hold.

Mixup draws from NumPy's, drop path from PyTorch's generator of the device. A training that goes on
draws what it would have drawn. Tensors and plain values only: checkpoints are read with
`weights_only=True`.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def generator_states(device: torch.device) -> dict[str, Any]:
    """The states of Python, NumPy and PyTorch, and of the device if it is a GPU."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    assert kind == "MT19937"
    version, words, next_gauss = random.getstate()
    states: dict[str, Any] = {
        "python": [version, torch.tensor(words), next_gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Put back what `generator_states` returned; a GPU's only where there is one now and then."""
    version, words, next_gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), next_gauss))
    keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
