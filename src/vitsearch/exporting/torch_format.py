"""`torch.export`: one file that PyTorch runs without this library, and compiles ahead of time."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from vitsearch.exporting.base import INPUT, Format, Job, Run
from vitsearch.exporting.checks import example_images

FACTS_FILE = "vitsearch.json"


class TorchFormat(Format):
    """An `ExportedProgram`; what it is stands in its extra file `vitsearch.json`."""

    name = "torch_export"
    target = "model.pt2"
    takes_pixels = True

    def check(self, job: Job) -> None:
        """PyTorch is there."""

    def write(self, job: Job, folder: Path) -> Path:
        """One file."""
        program = torch.export.export(
            job.module,
            (example_images(job.network, 2),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        for node in program.graph.nodes:  # where in whose sources it came from
            node.meta.pop("stack_trace", None)
        file = folder / self.target
        torch.export.save(program, file, extra_files={FACTS_FILE: json.dumps(dict(job.facts))})
        return file

    def load(self, path: Path) -> Run:
        """Its module."""
        return torch.export.load(path).module()

    def snippet(self, path: Path) -> str:
        """Without this library."""
        return f"network = torch.export.load({str(path)!r}).module()\nlogits = network({INPUT})"
