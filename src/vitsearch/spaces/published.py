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


def list_published() -> list[str]:
    """The names that `published` and `create_model` understand."""
    return sorted(published_entries())


def published(name: str) -> tuple[SearchSpace, Architecture]:
    """A published architecture and the space that it belongs to.

    Raises:
        SpaceError: An unknown name.
    """
    if name not in published_entries():
        raise SpaceError(
            f"published architecture {name} is unknown; legal: {', '.join(list_published())}"
        )
    entry = published_entries()[name]
    space = build_space(entry["space"])
    values: dict[str, Value] = {
        "stem.patch_size": entry["patch_size"],
        "stages.0.embed_dim": entry["embed_dim"],
    }
    for slot, block in enumerate(entry["blocks"]):
        values.update({f"stages.0.blocks.{slot}.{key}": value for key, value in block.items()})
    architecture = Architecture(values)
    space.validate(architecture)
    return space, architecture
