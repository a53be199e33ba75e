"""Tokens behind single blocks, normalised as those that the head reads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vitsearch.elastic import Context
from vitsearch.elastic.layers.tokens.flow import FewTokens, spread
from vitsearch.elastic.layers.tokens.predictor import predicts
from vitsearch.errors import ConfigError
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.plan import Node, Plan
from vitsearch.supernet.network import ElasticTransformer

NORM = "norm"


def token_blocks(plan: Plan) -> list[Node]:
    """The blocks of a plan that give tokens, in order."""
    return [node for node in plan.nodes if node.slot is not None and isinstance(node.shape, Tokens)]


def block_names(plan: Plan, layers: Sequence[int]) -> tuple[str, ...]:
    """The nodes that layers stand for.

    Args:
        plan: Of the network.
        layers: Indices into its blocks of tokens; negative ones count from the last.

    Raises:
        ConfigError: There is no such block.
    """
    if not layers:
        return ()
    blocks = token_blocks(plan)
    for layer in layers:
        if not -len(blocks) <= layer < len(blocks):
            raise ConfigError(
                f"layers={list(layers)}: a network has {len(blocks)} blocks of tokens; {layer} is "
                f"none of them"
            )
    return tuple(blocks[layer].name for layer in layers)


def deciding_blocks(plan: Plan) -> tuple[str, ...]:
    """The blocks with a predictor of tokens, in order."""
    return tuple(name for name, step in plan.token_steps.items() if predicts(step))


def decisions(x: Tensor | FewTokens, plan: Plan) -> Tensor:
    """(B, patches) which patch tokens behind a block in training have not been dropped."""
    assert isinstance(x, FewTokens)
    return x.counts[:, plan.head.num_prefix_tokens :]


def normalised(
    network: ElasticTransformer, x: Tensor | FewTokens, plan: Plan, context: Context
) -> Tensor:
    """Tokens (B, N, C) behind the final norm; as they are where there is none of their width.

    Where tokens have become fewer, each patch has the one that it went into.
    """
    last = plan.nodes[-1]
    tokens: Tensor = spread(x)
    if last.name != NORM or last.plan.embed_dim != tokens.shape[-1]:
        return tokens
    return network.layer(NORM)(tokens, last.plan, context)  # type: ignore[no-any-return]
