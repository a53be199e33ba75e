"""What sub-networks of a converted network may have, as shares of its own sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.errors.checks import is_number, is_whole
from vitsearch.supernet.converting.reading import Reading

EIGHTHS = tuple(part / 8 for part in range(1, 9))
QUARTERS = tuple(part / 4 for part in range(1, 5))
BRANCHES = ("attention", "mlp")
_MULTIPLES = {"mlp_hidden": 8, "num_heads": 1, "qk_dim": 2, "v_dim": 2, "embed_dim": 8}
_MOST_HEADS = 12  # options by default; of networks with more heads, equal steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Shares of a network's sizes that its sub-networks may have; its own size is always one.

    Attributes:
        mlp_hidden: Of the hidden width of each MLP.
        num_heads: Of the heads of each attention; `None` for every number of heads.
        qk_dim: Of the channels of a head's queries and keys.
        v_dim: Of the channels of a head's values.
        embed_dim: Of the channels of the tokens. Smaller widths change what LayerNorm sees, so
            they need training.
        removable: Which branches of a block may be left out: `attention`, `mlp`.
        depths: Options for the number of blocks, of which the last ones go; `None` for all blocks.
    """

    mlp_hidden: tuple[float, ...] = EIGHTHS
    num_heads: tuple[float, ...] | None = None
    qk_dim: tuple[float, ...] = QUARTERS
    v_dim: tuple[float, ...] = QUARTERS
    embed_dim: tuple[float, ...] = (1.0,)
    removable: tuple[str, ...] = BRANCHES
    depths: tuple[int, ...] | None = None


def read_options(given: Mapping[str, Any] | Options | None) -> Options:
    """Options from plain data, such as the section `space.options` of a configuration.

    Raises:
        SpaceError: A name is unknown, or a value is not legal.
    """
    if given is None or isinstance(given, Options):
        return given or Options()
    names = Options.__slots__
    if not isinstance(given, Mapping):
        raise SpaceError(f"options={given!r} must be shares by name: {', '.join(names)}")
    for name in given:
        if name not in names:
            raise SpaceError(f"options.{name} is unknown; legal: {', '.join(names)}")
    found: dict[str, Any] = {}
    for name, value in given.items():
        listed = (
            list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        )
        if listed is None:
            continue
        if name == "removable":
            found[name] = _branches(listed)
        elif name == "depths":
            found[name] = _depths(listed)
        else:
            found[name] = _shares(name, listed)
    return Options(**found)


def _branches(listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list) or any(word not in BRANCHES for word in listed):
        raise SpaceError(f"options.removable={listed} must list some of {', '.join(BRANCHES)}")
    return tuple(word for word in BRANCHES if word in listed)


def _depths(listed: Any) -> tuple[int, ...]:
    if not isinstance(listed, list) or not all(is_whole(n) and n >= 1 for n in listed):
        raise SpaceError(f"options.depths={listed} must list numbers of blocks, 1 or more")
    return tuple(sorted(set(listed)))


def _shares(name: str, listed: Any) -> tuple[float, ...]:
    shares = listed if isinstance(listed, list) else [listed]
    if not shares or not all(is_number(share) and 0 < share <= 1 for share in shares):
        raise SpaceError(f"options.{name}={listed} must list shares above 0, at most 1")
    return tuple(sorted(set(map(float, shares))))


def sizes(name: str, full: int, shares: Sequence[float]) -> list[int]:
    """The sizes that shares of a full size stand for, rounded to a friendly multiple.

    Args:
        name: Of the choice.
        full: The network's own size, which is always among them.
        shares: Above 0, at most 1.
    """
    step = _MULTIPLES[name]
    rounded = {min(max(round(share * full / step), 1) * step, full) for share in shares}
    return sorted(rounded | {full})


def space_config(reading: Reading, options: Options) -> dict[str, Any]:
    """The configuration of the space whose largest architecture is the network that was read.

    Raises:
        SpaceError: Options ask for what the network does not allow.
    """
    chosen = {
        name: _of_blocks(reading, name, attribute, getattr(options, name))
        for name, attribute in (
            ("num_heads", "num_heads"),
            ("qk_dim", "head_dim"),
            ("v_dim", "head_dim"),
            ("mlp_hidden", "hidden_dim"),
        )
    }
    merged = {
        name: sorted({size for block in blocks for size in block})
        for name, blocks in chosen.items()
    }
    restrict = {
        f"stages.0.blocks.{index}.{name}": block
        for name, blocks in chosen.items()
        for index, block in enumerate(blocks)
        if block and block != merged[name]
    }
    gone = {
        f"stages.0.blocks.{index}.keep_{branch}": [False]
        for index, block in enumerate(reading.blocks)
        for branch, size in (("attention", block.num_heads), ("mlp", block.hidden_dim))
        if not size
    }
    removable = [
        branch
        for branch in BRANCHES
        if branch in options.removable or any(name.endswith(branch) for name in gone)
    ]
    for index in range(len(reading.blocks)):  # a branch that is there and may not go
        for branch in removable:
            name = f"stages.0.blocks.{index}.keep_{branch}"
            if branch not in options.removable and name not in gone:
                restrict[name] = [True]
    sections = reading.sections
    config: dict[str, Any] = {
        "name": reading.name,
        "image_size": reading.image_size,
        "in_chans": reading.in_chans,
        "patch_sizes": [reading.patch_size],
        "num_blocks": len(reading.blocks),
        "embed_dims": sizes("embed_dim", reading.embed_dim, options.embed_dim),
        "stem": sections["stem"],
        "block": {**sections["block"], "removable": removable},
        "mixer": {
            **sections["mixer"],
            "num_heads": merged["num_heads"],
            "qk_dims": merged["qk_dim"],
            "v_dims": merged["v_dim"],
            "scale_dim": max(merged["qk_dim"]),
        },
        "mlp": {**sections["mlp"], "hidden": merged["mlp_hidden"]},
        "head": sections["head"],
    }
    if options.depths is not None:
        config["depths"] = sorted({*options.depths, len(reading.blocks)})
        if config["depths"][-1] > len(reading.blocks):
            raise SpaceError(
                f"options.depths={list(options.depths)}: {reading.name} has "
                f"{len(reading.blocks)} blocks"
            )
    if restrict or gone:
        config["restrict"] = {**restrict, **gone}
    return config


def _of_blocks(
    reading: Reading, name: str, attribute: str, shares: Sequence[float] | None
) -> list[list[int]]:
    """The options of each block; none where it has nothing of the kind."""
    found: list[list[int]] = []
    for block in reading.blocks:
        full = getattr(block, attribute)
        if not full:
            found.append([])
            continue
        own = (1.0,) if name in reading.fixed else shares
        if own is None:
            count = min(full, _MOST_HEADS)
            own = [part / count for part in range(1, count + 1)]
        found.append(sizes(name, full, own))
    return found
