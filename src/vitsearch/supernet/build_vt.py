"""The layers of Visual Transformers' modules, from their plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitsearch.elastic import Axis
from vitsearch.elastic.layers.vt.fpn import ElasticFpn, ElasticVtFpn
from vitsearch.elastic.layers.vt.heads import VtAxes
from vitsearch.elastic.layers.vt.module import ElasticVt
from vitsearch.elastic.layers.vt.projector import ElasticProjector
from vitsearch.elastic.layers.vt.token_layer import ElasticRelation, ElasticTokenLayer
from vitsearch.elastic.layers.vt.tokenizer import ElasticTokenizer
from vitsearch.spaces.parts import FpnPlan, VtPlan
from vitsearch.supernet.build import layer_for
from vitsearch.supernet.heads import head_for


def _axis(widths: Iterable[int]) -> Axis | None:
    found = sorted(set(widths) - {0})
    return Axis(found) if found else None


@layer_for(VtPlan)
def _vt(plans: Sequence[VtPlan]) -> ElasticVt:
    first = plans[0]
    normed = first.norm != "none"
    dims = _axis(plan.sizes.token_dim for plan in plans)
    halves = _axis(plan.sizes.token_dim // 2 for plan in plans)
    inputs = _axis(plan.sizes.in_dim for plan in plans)
    counts = _axis(plan.sizes.num_tokens for plan in plans)
    assert dims is not None
    assert halves is not None
    assert inputs is not None
    assert counts is not None
    axes = VtAxes(
        in_dim=inputs,
        out_dim=_axis(plan.sizes.out_dim for plan in plans),
        token_dim=dims,
        half_dim=halves,
        hidden_dim=_axis(plan.hidden_dim for plan in plans),
        num_tokens=counts,
        query_columns=_axis(plan.query_columns for plan in plans),
    )
    ways = {plan.sizes.tokenizer for plan in plans} - {"none"}
    layers: list[ElasticTokenLayer | ElasticRelation]
    if first.relation == "transformer":
        most = max(plan.num_layers for plan in plans)
        layers = [ElasticTokenLayer(axes, first.token_group, normed=normed) for _ in range(most)]
    else:
        layers = [ElasticRelation(axes, graph=first.relation == "graph")]
    return ElasticVt(
        ElasticTokenizer(axes, ways, first.pixel_group, normed=normed) if ways else None,
        layers,
        None
        if axes.out_dim is None
        else ElasticProjector(
            axes, normed=normed, has_shortcut=any(plan.has_shortcut for plan in plans)
        ),
    )


@head_for(FpnPlan)
def _fpn(plans: Sequence[FpnPlan], num_classes: int) -> ElasticFpn:
    first = plans[0]
    in_dims = [
        Axis(sorted({plan.levels[i].in_dim for plan in plans})) for i in range(len(first.levels))
    ]
    if first.relation is None:
        return ElasticFpn(in_dims, first.embed_dim, num_classes)
    own = first.relation
    dim, width = own.sizes.token_dim, Axis([first.embed_dim])
    axes = VtAxes(
        in_dim=width,
        out_dim=width,
        token_dim=Axis([dim]),
        half_dim=Axis([dim // 2]),
        hidden_dim=Axis([own.hidden_dim]),
        num_tokens=Axis([first.tokens[0].sizes.num_tokens]),
        query_columns=Axis([own.query_columns]),
    )
    return ElasticVtFpn(
        in_dims,
        first.embed_dim,
        num_classes,
        axes=axes,
        pixel_group=own.pixel_group,
        token_group=own.token_group,
        normed=own.norm != "none",
    )
