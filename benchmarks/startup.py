"""Waiting for the first step: what `import vitsearch` adds, and the command until it trains."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from benchmarks.tables import Row, Section
from benchmarks.timing import Settings

_IMPORT = """
import json, time
clock = time.process_time if {cpu} else time.perf_counter
start = clock()
import torch, timm, pytorch_lightning
libraries = clock()
import vitsearch
print(json.dumps([libraries - start, clock() - libraries]))
"""
_COMMAND = """
import json, os, sys, time
clock = time.process_time if {cpu} else time.perf_counter
start = clock()
import torch, timm, pytorch_lightning
libraries = clock()
import vitsearch.train
from vitsearch.lightning import SearchableClassifier
def first(self, batch, index):
    print(json.dumps([libraries - start, clock() - libraries]), flush=True)
    os._exit(0)
SearchableClassifier.training_step = first
sys.argv = ["vitsearch.train", "+space=glit", "trainer.devices=1"]
vitsearch.train.main()
"""


def measure(settings: Settings) -> Iterator[Section]:
    """Both, each in processes of their own."""
    rows = []
    repetitions = 1 if settings.quick else settings.rounds
    for label, code in (("import vitsearch", _IMPORT), ("vitsearch.train to its step", _COMMAND)):
        found = [_run(code, settings) for _ in range(repetitions)]
        libraries = statistics.median(own[0] for own in found)
        own = [seconds for _, seconds in found]
        more = {
            "lowest to highest": f"{1000 * min(own):.0f} to {1000 * max(own):.0f}",
            "libraries before it": f"{1000 * libraries:.0f}",
        }
        rows.append(Row(label=label, milliseconds=1000 * statistics.median(own), more=more))
    yield Section("start-up, on top of torch, timm and pytorch_lightning", rows)


def _run(code: str, settings: Settings) -> list[float]:
    code = code.format(cpu=settings.clock == "cpu")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert lines, done.stderr
    found: list[float] = json.loads(lines[-1])
    return found
