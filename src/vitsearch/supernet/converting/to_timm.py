"""A network of converted parts as timm's own class again, with the same outputs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.layers.vit.rope_attention import ElasticRopeAttention
from vitsearch.errors import ConfigError
from vitsearch.spaces.parts import (
    BeitAttentionPlan,
    ClassifierPlan,
    RopeAttentionPlan,
    VitAttentionPlan,
    VitBlockPlan,
    VitMlpPlan,
    VitStemPlan,
)
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.converting.timm_modules import (
    attention_kind,
    attention_layers,
    rope_of,
    timm_modules,
)
from vitsearch.supernet.converting.timm_positions import (
    learned_frequencies,
    rope_of_timm,
    why_not,
)
from vitsearch.supernet.converting.weights import (
    BIASES,
    BLOCKS,
    GAMMAS,
    pack_state,
    with_all_pairs,
)

if TYPE_CHECKING:
    from vitsearch.supernet.vision_transformer import VisionTransformer

TIMM_VIT = "vitsearch_vit"
"""The name under which timm builds such a network again, from a space and an architecture."""
_SOURCES = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict")


def to_timm(network: VisionTransformer) -> nn.Module:
    """A network as timm's own class; a copy.

    Its outputs equal the network's up to rounding. Every block is timm's `Block` with an attention
    and an MLP of its own sizes; a branch that is left out adds zeros, and a block without branches
    is left out. The class is `VisionTransformer` or `VisionTransformerDistilled`, `Eva` where
    queries and keys are rotated by their positions, and `Beit` where attention has a table of
    relative positions.

    timm scales scores by the root of its own head dimension, so the difference of scales goes into
    the weights of the queries (or of their norm). timm's heads have one width: where that of
    queries and keys differs from that of values, the narrower ones are padded with zeros, which
    costs MACs and parameters that this network does not have. So are pairs of channels that a
    rotation lacks: timm's `Eva` has one for all heads. Heads of timm's `Beit` have as many channels
    in all as the tokens; fewer heads are refused there.

    Class names, preprocessing, pooling, dropout rates, dtype, device and mode go along; a
    classifier of patch tokens, which is for training, does not.

    Args:
        network: Of a space whose stem, blocks, mixers and MLPs are those of timm's vision
            transformers, as `from_timm` makes it.

    Raises:
        ConfigError: A part has no counterpart in timm's class (the message names it), or the
            network was cut to its features.
    """
    plan = network.plan
    check_timm_can(network.space.name, plan, network.global_pool)
    if plan != network.space.plan(network.architecture).renumbered():
        raise ConfigError(
            f"the network is no whole architecture of space {network.space.name} any more (its "
            f"features were cut off), so it cannot be made a network of timm"
        )
    blocks = [node for node in plan.nodes if node.slot is not None]
    pool = network.attn_pool if network.global_pool == "map" else None
    with torch.device("meta"):  # all weights are replaced
        made = timm_modules(
            plan,
            num_classes=network.num_classes,
            global_pool=network.global_pool,
            attention_pool=None if pool is None else copy.deepcopy(pool.layer),
            drop_rate=float(getattr(network.head_drop, "p", 0.0)),
            drop_path_rates=[_drop_path_rate(network.get_submodule(n.name)) for n in blocks],
        )
    like, rope = next(network.parameters()), rope_of(plan)
    if rope is not None:
        made.rope = _rotation(network, rope, len(made.blocks)).to(like)
    made.load_state_dict(_weights(network), assign=True)
    _fill_buffers(made, like)
    made.grad_checkpointing = network.grad_checkpointing
    made.pretrained_cfg = made.default_cfg = _pretrained_cfg(network)
    made._model_args = {
        "space": network.space.config,
        "architecture": network.architecture.to_dict(),
        "num_classes": network.num_classes,
    }
    return made.train(network.training)  # type: ignore[no-any-return]


def _rotation(network: VisionTransformer, rope: RopeAttentionPlan, depth: int) -> nn.Module:
    """The rotation of queries and keys of all blocks: timm's module, which the network has, too."""
    if rope.rope.kind == "mixed":
        learned: nn.Module = learned_frequencies(rope, depth)
        return learned
    layers = (one for one in network.modules() if isinstance(one, ElasticRopeAttention))
    rotation: nn.Module = copy.deepcopy(next(layers).tables.rotation)
    return rotation


def _fill_buffers(made: nn.Module, like: Tensor) -> None:
    """Make what follows from the grid of patches, and is not among the weights."""
    for module in made.modules():
        missing = {n: b for n, b in module.named_buffers(recurse=False) if b.is_meta}
        for name, buffer in missing.items():
            dtype = like.dtype if buffer.is_floating_point() else buffer.dtype
            setattr(module, name, torch.empty_like(buffer, device=like.device, dtype=dtype))
        if missing:
            module.init_non_persistent_buffers()  # type: ignore[operator]


def check_timm_can(name: str, plan: Plan, global_pool: str | None = None) -> None:
    """Check that timm's class has a counterpart of every part of a plan.

    Args:
        name: Of the space, for the message.
        plan: The sizes of a network.
        global_pool: timm's name of its pool, if it is not the plan's.

    Raises:
        ConfigError: It has none.
    """

    def refuse(where: str, reason: str) -> ConfigError:
        return ConfigError(
            f"a network of space {name} cannot be made a network of timm: {where}: {reason}"
        )

    def expect(where: str, part: object, wanted: type) -> Any:
        if type(part) is not wanted:
            found = type(part).__name__.removesuffix("Plan")
            raise refuse(where, f"it is a {found}, not a {wanted.__name__.removesuffix('Plan')}")
        return part

    stem = expect("stem", plan.stem, VitStemPlan)
    head = expect("head", plan.head, ClassifierPlan)
    if len(plan.stages) > 1:
        raise refuse("stages", f"there are {len(plan.stages)}, timm's class has one")
    for node in plan.nodes:
        if node.slot is None:
            continue
        block = expect(node.name, node.plan, VitBlockPlan)
        if block.tokens is not None:
            raise refuse(node.name, "its tokens become fewer; those of timm's blocks do not")
        if block.mlp.inner is not None:
            expect(f"{node.name}.mlp", block.mlp.inner, VitMlpPlan)
        if block.mixer.inner is not None:
            where, attention = f"{node.name}.attn", block.mixer.inner
            kinds = (RopeAttentionPlan, BeitAttentionPlan)
            wanted = type(attention) if isinstance(attention, kinds) else VitAttentionPlan
            attention = expect(where, attention, wanted)
            if reason := _padded_norm(attention):
                raise refuse(where, reason)
            scaled = block.mixer.layer_scale, block.mlp.layer_scale
            if isinstance(attention, BeitAttentionPlan) and scaled[0] != scaled[1]:
                raise refuse(node.name, "timm's Beit has LayerScale in both branches or in none")
    pool = head.pool if global_pool is None else global_pool
    for where, reason in why_not(stem, head, pool, attention_layers(plan)).items():
        raise refuse(where, reason)
    if stem.distillation:
        plain = stem.class_token and stem.positions == "all" and not stem.registers
        if not plain or head.pool != "token" or head.pool_norm is not None:
            raise refuse(
                "head",
                "with a distillation token, timm's class has no register tokens, positions for "
                "all tokens, pool token and no norm behind it",
            )


def _padded_norm(plan: VitAttentionPlan) -> str:
    """Why the narrower of queries and values cannot be padded; empty if it can."""
    plan = rope_of_timm(plan)
    widths = f"heads have {plan.qk_dim} channels of queries and {plan.head_dim} of values"
    if plan.qk_norm is not None and plan.head_dim > plan.qk_dim:
        return f"{widths}, and the norm of queries would see the channels that pad them"
    if plan.inner_norm is not None and plan.qk_dim > plan.head_dim:
        return f"{widths}, and the norm of the joined heads would see the channels that pad them"
    return ""


def _weights(network: VisionTransformer) -> dict[str, Tensor]:
    """Copies of the weights under timm's names, for the blocks that have branches."""
    state = {
        name: tensor.detach().clone()
        for name, tensor in network.state_dict().items()
        if not name.startswith("head_patch.")
    }
    if network.global_pool != "map":
        state = {name: t for name, t in state.items() if not name.startswith("attn_pool.")}
    gate, kept = "none", 0
    renamed: dict[str, str] = {}
    kind, rope = attention_kind(network.plan), rope_of(network.plan)
    for node in network.plan.nodes:
        if node.slot is None:
            continue
        block: Any = node.plan
        attention, mlp = block.mixer.inner, block.mlp.inner
        if attention is not None:
            path, whole = f"{node.name}.attn.", rope_of_timm(attention)
            if isinstance(whole, RopeAttentionPlan):
                with_all_pairs(state, path, full=whole.num_pairs, half=whole.rope.half)
            _fit_heads(state, path, whole, has_key_bias=kind is not BeitAttentionPlan)
        elif mlp is not None and rope is not None and rope.rope.kind == "mixed":
            shape = (2, rope.num_heads, rope_of_timm(rope).num_pairs)  # of no use, and no harm
            state[f"{node.name}.attn.freqs"] = next(network.parameters()).new_zeros(shape)
        if mlp is not None:
            gate = mlp.gate
        if kind is BeitAttentionPlan:  # what scales nothing
            for number, branch in ((1, block.mixer), (2, block.mlp)):
                if branch.inner is None and branch.layer_scale:
                    ones = next(network.parameters()).new_ones(block.embed_dim)
                    state[f"{node.name}.ls{number}.gamma"] = ones
        if attention is not None or mlp is not None:
            renamed[f"{node.name}."] = f"{BLOCKS}blocks.{kept}."
            kept += 1
    for old, new in renamed.items():  # in order: a new name is never one that is still to come
        for name in [name for name in state if name.startswith(old)]:
            state[new + name.removeprefix(old)] = state.pop(name)
    names = {RopeAttentionPlan: GAMMAS, BeitAttentionPlan: {**GAMMAS, **BIASES}}
    return pack_state(state, gate, renamed=names.get(kind))


def _fit_heads(
    state: dict[str, Tensor], path: str, plan: VitAttentionPlan, *, has_key_bias: bool
) -> None:
    """Give queries, keys and values one width, and the queries the factor of timm's scale."""
    heads, full = plan.num_heads, max(plan.qk_dim, plan.head_dim)
    if plan.qkv_bias == "qv" and has_key_bias:  # timm's one bias has that of the keys, too
        state[f"{path}k.bias"] = torch.zeros_like(state[f"{path}q.bias"])
    for name, width in (("q", plan.qk_dim), ("k", plan.qk_dim), ("v", plan.head_dim)):
        for leaf in ("weight", "bias"):
            key = f"{path}{name}.{leaf}"
            if key in state and width < full:
                rows = state[key].reshape(heads, width, *state[key].shape[1:])
                padding = (0, 0) * (rows.dim() - 2) + (0, full - width)
                state[key] = F.pad(rows, padding).flatten(0, 1)
    if plan.head_dim < full:
        weight = state[f"{path}proj.weight"]
        columns = weight.reshape(len(weight), heads, plan.head_dim)
        state[f"{path}proj.weight"] = F.pad(columns, (0, full - plan.head_dim)).flatten(1)
    if full != plan.scale_dim:
        scaled = "q" if plan.qk_norm is None else "q_norm"
        for leaf in ("weight", "bias"):
            key = f"{path}{scaled}.{leaf}"
            if key in state:
                state[key] = state[key] * (full / plan.scale_dim) ** 0.5


def _drop_path_rate(block: nn.Module) -> float:
    return float(getattr(getattr(block, "drop_path", None), "drop_prob", 0.0) or 0.0)


def _pretrained_cfg(network: VisionTransformer) -> dict[str, Any]:
    """What timm wants to know, under the names of its own modules."""
    own = {key: value for key, value in network.pretrained_cfg.items() if key not in _SOURCES}
    distilled = network.head_plan.distillation
    own |= {
        "architecture": TIMM_VIT,
        "first_conv": "patch_embed.proj",
        "classifier": ("head", "head_dist") if distilled else "head",
        "num_classes": network.num_classes,
    }
    if network.class_names is not None:
        own["label_names"] = list(network.class_names)
    return own
