"""ViTAS, ViT-ResNAS and AutoFormer once more, in plain tensor operations from their papers."""

from __future__ import annotations

import pytest
import torch
from tests.every_space import drawn, perturbed, space_named
from torch.nn import functional as F

from vitsearch import SuperTransformer, build_space


class Weights:
    """The tensors of an extracted network, and the layers that every family has."""

    def __init__(self, state):
        self.state = state

    def __call__(self, name):
        return self.state[name]

    def linear(self, x, name):
        return x @ self(f"{name}.weight").T + self(f"{name}.bias")

    def norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], self(f"{name}.weight"), self(f"{name}.bias"), eps)

    def mlp(self, x, name):
        return self.linear(F.gelu(self.linear(x, f"{name}.fc1")), f"{name}.fc2")

    def tokens(self, maps, patch, name):
        x = F.conv2d(maps, self(f"{name}.weight"), self(f"{name}.bias"), stride=patch)
        prefix = [self(f"{name}.cls_token")]
        if f"{name}.dist_token" in self.state:
            prefix.append(self(f"{name}.dist_token"))
        prefix = [token.expand(len(x), -1, -1) for token in prefix]
        return torch.cat([*prefix, x.flatten(2).mT], 1) + self(f"{name}.pos_embed")

    def depth(self, stage):
        names = {n.split(".")[3] for n in self.state if n.startswith(f"stages.{stage}.blocks.")}
        return len(names)


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(weights, x, name, q, k, v, heads):
    scores = split(q, heads) @ split(k, heads).mT * (q.shape[-1] // heads) ** -0.5
    return weights.linear((scores.softmax(-1) @ split(v, heads)).transpose(1, 2).flatten(2), name)


def blocks(weights, x, stage, mixer, eps):
    for number in range(weights.depth(stage)):
        block = f"stages.{stage}.blocks.{number}"
        x = x + mixer(weights.norm(x, f"{block}.norm1", eps), f"{block}.mixer", number)
        x = x + weights.mlp(weights.norm(x, f"{block}.norm2", eps), f"{block}.mlp")
    return x


def vitas(weights, images, values):
    patch = values["stem.patch_size"]

    def mixer(x, name, number):
        heads = values[f"stages.0.blocks.{number}.num_heads"]
        q, k = weights.linear(x, f"{name}.qk.{heads}").chunk(2, -1)
        v = weights.linear(x, f"{name}.v.shared")
        return attention(weights, x, f"{name}.proj", q, k, v, heads)

    x = weights.tokens(images, patch, f"stem.embeds.{patch}")
    x = weights.norm(blocks(weights, x, 0, mixer, 1e-6), "norm", 1e-5)
    return weights.linear(x[:, 0], "head")


def vit_resnas(weights, images, values):
    def unit(number, x, stride):
        x = F.conv2d(x, weights(f"stem.conv{number}.weight"), stride=stride, padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(weights(f"stem.norm{number}.{name}") for name in names)))

    y = unit(1, images, 2)
    half = values["stem.patch_size"] // 2
    y = y + unit(3, unit(2, y, 1), 1)
    x = weights.tokens(y, half, f"stem.patch.embeds.{half}")
    side = images.shape[-1] // (2 * half)
    for stage in range(3):
        if stage:
            name, after = f"stages.{stage}.transition", -(-side // 2)
            normed = weights.norm(x, f"{name}.norm", 1e-6)
            maps = normed[:, 1:].mT.unflatten(2, (side, side))
            kernel, bias = weights(f"{name}.conv.weight"), weights(f"{name}.conv.bias")
            patches = F.conv2d(maps, kernel, bias, stride=2, padding=1).flatten(2).mT
            patches = patches + weights(f"{name}.pos_embed.{after}x{after}")
            short = x[:, 1:].mT.unflatten(2, (side, side))
            ones = F.avg_pool2d(torch.ones_like(short), 2, ceil_mode=True, divisor_override=1)
            short = F.avg_pool2d(short, 2, ceil_mode=True, divisor_override=1) / ones
            short = torch.cat([x[:, :1], short.flatten(2).mT], 1)
            x = torch.cat([weights.linear(normed[:, :1], f"{name}.token"), patches], 1)
            x = x + F.pad(short, (0, x.shape[-1] - short.shape[-1]))
            side = after
        head_dim = (12, 16, 24)[stage]

        def mixer(x, name, number, head_dim=head_dim):
            q, k, v = weights.linear(x, f"{name}.qkv").chunk(3, -1)
            return attention(weights, x, f"{name}.proj", q, k, v, q.shape[-1] // head_dim)

        x = blocks(weights, x, stage, mixer, 1e-6)
    return weights.linear(weights.norm(x, "norm", 1e-6)[:, 0], "head")


def autoformer(weights, images, values):
    patch = values["stem.patch_size"]
    side = images.shape[-1] // patch
    x = weights.tokens(images, patch, f"stem.embeds.{patch}")
    prefix = x.shape[1] - side**2
    places = torch.arange(side**2)

    def entries(line):
        inner = (line[None] - line[:, None]).clamp(-6, 6) + 7
        return F.pad(inner, (prefix, 0, prefix, 0))

    rows, columns = entries(places // side), entries(places % side)

    def mixer(x, name, number):
        q, k, v = (
            split(t, t.shape[-1] // 12) for t in weights.linear(x, f"{name}.qkv").chunk(3, -1)
        )
        tables = [weights(f"{name}.relative_{what}") for what in ("keys", "values")]
        keys, values = (table[0][rows] + table[1][columns] for table in tables)  # (N, N, 12)
        scores = q @ k.mT + (q.unsqueeze(3) * keys).sum(-1)
        mix = (scores * 12**-0.5).softmax(-1)
        mixed = mix @ v + (mix.unsqueeze(-1) * values).sum(3)
        return weights.linear(mixed.transpose(1, 2).flatten(2), f"{name}.proj")

    x = weights.norm(blocks(weights, x, 0, mixer, 1e-5), "norm", 1e-5)
    logits = weights.linear(x[:, prefix:].mean(1), "head")
    if prefix == 1:
        return logits
    return (logits + weights.linear(x[:, 1], "head_dist")) / 2


SPACES = {
    "vitas": (space_named("vitas"), vitas),
    "vit_resnas": (space_named("vit_resnas"), vit_resnas),
    "autoformer": (space_named("autoformer"), autoformer),
    "autoformer with distillation": (
        build_space("autoformer", **{"head.distillation": True, "image_size": 24}),
        autoformer,
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", SPACES)
def test_networks_are_the_papers(name, images):
    space, reference = SPACES[name]
    torch.manual_seed(0)
    network = perturbed(SuperTransformer(space, 5)).double().eval()
    x = images(network)
    for architecture in drawn(space, 8):
        state = network.extract(architecture).state_dict()
        expected = reference(Weights(state), x, architecture)
        torch.testing.assert_close(network(x, architecture), expected, rtol=0, atol=1e-11)


@torch.no_grad()
def test_what_each_classifier_says(images):
    space = space_named("AutoFormer in three stages")
    network = perturbed(SuperTransformer(space, 5)).double().eval()
    x = images(network)
    for architecture in drawn(space, 3):
        plan = space.plan(architecture)
        (tokens,) = network.run_features(x, plan)
        said = network.run(x, plan, patches=True)
        assert torch.equal((said.logits + said.distillation) / 2, network(x, architecture))
        width = plan.head.embed_dim
        head = network.head_patch
        expected = tokens[:, 2:] @ head.weight[:, :width].T + head.bias
        torch.testing.assert_close(said.patches, expected, rtol=0, atol=1e-12)
        # Shipped networks do without the patch head, and the cost does not count it.
        extracted = network.extract(architecture)
        assert extracted.head_patch is None
        assert sum(p.numel() for p in extracted.parameters()) == network.cost(architecture).params
