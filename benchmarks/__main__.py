"""`python -m benchmarks`: what vitsearch costs, each thing beside its peers, in one process.

Parts: steps (a training step of several architectures), extracted (a network taken out beside
timm's), search (a candidate beside its forward pass; two processes beside one), balance (how uneven
steps are over processes), processes (a training step on two processes beside one), sampling
(architectures without networks), startup, threads (a step with one thread and with all, idle and
beside busy processes).

Every part interleaves its candidates in rounds and takes
ratios round by round: median, lowest and highest. Use an idle machine, or `--clock cpu`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import balance, extracted, processes, sampling, search, startup, steps, threads
from benchmarks.tables import Section
from benchmarks.timing import CLOCKS, Settings

PARTS: dict[str, Callable[[Settings], Iterator[Section]]] = {
    "startup": startup.measure,
    "sampling": sampling.measure,
    "search": search.measure,
    "balance": balance.measure,
    "processes": processes.measure,
    "extracted": extracted.measure,
    "steps": steps.measure,
    "threads": threads.measure,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def machine(settings: Settings) -> str:
    """What the figures belong to."""
    libraries = ", ".join(f"{n} {version(n)}" for n in ("torch", "timm", "pytorch-lightning"))
    place = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if settings.device.type == "cuda":
        place = torch.cuda.get_device_name(settings.device)
    return f"{place}, Python {platform.python_version()}, {libraries}, {settings.clock} time"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="demo sizes, three rounds")
    parser.add_argument("--spaces", nargs="+", help="by name, whatever the part's own are")
    parser.add_argument("--rounds", type=int, help="5, or 3 if quick")
    parser.add_argument("--batch", type=int, help="images of a step")
    parser.add_argument("--image-size", type=int, help="pixels, for every space")
    parser.add_argument(
        "--architectures", type=int, nargs="+", help="of a step; the first has peers"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of autocast")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time")
    parser.add_argument(
        "--compile", action="store_true", help="steps: own networks compiled, too; minutes each"
    )
    parser.add_argument("--json", type=Path, help="where to write all figures")
    found = parser.parse_args(arguments)
    unknown = [part for part in found.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]} is no part; there are {', '.join(PARTS)}")
    return found


def main() -> None:
    """Measure, print, write."""
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = Settings(
        device=torch.device(arguments.device),
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        batch=arguments.batch,
        image_size=arguments.image_size,
        architectures=tuple(arguments.architectures) if arguments.architectures else None,
        spaces=tuple(arguments.spaces) if arguments.spaces else None,
        dtype=DTYPES[arguments.dtype],
        clock=arguments.clock,
        quick=arguments.quick,
        compile=arguments.compile,
    )
    console = Console(width=140)
    began = time.perf_counter()
    report: dict[str, object] = {"machine": machine(settings)}
    console.print(machine(settings), highlight=False)
    for part in arguments.parts or PARTS:
        sections = []
        for section in PARTS[part](settings):
            section.print_on(console)
            sections.append(section.to_dict())
            report[part] = sections
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"{time.perf_counter() - began:.0f} s in all", highlight=False)


if __name__ == "__main__":
    main()
