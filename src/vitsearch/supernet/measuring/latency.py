"""What a network costs where it runs: seconds, and peak memory on a GPU.

Weights do not change either, so architectures are measured with fresh ones, as networks of their
own: the layers and sizes that `SuperTransformer.extract` takes out. Peak memory on a CPU is in
`peak_memory.py`, because it needs a process of its own.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

import torch

from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.measuring.compiling import compiled
from vitsearch.supernet.vision_transformer import VisionTransformer

Run = Callable[[], object]


def make_run(
    space: SearchSpace,
    architecture: Architecture,
    *,
    num_classes: int,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    compile: bool = False,
) -> Run:
    """One inference of an architecture's own network, ready to be called.

    The caller's random numbers are left alone.

    Raises:
        ConfigError: It is to be compiled, and torch cannot compile here.
    """
    with torch.random.fork_rng(devices=[]):
        network = VisionTransformer(space, architecture, num_classes=num_classes)
    network.eval().requires_grad_(False).to(device=device, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, *space.input_shape)
    images = torch.randn(shape, generator=generator).to(device=device, dtype=dtype)
    forward: Callable[[torch.Tensor], object] = compiled(network) if compile else network

    def run() -> object:
        with torch.inference_mode():
            return forward(images)

    if compile:
        run()
    return run


def latency_ms(run: Run, device: torch.device, *, warmup: int, repeats: int) -> float:
    """Median milliseconds of a run, from the call to the end of the work on the device."""
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        _synchronize(device)
        started = time.perf_counter()
        run()
        _synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 1e3 * median(seconds)


def gpu_memory_mb(make: Callable[[], Run], device: torch.device) -> float:
    """Peak of the tensors of a run, weights included, in 10^6 bytes, on a CUDA device.

    Workspaces that libraries allocate once and keep are not counted: the network is made and run
    twice, and the second time counts.
    """
    peak = before = 0
    for _ in range(2):
        gc.collect()
        before = torch.cuda.memory_allocated(device)
        run = make()
        run()
        torch.cuda.reset_peak_memory_stats(device)
        run()
        peak = torch.cuda.max_memory_allocated(device)
        del run
    return (peak - before) / 1e6


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
