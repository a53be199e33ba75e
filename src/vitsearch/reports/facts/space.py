"""What there is to know about search spaces, as plain data that JSON holds."""

from __future__ import annotations

import random
from importlib.metadata import entry_points
from math import sqrt
from typing import Any

from vitsearch.costs import cost_table, reachable_range
from vitsearch.spaces import Choice, SearchSpace, build_space, config_dir, list_spaces
from vitsearch.spaces.config import ENTRY_POINT_GROUP


def space_facts(
    space: SearchSpace, *, num_classes: int, num_samples: int, seed: int
) -> dict[str, Any]:
    """Everything about one space.

    Args:
        space: What is described.
        num_classes: Of the classifier, whose cost counts.
        num_samples: Architectures drawn for the mean costs, 1 or more.
        seed: Of the draws.

    Returns:
        `name`, `image_size`, `in_chans`, `num_classes`, `num_samples`, `seed`; `size`, the exact
        number of architectures; `free_choices`, how many choices have several options; `costs`, for
        `macs` and `params` the exact `smallest` and `largest`, and the `mean` of the drawn ones
        with its `standard_error` (`None` for one draw); `choices`, every one under its full name; a
        condition on a name that is no choice of the space never binds; `config`.
    """
    rng = random.Random(seed)
    drawn = [space.sample(rng) for _ in range(num_samples)]
    costs = {}
    for metric, values in cost_table(space, drawn, num_classes).items():
        smallest, largest = reachable_range(space, metric, num_classes)
        error = float(values.std(ddof=1)) / sqrt(num_samples) if num_samples > 1 else None
        costs[metric] = {
            "smallest": smallest,
            "largest": largest,
            "mean": float(values.mean()),
            "standard_error": error,
        }
    return {
        "name": space.name,
        "image_size": _image_size(space),
        "in_chans": space.in_chans,
        "num_classes": num_classes,
        "num_samples": num_samples,
        "seed": seed,
        "size": space.size(),
        "free_choices": _free_choices(space),
        "costs": costs,
        "choices": [choice_facts(choice) for choice in space.choices],
        "config": space.config,
    }


def choice_facts(choice: Choice) -> dict[str, Any]:
    """One choice with its full name, options, conditions and sampling weights."""
    return {
        "name": choice.name,
        "options": list(choice.options),
        "active_when": [
            {"name": condition.name, "values": list(condition.values)}
            for condition in choice.active_when
        ],
        "otherwise": choice.otherwise,
        "weights": None if choice.weights is None else list(choice.weights),
    }


def list_facts() -> list[dict[str, Any]]:
    """Every space that has a name, by family.

    Returns:
        For each `family`, `name`, `description`, `image_size`, `in_chans`, `free_choices`, `size`
        and `error`. A space that another package offers and that cannot be built has its `error`;
        the values are then `None`.
    """
    names = list_spaces()
    offered = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    ordered = sorted((family_of(name, names), name) for name in names)
    return [
        {"family": family, "name": name, "description": _description(name, offered), **_facts(name)}
        for family, name in ordered
    ]


def family_of(name: str, names: list[str]) -> str:
    """The shortest of `names` that `name` continues after a `_`; `name` itself if there is none."""
    return min((n for n in names if name.startswith(f"{n}_")), key=len, default=name)


def _facts(name: str) -> dict[str, Any]:
    try:
        space = build_space(name)
        return {
            "image_size": _image_size(space),
            "in_chans": space.in_chans,
            "free_choices": _free_choices(space),
            "size": space.size(),
            "error": None,
        }
    except Exception as error:  # another package's fault must not hide the other spaces
        unknown = dict.fromkeys(("image_size", "in_chans", "free_choices", "size"))
        return {**unknown, "error": " ".join(str(error).split()) or type(error).__name__}


def _image_size(space: SearchSpace) -> int | list[int]:
    """The side of square images, or height and width."""
    size = space.image_size
    return size if isinstance(size, int) else list(size)


def _free_choices(space: SearchSpace) -> int:
    return sum(len(choice.options) > 1 for choice in space.choices)


def _description(name: str, offered: dict[str, str]) -> str:
    """The comment that a space's file starts with, or where the space comes from."""
    path = config_dir() / "space" / f"{name}.yaml"
    if not path.is_file():
        return f"offered by {offered[name]}"
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):  # Hydra's, not for people
            return line.lstrip("# ").rstrip()
    return ""
