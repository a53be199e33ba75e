"""`python -m benchmarks`: what a multi-architecture training step costs beside plain networks.

Everything runs in one process, in interleaved rounds; ratios are taken round by round. Prints a
table, and with `--json FILE` writes the figures with machine and versions.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import vitsearch
from benchmarks.timing import Timing, side_by_side
from vitsearch import SuperTransformer


def training_step(network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> None:
    """Forward and backward."""
    network(images).square().mean().backward()


def measure(name: str, *, batch: int, count: int, rounds: int) -> dict[str, Timing]:
    """Steps on the same images: `count` architectures at once, and its peers."""
    torch.manual_seed(0)
    space = vitsearch.build_space(name)
    rng = random.Random(0)
    chosen = [space.sample(rng) for _ in range(count)]
    net = SuperTransformer(space, num_classes=1000).train()
    networks = [net.extract(architecture).train() for architecture in chosen]
    images = torch.randn(batch, space.in_chans, space.image_size, space.image_size)
    shares = images.chunk(count)

    def extracted() -> None:
        for network, share in zip(networks, shares, strict=True):
            training_step(network, share)

    return side_by_side(
        {
            "largest architecture, whole batch": lambda: training_step(net, images),
            f"{count} architectures in one step": lambda: training_step(
                lambda x: net(x, chosen), images
            ),
            f"{count} extracted networks, a share each": extracted,
        },
        rounds=rounds,
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", default=["glit", "glit_tiny"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--architectures", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console(width=120)
    machine = (
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )
    console.print(machine, highlight=False)
    report: dict[str, object] = {"machine": machine}
    for name in arguments.spaces:
        timings = measure(
            name,
            batch=arguments.batch,
            count=arguments.architectures,
            rounds=arguments.rounds,
        )
        table = Table(title=f"{name}, batch {arguments.batch}, {arguments.rounds} rounds")
        for heading in ("training step", "median ms", "ratio", "lowest", "highest"):
            table.add_column(heading, justify="left" if heading == "training step" else "right")
        for label, timing in timings.items():
            figures = (timing.ratio, timing.ratio_low, timing.ratio_high)
            table.add_row(label, f"{1000 * timing.median:.1f}", *(f"{f:.3f}" for f in figures))
        console.print(table)
        report[name] = {
            label: {"seconds": t.median, "ratio": t.ratio, "range": [t.ratio_low, t.ratio_high]}
            for label, t in timings.items()
        }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
