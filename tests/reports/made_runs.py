"""Run folders as the commands leave them, made in milliseconds: scores come from a formula."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitsearch.costs import Constraint, CostModel
from vitsearch.searchers import EvolutionSearcher, FrontSearcher, Searcher
from vitsearch.spaces import Architecture, SearchSpace, build_space

NUM_IMAGES = 400


def small_space() -> SearchSpace:
    return build_space("glit", num_blocks=2, embed_dims=[24])


def correct(architecture: Architecture, macs: int) -> int:
    """More MACs help, and something that looks like noise."""
    noise = int(architecture.digest, 16) % 41 - 20
    return round(NUM_IMAGES * (1 - 1 / math.log10(max(macs, 100))) * 0.95 + noise)


def make_run(
    folder: Path,
    space: SearchSpace | None = None,
    searcher: Searcher | None = None,
    *,
    constraint: Constraint | None = None,
    config: Mapping[str, Any] | None = None,
    command: str = "python -m vitsearch.train +space=glit",
    epochs: int = 4,
) -> Path:
    """Write a finished run."""
    space = space or small_space()
    constraint = constraint or Constraint()
    searcher = searcher or EvolutionSearcher(space, constraint, population=20, generations=3)
    model = CostModel(space, 10)
    records: list[dict[str, Any]] = []
    while candidates := searcher.ask():
        for candidate in candidates:
            cost = model.cost(candidate.architecture)
            right = correct(candidate.architecture, cost.macs)
            records.append(
                {
                    "digest": candidate.architecture.digest,
                    "generation": candidate.generation,
                    "origin": candidate.origin,
                    "parents": list(candidate.parents),
                    "top1": right / NUM_IMAGES,
                    "correct": right,
                    "total": NUM_IMAGES,
                    "macs": cost.macs,
                    "params": cost.params,
                    **candidate.measured,
                    "architecture": candidate.architecture.to_dict(),
                }
            )
        searcher.tell([record["top1"] for record in records[-len(candidates) :]])
    best = min(records, key=lambda record: (-record["correct"], record["macs"], record["digest"]))
    windows = {**constraint.windows(), **constraint.measured_windows()}
    origin = {
        "space": space.config,
        "num_classes": 10,
        "constraint": {name: list(window) for name, window in windows.items()},
    }
    search = folder / "search"
    search.mkdir(parents=True)
    (search / "history.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
    write(search / "best.json", {**origin, "random_median_top1": 0.5, **best})
    write(
        search / "settings.json", {"space": space.name, "num_classes": 10, "weights": folder.name}
    )
    largest = space.largest()
    cost = model.cost(largest)
    rows = [
        {"name": "best", "digest": best["digest"], "macs": best["macs"], "params": best["params"]},
        {"name": "largest", "digest": largest.digest, "macs": cost.macs, "params": cost.params},
    ]
    networks = [row | {"search_top1": best["top1"] - 0.01, "test_top1": 0.7} for row in rows]
    write(search / "result.json", {"num_images": NUM_IMAGES, "networks": networks})
    if isinstance(searcher, FrontSearcher):
        digests = {architecture.digest for architecture in searcher.front()}
        front = sorted((r for r in records if r["digest"] in digests), key=lambda r: r["macs"])
        write(search / "front.json", {**origin, "minimise": searcher.minimise, "front": front})
    settings = {"seed": 0, "space": space.config, "run_dir": str(folder), **(config or {})}
    (folder / "config.yaml").write_text(f"# {command}\n{json.dumps(settings)}\n")
    write(folder / "finished.json", {"finished": True, "versions": {"vitsearch": "0.1.0"}})
    where = {"device": "cpu", "processes": 1, "versions": {"python": "3.11", "torch": "2.14"}}
    training = {"seconds": 170.5, "first_step": 0, "last_step": 10 * epochs, **where}
    scoring = {"seconds": 44.0, "first_candidate": 0, "last_candidate": len(records), **where}
    write(folder / "timing.json", {"training": [training], "search": [scoring]})
    rows = ["epoch,step,train/cross_entropy,train/loss,val/top1_largest,val/top1_smallest"]
    for epoch in range(epochs):
        loss = 2 / (epoch + 1)
        rows += [
            f"{epoch},{epoch},,,{0.5 + epoch / 100},{0.4 + epoch / 90}",
            f"{epoch},{epoch},{loss},{loss},,",
        ]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    return folder


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n")
