"""The best network of each search below a folder, side by side.

python examples/three_budgets/table.py runs/budgets
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import vitsearch
from vitsearch.costs import human

table = Table("search", "window of MACs", "MACs", "parameters", "top-1, search split", "digest")
for file in sorted(Path(sys.argv[1]).glob("*/search/best.json")):
    best = json.loads(file.read_text(encoding="utf-8"))
    network = vitsearch.load_model(file.parents[1] / "best")
    assert network.architecture.digest == best["digest"]
    low, high = best["constraint"]["macs"]
    table.add_row(
        file.parents[1].name,
        f"{human(low)} to {human(high)}",
        human(network.cost().macs),
        human(network.cost().params),
        f"{100 * best['top1']:.1f} %",
        best["digest"],
    )
Console(width=100).print(table)
