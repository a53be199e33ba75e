"""The modules that a plan makes active, each with its sizes, by their paths in the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitsearch.elastic import ElasticLinear, ElasticModule, LinearSizes
from vitsearch.errors import ConfigError
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.network import ElasticTransformer
from vitsearch.supernet.repairing.calibration import Calibration


class ActiveModule(NamedTuple):
    """A module under the sizes of a plan.

    Attributes:
        module: In the super-transformer.
        sizes: What the plan gives it.
        path: In the super-transformer.
        extracted: In the network taken out.
    """

    module: ElasticModule[Any]
    sizes: Any
    path: str
    extracted: str


def active_modules(network: ElasticTransformer, plan: Plan) -> Iterator[ActiveModule]:
    """Every module that a plan uses, from the stem up, outer ones before what is in them."""
    for node, extracted in zip(plan.nodes, plan.renumbered().nodes, strict=True):
        yield from _walk(network.layer(node.name), node.plan, node.name, extracted.name)


def _walk(
    module: ElasticModule[Any], sizes: Any, path: str, extracted: str
) -> Iterator[ActiveModule]:
    yield ActiveModule(module, sizes, path, extracted)
    for name, own in module.children_sizes(sizes).items():
        child = module.get_submodule(name)
        assert isinstance(child, ElasticModule)
        yield from _walk(child, own, f"{path}.{name}", f"{extracted}.{name}")


def ending_layers(network: nn.Module) -> Iterator[tuple[str, ElasticModule[Any], ElasticLinear]]:
    """Modules with units that can be cut, each with its path and the linear layer that ends it."""
    for path, module in network.named_modules():
        if isinstance(module, ElasticModule) and (last := ending_layer(module)) is not None:
            yield path, module, last


def check_calibration(network: nn.Module, calibration: Calibration) -> None:
    """Refuse a calibration of another network.

    Raises:
        ConfigError: A layer that it has seen is not there, or of other sizes.
    """
    layers = {path: last.in_features for path, _, last in ending_layers(network)}
    for path, record in calibration.layers.items():
        if layers.get(path) != record.inputs.dim:
            raise ConfigError(
                f"calibration: its layer {path} with {record.inputs.dim} inputs is not in this "
                f"network; calibrate this one"
            )


def ending_layer(module: ElasticModule[Any]) -> ElasticLinear | None:
    """The linear layer that the units of a module enter; `None` where there is not just one."""
    last = module.last_layers() if module.tied_axes() else ()
    return last[0] if len(last) == 1 and isinstance(last[0], ElasticLinear) else None


def name_in(module: ElasticModule[Any], child: nn.Module) -> str:
    """What a module calls its child."""
    names = [name for name, own in module.named_modules() if own is child]
    return str(names[0])


def columns_of(last: ElasticLinear, sizes: LinearSizes) -> Tensor:
    """(k,) the inputs of a layer that sizes leave: of its first units the first channels."""
    return _places(last.in_shape, sizes.in_shape).to(last.weight.device)


def rows_of(last: ElasticLinear, sizes: LinearSizes) -> Tensor:
    """(c,) the outputs of a layer that sizes leave."""
    return _places(last.out_shape, sizes.out_shape).to(last.weight.device)


def _places(whole: tuple[int, ...], taken: tuple[int, ...]) -> Tensor:
    places = torch.arange(torch.Size(whole).numel()).view(whole)
    for dim, width in enumerate(taken):
        places = places.narrow(dim, 0, width)
    return places.flatten()
