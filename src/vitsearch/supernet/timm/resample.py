"""Position embeddings for another image size: bicubic on the patch grid, prefix tokens kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from vitsearch.errors import CheckpointError

POSITIONS = re.compile(r"(?P<module>.*\.)pos_embed(\.(?P<rows>\d+)x(?P<columns>\d+))?")
PREFIX_TOKENS = ("cls_token", "dist_token")


def resample_positions(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state dict of our names whose position embeddings fit a network of another image size.

    Every one is resampled: the stem's, those private to a patch size, and those of transitions
    between stages, which have their grid in their name and get the new name. Other tensors, and
    embeddings that fit, are passed on as they are.

    Args:
        state: Weights of the same architecture, or supernet, at its own image size.
        network: What they are to fit; its image size is read off its own embeddings.

    Raises:
        CheckpointError: A position embedding is not that of a square grid, or the state has other
            ones than the network.
    """
    wanted = network.state_dict()
    new_names = _new_names(state, wanted)
    return {
        new_names.get(name, name): _resampled(name, tensor, new_names[name], wanted, network)
        if name in new_names
        else tensor
        for name, tensor in state.items()
    }


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
