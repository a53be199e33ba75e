"""HR-NAS against the numbers that the authors' code gives, tensor by tensor of theirs.

`fixtures/hr_nas.json` says how weights and images are made, and what comes out.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import vitsearch
from vitsearch.elastic.layers.hr.light_transformer import position_maps
from vitsearch.spaces.bodies.pieces import PieceTable
from vitsearch.spaces.parts.hr import MapLayers, MapStep, SearchingBlocks
from vitsearch.supernet.build import make_layer
from vitsearch.supernet.storage.importing.hr_nas import HR_NAS, of_block
from vitsearch.supernet.storage.importing.load import convert

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "hr_nas.json").read_text())
BLOCKS = {n: b for n, b in GOLDEN["blocks"].items() if not n.startswith("transformer_alone")}
KERNELS = (3, 5, 7)
UNUSED, UNUSED_DENSE = 95_904, 89_856  # parameters of norms that the authors never use


def weights(keys: list[Any]) -> dict[str, Tensor]:
    """The recipe `fan_in`, in the authors' names: drawn in float32, used in float64."""
    found = {}
    for number, (name, shape) in enumerate(keys):
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(number))
        if name.endswith("running_var"):
            made = 1 + 0.2 * noise.abs()
        elif noise.dim() == 1 and name.endswith("weight"):
            made = 1 + 0.1 * noise
        elif noise.dim() == 1:
            made = 0.1 * noise
        else:
            made = noise / math.sqrt(noise[0].numel())
        found[name] = made.double()
    return found


def images(shape: list[int]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(12345)).double()


def assert_golden(outputs: Tensor, expected: dict[str, Any]) -> None:
    assert list(outputs.shape) == expected["shape"]
    flat = outputs.flatten()
    first = torch.tensor(expected["first8"], dtype=torch.float64)
    torch.testing.assert_close(flat[:8], first, rtol=1e-9, atol=1e-9)
    seen = torch.randn(flat.numel(), generator=torch.Generator().manual_seed(54321)).double()
    assert flat.mean().item() == pytest.approx(expected["mean"], abs=1e-9)
    assert (flat * seen).mean().item() == pytest.approx(expected["projection"], abs=1e-9)


def block_of(golden: dict[str, Any]) -> tuple[Any, Any]:
    """A layer with the authors' weights, and its sizes."""
    given, (_, in_dim, rows, columns) = golden["arguments"], golden["input"]
    stride, merged = given["stride"], given.get("fused", False)
    step = MapStep(
        in_dim=in_dim,
        in_grid=(rows, columns),
        embed_dim=given["oup"],
        grid=(rows // stride, columns // stride),
        stride=stride,
    )
    blocks = SearchingBlocks(
        kernel_sizes=KERNELS,
        expansion=4,
        step=1,
        num_tokens=(0, 5, 6),
        dropout=0.1,
        everywhere=True,
        squeeze_ratio=0.5 if merged else 0,
        unused_norms=False,
        layers=MapLayers(
            activation="swish" if given.get("active") == "nn.Swish" else "relu",
            norm_eps=1e-3,
            norm_momentum=0.01,
        ),
    )
    table = PieceTable(blocks.of(step))
    channels = {f"kernel{k}": c for k, c in zip(KERNELS, given["channels"], strict=True)}
    values = {**channels, "tokens": (golden["tokens"] or [0])[0]}
    taken = {role: tuple(values[n] for n in names) for role, names in table.names.items()}
    plan = table.block({**taken, **table.following(values)}, step)
    layer = make_layer([plan]).double().eval()
    state = weights(golden["keys"])
    takes = {
        name: of_block(name, tuple(tensor.shape), "", channels, merged)
        for name, tensor in layer.state_dict().items()
    }
    left = set(state) - {theirs for take in takes.values() for theirs in take.names}
    assert all(name.startswith("bns.") for name in left)
    layer.load_state_dict(convert(takes, state, layer.state_dict()))
    return layer, plan


@torch.no_grad()
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    golden = BLOCKS[name]
    layer, plan = block_of(golden)
    assert_golden(layer(images(golden["input"]), plan), golden["float64_eval"]["fan_in"])
    (macs,) = golden["macs"].values()
    cost = plan.cost()
    assert cost.macs == macs["total"]
    assert cost.params == golden["params"] - golden["unused_bns_params"]
    assert sum(p.numel() for p in layer.parameters()) == cost.params


@torch.no_grad()
def test_transformer_alone() -> None:
    (name,) = set(GOLDEN["blocks"]) - set(BLOCKS)
    golden = GOLDEN["blocks"][name]
    _, in_dim, rows, columns = golden["input"]
    step = MapStep(
        in_dim=in_dim, in_grid=(rows, columns), embed_dim=in_dim, grid=(rows, columns), stride=1
    )
    layers = MapLayers(activation="relu", norm_eps=1e-3, norm_momentum=0.01)
    blocks = SearchingBlocks(
        kernel_sizes=KERNELS,
        expansion=4,
        step=1,
        num_tokens=(0, 6),
        dropout=0.1,
        everywhere=False,
        squeeze_ratio=0,
        unused_norms=False,
        layers=layers,
    )
    values = {"kernel3": 0, "kernel5": 0, "kernel7": 0, "tokens": 6}
    plan = blocks.of(step).plan(values, step)
    layer = make_layer([plan]).double().eval()
    state = {f"transformer.{name}": tensor for name, tensor in weights(golden["keys"]).items()}
    takes = {
        name: of_block(name, tuple(tensor.shape), "", {}, False)
        for name, tensor in layer.state_dict().items()
    }
    layer.load_state_dict(convert(takes, state, layer.state_dict()))
    # A block without convolutions is the map and what its transformer says of it.
    assert_golden(layer(images(golden["input"]), plan), golden["float64_eval"]["fan_in"])


def test_positions() -> None:
    golden, maps = GOLDEN["positional_map_8x8"], position_maps(8)
    for number, where in ((0, maps[0, 0]), (1, maps[1, 0])):
        assert where.tolist() == golden[f"channel{number}_row0"]
        assert maps[number, :, 0].tolist() == golden[f"channel{number}_column0"]


@torch.no_grad()
def test_found_network() -> None:
    golden = GOLDEN["networks"]["found_cls_channels_relu"]
    network = vitsearch.create_model("hr_nas").double().eval()
    state = weights(golden["keys"])
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    takes = dict(HR_NAS.takes(shapes, state, {}))
    network.load_state_dict(convert(takes, state, network.state_dict()))
    outputs = network(images(golden["input"]))
    assert_golden(outputs, golden["float64_eval"]["fan_in"])
    loaded = vitsearch.load_published_checkpoint("hr_nas", state)
    assert torch.equal(loaded.head.weight, network.head.weight.float())
    names = [name for name in state if ".bns." not in name]
    assert sum(state[name].numel() for name in names if "running" not in name) == sum(
        p.numel() for p in network.parameters()
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ("row", "space", "classes", "size"),
    [
        ("super_cls_imagenet", "hr_nas_cls", 1000, (224, 224)),
        ("super_seg_cityscapes", "hr_nas_cityscapes", 19, (512, 1024)),
        ("super_seg_cityscapes", "hr_nas_cityscapes", 19, (1024, 2048)),
        ("super_seg_ade20k", "hr_nas_ade20k", 150, (512, 512)),
        ("super_keypoint_coco", "hr_nas_keypoint", 17, (256, 192)),
        ("super_keypoint_coco", "hr_nas_keypoint", 17, (384, 288)),
    ],
)
@pytest.mark.parametrize(
    ("transformers", "settings"),
    [
        ("", {"block.num_tokens": 0}),
        ("_transformer_forced", {}),
        ("_transformer_and_downsampling_forced", {"block.transformers_everywhere": True}),
    ],
)
def test_super_networks(
    row: str,
    space: str,
    classes: int,
    size: tuple[int, int],
    transformers: str,
    settings: dict[str, Any],
) -> None:
    known = GOLDEN["macs_and_parameters"].get(row + transformers)
    macs = known and known["macs"].get("1x3x{}x{}".format(*size))
    if not macs:
        pytest.skip("the authors' code was not measured like this")
    own = vitsearch.build_space(space, image_size=list(size), **settings)
    cost = own.plan(own.largest()).cost(classes)
    assert cost.params == known["params"] - (
        UNUSED if row == "super_cls_imagenet" else UNUSED_DENSE
    )
    assert cost.macs == macs
    with torch.device("meta"):
        network = vitsearch.VisionTransformer(own, own.largest(), classes).eval()
    with FlopCounterMode(display=False) as counter:
        outputs = network(torch.zeros(1, 3, *size, device="meta"))
    dense = (size[0] // 4, size[1] // 4)
    assert outputs.shape == ((1, classes) if classes == 1000 else (1, classes, *dense))
    assert counter.get_total_flops() == 2 * cost.macs
    assert sum(p.numel() for p in network.parameters()) == cost.params
