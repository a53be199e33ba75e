"""Published networks by timm's names, and timm's own tools on them."""

from __future__ import annotations

import copy
import json
import random
import re
import warnings

import pytest
import timm
import torch
from tests.every_space import SMALL, perturbed, quick_space, space_named
from timm.optim import create_optimizer_v2, param_groups_layer_decay

import vitsearch
from vitsearch import VisionTransformer, list_published, load_model, save_model
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.spaces.published import family_of
from vitsearch.spaces.resizing import resized_for

SIZES = {
    "glit": 32,
    "vitas": 32,
    "autoformer": 32,
    "vit_resnas": 56,
    "resnet": 32,
    "vt": 64,
    "hr_nas": 32,
}


def small_size(name):
    return SIZES[family_of(name)]


def small(name="glit_tiny", **options):
    """Widths and depths are the paper's; images are small."""
    return timm.create_model(f"vitsearch_{name}", img_size=small_size(name), **options)


def of_space(name, **options):
    space = space_named(name)
    torch.manual_seed(0)
    return VisionTransformer(space, space.sample(random.Random(0)), 5, **options)


def test_timm_lists_them():
    names = [f"vitsearch_{name}" for name in list_published()]
    assert sorted(timm.list_models("vitsearch_*", exclude_filters="vitsearch_vit")) == names
    assert set(timm.list_models(module="timm_models")) == {"vitsearch", *names}
    for name in names:
        assert timm.is_model(name)
        assert timm.model_entrypoint(name).__name__ == name
        assert not timm.models.is_model_pretrained(name)


@pytest.fixture
def quick_weights(monkeypatch):
    """Plain normal weights, which are drawn faster than truncated ones."""
    for name in ("trunc_normal_", "xavier_uniform_", "kaiming_normal_"):
        monkeypatch.setattr(
            torch.nn.init, name, lambda tensor, **_: torch.nn.init.normal_(tensor, std=0.05)
        )


@pytest.mark.parametrize("name", list_published())
@pytest.mark.usefixtures("quick_weights")
def test_every_published_network(name, images):
    network = small(name, num_classes=7, drop_path_rate=0.1).eval()
    expected, architecture = vitsearch.published(name)
    assert network.architecture == architecture
    assert network.space == resized_for(expected, architecture, image_size=small_size(name))
    x = images(network)
    with torch.no_grad():
        tokens, features = network.forward_intermediates(x)
        assert torch.equal(tokens, network.forward_features(x))
        assert network(x).shape == (2, 7)
    widths = [f.shape[1] if f.dim() == 4 else f.shape[2] for f in features]
    assert widths == [info["num_chs"] for info in network.feature_info]
    scales = {}
    for group in param_groups_layer_decay(network, layer_decay=0.5):
        for parameter in group["params"]:
            scales[parameter] = group["lr_scale"]
    assert scales[network.head.weight] == 1
    assert {scales[p] for p in network.stem.parameters()} == {min(scales.values())}
    blocks = [block for stage in network.stages for block in stage.blocks]
    of_blocks = [scales[next(block.parameters())] for block in blocks]
    assert of_blocks == sorted(set(of_blocks))
    transitions = [stage.transition for stage in network.stages if stage.transition is not None]
    of_transitions = [scales[transition.norm.weight] for transition in transitions]
    assert min(scales.values()) == 0.5 ** (len(blocks) + len(transitions) + 1)
    assert sorted({*of_blocks, *of_transitions}) == sorted([*of_blocks, *of_transitions])


@pytest.mark.parametrize("name", list_published())
def test_timm_knows_their_configuration_without_building_them(name):
    registered = timm.models.get_pretrained_cfg(f"vitsearch_{name}").to_dict()
    with torch.device("meta"):
        network = vitsearch.create_model(name)
        other = timm.create_model(f"vitsearch_{name}")
    assert not network.has_stated_preprocessing
    assert not other.has_stated_preprocessing
    for built in (network.pretrained_cfg, other.pretrained_cfg):
        shared = built.keys() & registered.keys() - {"architecture"}
        assert {key: built[key] for key in shared} == {key: registered[key] for key in shared}
    assert other.pretrained_cfg["architecture"] == f"vitsearch_{name}"
    first = network.get_submodule(registered["first_conv"])
    assert first.weight.shape[1] == 3
    assert network.get_submodule(registered["classifier"]) is network.head


def test_arguments():
    network = small(num_classes=3, in_chans=1, global_pool="avg", drop_rate=0.5, drop_path_rate=0.2)
    assert (network.num_classes, network.in_chans, network.global_pool) == (3, 1, "avg")
    assert network.head_drop.p == 0.5
    assert network.stages[0].blocks[-1].drop_path.drop_prob == pytest.approx(0.2)
    config = timm.data.resolve_data_config({}, model=network)
    assert config["input_size"] == (1, 32, 32)
    assert config["mean"] == (0.449,)
    assert small(dtype=torch.float64, device="meta").head.weight.device.type == "meta"
    assert small(global_pool="").global_pool == ""
    assert small(num_classes=0)(torch.randn(2, 3, 32, 32)).shape == (2, 192)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"pretrained": True}, ConfigError, "pretrained=True: vitsearch_glit_tiny has no weights"),
        ({"patch_size": 8}, ConfigError, "takes no patch_size=8; legal: num_classes, in_chans"),
        ({"img_size": (32, 48)}, ConfigError, "img_size=(32, 48) must be one number"),
        ({"img_size": 33}, SpaceError, "patch_size 16 does not divide image_size 33"),
        ({"global_pool": "prr"}, ConfigError, "global_pool='prr' is not one of 'token', 'avg', "),
        ({"global_pool": "map"}, ConfigError, "space glit_tiny has no head.attention_pool"),
        ({"drop_rate": 1.0}, ConfigError, "drop_rate=1.0"),
        ({"num_classes": -1}, ConfigError, "num_classes=-1"),
    ],
    ids=str,
)
def test_arguments_that_are_not_legal(options, error, words):
    with pytest.raises(error, match=re.escape(words)):
        timm.create_model("vitsearch_glit_tiny", **options)
    with pytest.raises(ConfigError, match=r"needs space=... and architecture=...; .*glit_tiny"):
        timm.create_model("vitsearch", **options)


@pytest.mark.parametrize("name", ["glit_tiny", "vit_resnas_tiny"])
@torch.no_grad()
def test_features_only(name):
    backbone = small(name, features_only=True, in_chans=1).eval()
    maps = backbone(torch.randn(2, 1, small_size(name), small_size(name)))
    assert [m.shape[1] for m in maps] == backbone.feature_info.channels()
    sides = [small_size(name) // reduction for reduction in backbone.feature_info.reduction()]
    assert [m.shape[2] for m in maps] == sides
    if name == "glit_tiny":  # the last three blocks, as timm's plain vision transformers
        assert backbone.feature_info.module_name() == [f"stages.0.blocks.{i}" for i in (9, 10, 11)]
    else:
        assert backbone.feature_info.channels() == [176, 352, 704]
        assert backbone.feature_info.reduction() == [14, 28, 56]
    config = timm.data.resolve_data_config({}, model=backbone)
    assert config["input_size"] == (1, small_size(name), small_size(name))
    assert config["mean"] == (0.449,)
    first = small(name, features_only=True, out_indices=[0])
    assert len(first.model.stages) == 1
    assert len(first(torch.randn(1, 3, small_size(name), small_size(name)))) == 1


@torch.no_grad()
def test_any_architecture_by_its_description(images):
    network = perturbed(of_space("vit_resnas")).eval()
    described = {
        "space": network.space.config,
        "architecture": json.loads(json.dumps(network.architecture.to_dict())),
    }
    again = timm.create_model("vitsearch", num_classes=5, **described).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(images(network)), network(images(network)))
    assert again.pretrained_cfg["input_size"] == (1, 28, 28)
    largest = vitsearch.build_space("glit").largest()
    assert timm.create_model("vitsearch", space="glit", architecture=largest).space.name == "glit"


@torch.no_grad()
def test_weights_from_a_file(tmp_path, images):
    network = perturbed(small()).eval()
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, file)
    x = images(network)
    loaded = small(checkpoint_path=str(file)).eval()
    assert torch.equal(loaded(x), network(x))
    other = small()
    timm.models.load_checkpoint(other, str(file))
    assert torch.equal(other.eval()(x), network(x))
    source = {"file": str(file), "input_size": (3, 32, 32), "mean": (0.5,) * 3}
    options = {"pretrained": True, "pretrained_cfg_overlay": source}
    same = small(**options).eval()
    assert torch.equal(same(x), network(x))
    assert same.has_stated_preprocessing
    assert same.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    adapted = timm.create_model(
        "vitsearch_glit_tiny", img_size=64, in_chans=1, num_classes=2, **options
    )
    assert adapted(torch.randn(2, 1, 64, 64)).shape == (2, 2)
    inherited = "stages.0.blocks.0.mlp.fc1.weight"
    assert torch.equal(adapted.state_dict()[inherited], network.state_dict()[inherited])


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_another_input_size(name, images, tmp_path):
    space = quick_space(name)
    network = perturbed(VisionTransformer(space, space.sample(random.Random(1)), 5)).eval()
    x, size = images(network), network.space.image_size
    before = {n: p.clone() for n, p in network.named_parameters()}
    expected = network(x)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.requires_grad_(False)
    other.set_input_size((2 * size, 2 * size))
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert other.space == network.space.resized(image_size=2 * size)
    assert other.pretrained_cfg["input_size"][1:] == (2 * size, 2 * size)
    if hasattr(timm.models, "get_model_input_config"):  # of later versions
        assert timm.models.get_model_input_config(other)["input_size"][1:] == (2 * size, 2 * size)
    larger = images(other)
    assert other(larger).shape == (2, 5)
    fresh = VisionTransformer(other.space, other.architecture, 5).eval()
    fresh.load_state_dict(vitsearch.supernet.resample_positions(before, fresh), strict=False)
    fresh.load_state_dict({n: b for n, b in network.named_buffers()}, strict=False)
    assert torch.equal(other(larger), fresh.requires_grad_(False)(larger))
    loaded = load_model(save_model(other, tmp_path / "model")).requires_grad_(False)
    assert torch.equal(loaded(larger), other(larger))  # torch has other kernels for learning
    network.set_input_size(size)  # nothing to do
    assert torch.equal(network(x), expected)
    assert all(p.requires_grad for p in network.parameters())
    if not network.space.body.takes_any_shape:
        with pytest.raises(ConfigError, match="images are square"):
            network.set_input_size((size, 2 * size))
        return
    network.set_input_size((size, 2 * size))
    wide = torch.randn(2, *network.space.input_shape)
    assert wide.shape[2:] == (size, 2 * size)
    loaded = load_model(save_model(network, tmp_path / "wide"))
    assert torch.equal(loaded(wide), network(wide))


def test_another_pooling(images, tmp_path):
    network = perturbed(small(num_classes=4)).eval()
    x = images(network)
    with torch.no_grad():
        tokens = network.forward_features(x)
        network.reset_classifier(3, "avg")
        pooled = network.forward_head(tokens, pre_logits=True)
        torch.testing.assert_close(pooled, tokens[:, 1:].mean(1))
        assert torch.equal(load_model(save_model(network, tmp_path / "avg"))(x), network(x))
        network.reset_classifier(2, "")
        assert network(x).shape == (2, tokens.shape[1], 2)
        network.reset_classifier(0)
        assert torch.equal(network(x), tokens)
        with pytest.raises(ConfigError, match="pooling removed"):
            save_model(network, tmp_path / "none")
        network.reset_classifier(0, "token")
        assert torch.equal(network(x), tokens[:, 0])
    with pytest.raises(ConfigError, match="global_pool='prr' is not one of"):
        network.reset_classifier(3, "prr")
    twice = of_space("AutoFormer in three stages")
    with pytest.raises(ConfigError, match="distillation"):
        twice.reset_classifier(3, "")


def test_layers_are_learnt_at_falling_rates():
    network = of_space("vit_resnas")
    optimizer = create_optimizer_v2(
        network, opt="adamw", lr=1.0, weight_decay=0.05, layer_decay=0.5
    )
    names = {id(p): name for name, p in network.named_parameters()}
    layers = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names.pop(id(parameter))
            layers.setdefault(group["lr_scale"], set()).add(re.sub(r"\.[a-z_]\w*\.?.*$", "", name))
            kept = parameter.dim() > 1 and name not in network.no_weight_decay()
            assert (group["weight_decay"] > 0) == kept
    assert not names
    blocks = [len(stage.blocks) for stage in network.stages]
    assert len(layers) == 1 + sum(blocks) + 2 + 1  # stem, blocks, transitions, head
    coarse = timm.models.group_parameters(network, network.group_matcher(coarse=True))
    assert len(coarse) == 5
    assert all(name.startswith("stages.1.") for name in coarse[2])
    assert set(coarse[4]) == {"head.weight", "head.bias"}
    assert "norm.weight" in coarse[3]


def test_dropout_in_front_of_the_classifier():
    network = of_space("AutoFormer in three stages", drop_rate=0.5)
    tokens = network.forward_features(torch.randn(2, 1, 28, 28))
    assert not torch.equal(network.train().forward_head(tokens), network.forward_head(tokens))
    assert torch.equal(network.eval().forward_head(tokens), network.forward_head(tokens))
    with pytest.raises(ConfigError, match=r"drop_rate=-0\.1"):
        of_space("glit", drop_rate=-0.1)


def test_a_training_as_timm_does_it():
    """The steps of timm's train.py: create, optimise with layer decay, average, validate."""
    from timm.loss import SoftTargetCrossEntropy
    from timm.scheduler import create_scheduler_v2
    from timm.utils import ModelEmaV3, accuracy

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        network = small("vitas_b", num_classes=10, in_chans=1, drop_rate=0.0, drop_path_rate=0.1)
    network.set_grad_checkpointing()
    config = timm.data.resolve_data_config({}, model=network)
    transform = timm.data.create_transform(**config, is_training=False)
    assert "CenterCrop" in str(transform)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, layer_decay=0.75)
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=2)
    average = ModelEmaV3(network, decay=0.5)
    x = torch.randn(8, *config["input_size"])
    mixup = timm.data.Mixup(mixup_alpha=0.8, num_classes=10)
    losses = []
    for step in range(3):
        network.train()
        images, targets = mixup(x.clone(), torch.arange(8) % 10)
        loss = SoftTargetCrossEntropy()(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        timm.utils.dispatch_clip_grad(network.parameters(), 1.0)
        optimizer.step()
        average.update(network, step=step)
        losses.append(loss.item())
    scheduler.step(1)
    assert all(torch.tensor(losses).isfinite())
    with torch.no_grad():
        top1, top5 = accuracy(average.module.eval()(x), torch.arange(8) % 10, topk=(1, 5))
    assert 0 <= top1 <= top5 <= 100
