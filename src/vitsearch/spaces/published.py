"""Architectures that papers published, by name (`published.json` has their sizes)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.choice import Value
from vitsearch.spaces.config import build_space
from vitsearch.spaces.space import SearchSpace


@cache
def published_entries() -> dict[str, dict[str, Any]]:
    """The file as it is: sizes, and parameters and MACs where they were measured."""
    text = Path(__file__).with_name("published.json").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = json.loads(text)
    return entries


def family_of(name: str) -> str:
    """The family that a published architecture belongs to."""
    family: str = published_entries()[name].get("family") or name.rpartition("_")[0]
    return family


def list_published() -> list[str]:
    """The names that `published` and `create_model` understand."""
    return sorted(published_entries())


def published(name: str) -> tuple[SearchSpace, Architecture]:
    """A published architecture and the space that it belongs to.

    Where the paper's network lies outside of the paper's space (AutoFormer-Tiny has MLPs of ratio
    3) the space has that option, too. Which of a stage's skippable slots are empty is not
    published; here they are the last. A ResNet is the largest of its space.

    Raises:
        SpaceError: An unknown name.
    """
    if name not in published_entries():
        raise SpaceError(
            f"published architecture {name} is unknown; legal: {', '.join(list_published())}"
        )
    entry = published_entries()[name]
    space = build_space(entry["space"], **entry.get("settings", {}))
    if entry.get("largest"):
        return space, space.largest()
    if "slots" in entry:
        return space, _of_slots(space, entry["slots"])
    if "values" in entry:
        values = entry["values"]
        return space, space.complete(lambda c: values.get(c.name, c.options[-1]))
    stages = entry.get("stages") or [{"width": entry["embed_dim"], "blocks": entry["blocks"]}]
    shared: dict[str, Value] = {"stem.patch_size": entry["patch_size"]}
    for index, stage in enumerate(stages):
        shared[f"stages.{index}.embed_dim"] = stage["width"]
    blocks = [[_chosen(block) for block in stage["blocks"]] for stage in stages]
    return space, space.assemble(shared, blocks)


def _of_slots(space: SearchSpace, slots: list[list[Value]]) -> Architecture:
    """The architecture whose block slots choose these values, each slot's in order."""
    own = [choices for stage in space.block_choices for choices in stage]
    values = {
        choice.name: value
        for choices, listed in zip(own, slots, strict=True)
        for choice, value in zip(choices, listed, strict=True)
    }
    return space.complete(lambda c: values.get(c.name, c.options[-1]))


def _chosen(block: dict[str, Value]) -> dict[str, Value]:
    """What a block chooses; the dimension of a head is its stage's."""
    return {name: value for name, value in block.items() if name != "head_dim"}
