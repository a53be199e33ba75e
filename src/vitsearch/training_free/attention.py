"""Which weights of a network belong to attention: projections to queries, keys, values and back."""

from __future__ import annotations

from timm.layers import AttentionPoolLatent
from torch import nn

from vitsearch.elastic import ElasticPrivateAttention
from vitsearch.elastic.layers.attention import ElasticHeads
from vitsearch.elastic.layers.hr.light_transformer import ElasticLightTransformer
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention
from vitsearch.elastic.layers.vt.token_layer import ElasticTokenLayer
from vitsearch.training_free.saliency import weight_names

_WHOLE = (ElasticHeads, ElasticPrivateAttention, ElasticVitAttention)
"""Layers that are nothing but attention."""
_PARTS: dict[type[nn.Module], tuple[str, ...]] = {
    AttentionPoolLatent: ("q", "kv", "proj"),
    ElasticLightTransformer: (
        "encoder.qkv",
        "encoder.out",
        "decoder.q",
        "decoder.kv",
        "decoder.out",
    ),
    ElasticTokenLayer: ("query", "key", "value"),
}
"""Of layers that hold an MLP as well, the parts that are attention."""


def attention_weights(network: nn.Module) -> set[str]:
    """The names of the weights that attention projects with."""
    found = set()
    for path, module in network.named_modules():
        for part in _parts(module):
            name = ".".join(filter(None, (path, part)))
            found |= {f"{name}.{own}" for own in weight_names(network.get_submodule(name))}
    return found


def has_attention(network: nn.Module) -> bool:
    """Whether there is an attention layer."""
    return any(_parts(module) for module in network.modules())


def _parts(module: nn.Module) -> tuple[str, ...]:
    """Where attention stands in a module, by dotted names; `("",)` where it is all of it."""
    if isinstance(module, _WHOLE):
        return ("",)
    return next((parts for kind, parts in _PARTS.items() if isinstance(module, kind)), ())
