"""Position embeddings for another image size: bicubic on the patch grid, prefix tokens kept.

Tables of relative positions are resampled, too, as timm does it for BEiT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt

from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from torch import Tensor, nn

from vitsearch.errors import CheckpointError

POSITIONS = re.compile(r"(?P<module>.*\.)pos_embed(\.(?P<rows>\d+)x(?P<columns>\d+))?")
PREFIX_TOKENS = ("cls_token", "dist_token")
RELATIVE_TABLE = ".relative_position_bias_table"
CLASS_TOKEN_DISTANCES = 3
"""Rows at the end of such a table: from the class token to patches, back, and to itself."""


def resample_positions(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state dict of our names whose position embeddings fit a network of another image size.

    Every one is resampled: the stem's, those private to a patch size, and those of transitions
    between stages, which have their grid in their name and get the new name. So are tables of
    relative positions. Other tensors, and those that fit, are passed on as they are.

    Args:
        state: Weights of the same architecture, or supernet, at its own image size.
        network: What they are to fit; its image size is read off its own embeddings.

    Raises:
        CheckpointError: A position embedding or a table is not that of a square grid, or the state
            has other ones than the network.
    """
    wanted = network.state_dict()
    new_names = _new_names(state, wanted)
    found = {}
    for name, tensor in state.items():
        if name in new_names:
            found[new_names[name]] = _resampled(name, tensor, new_names[name], wanted, network)
        elif name.endswith(RELATIVE_TABLE) and name in wanted:
            found[name] = _resampled_table(name, tensor, wanted[name])
        else:
            found[name] = tensor
    return found


def _resampled_table(name: str, table: Tensor, target: Tensor) -> Tensor:
    """A table of relative positions (distances, heads) for another grid of patches."""
    if len(table) == len(target):
        return table
    old, new = _window(name, table), _window(name, target)
    resampled: Tensor = resize_rel_pos_bias_table(
        table.detach(),
        new_window_size=(new, new),
        new_bias_shape=(len(target), table.shape[1]),
        old_window_size=(old, old),
    )
    return resampled


def _window(name: str, table: Tensor) -> int:
    """The side of the square grid of patches that a table is for."""
    across = isqrt(max(len(table) - CLASS_TOKEN_DISTANCES, 0))
    if across % 2 == 0 or across**2 != len(table) - CLASS_TOKEN_DISTANCES:
        raise CheckpointError(
            f"{name} {tuple(table.shape)} is no table of relative positions of a class token and a "
            f"square grid"
        )
    return (across + 1) // 2


def _new_names(state: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """The network's name for each position embedding; grids of a module correspond by size."""
    old, new = _by_module(state), _by_module(wanted)
    names: dict[str, str] = {}
    for module in old.keys() & new.keys():
        if len(old[module]) != len(new[module]):
            raise CheckpointError(
                f"{module}pos_embed has {len(old[module])} grids for {len(new[module])} patch sizes"
            )
        names.update(zip(old[module], new[module], strict=True))
    return names


def _by_module(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if match := POSITIONS.fullmatch(name):
            patches = int(match["rows"] or 0) * int(match["columns"] or 0)
            found.setdefault(match["module"], []).append((patches, name))
    return {module: [name for _, name in sorted(several)] for module, several in found.items()}


def _resampled(
    name: str,
    positions: Tensor,
    new_name: str,
    wanted: Mapping[str, Tensor],
    network: nn.Module,
) -> Tensor:
    target = wanted[new_name]
    if name == new_name and positions.shape == target.shape:
        return positions
    num_prefix_tokens = _prefix_positions(new_name.partition("pos_embed")[0], wanted, network)
    resampled: Tensor = resample_abs_pos_embed(
        positions,
        _grid(new_name, target, num_prefix_tokens),
        _grid(name, positions, num_prefix_tokens),
        num_prefix_tokens=num_prefix_tokens,
    )
    return resampled


def _prefix_positions(module: str, wanted: Mapping[str, Tensor], network: nn.Module) -> int:
    """How many of a module's positions belong to tokens in front of the patches."""
    stated = getattr(network.get_submodule(module.rstrip(".")), "num_position_prefix", None)
    if stated is not None:
        return int(stated)
    # Prefix tokens lie beside the embedding that counts them; transitions have none.
    return sum(module + token in wanted for token in PREFIX_TOKENS)


def _grid(name: str, positions: Tensor, num_prefix_tokens: int) -> list[int]:
    match = POSITIONS.fullmatch(name)
    patches = positions.shape[1] - num_prefix_tokens if positions.dim() == 3 else 0
    side = isqrt(max(patches, 0))
    grid = [int(match["rows"]), int(match["columns"])] if match and match["rows"] else [side, side]
    if patches < 1 or grid[0] * grid[1] != patches:
        raise CheckpointError(
            f"{name} {tuple(positions.shape)} is no position embedding of {num_prefix_tokens} "
            f"prefix tokens and a grid"
        )
    return grid
