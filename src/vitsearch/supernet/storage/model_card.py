"""The page of a model on the Hugging Face Hub: what it is, what it costs, how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vitsearch.errors import ConfigError
from vitsearch.spaces.flow import sides
from vitsearch.spaces.words import grid_in_words, shape_in_words
from vitsearch.supernet.timm.preprocessing import TIMM_NAME
from vitsearch.supernet.vision_transformer import VisionTransformer

TAGS = ("vitsearch", "timm", "image-classification", "neural-architecture-search")
MAX_CLASSES = 20  # named on the page


def model_card(
    network: VisionTransformer,
    repo_id: str,
    *,
    license: str | None = None,
    scores: Mapping[str, float] | None = None,
) -> str:
    """A README with the metadata that the Hub reads.

    Args:
        network: What the page is of.
        repo_id: Where it will be, `owner/name`.
        license: The Hub's identifier of a licence, such as `apache-2.0`; `unknown` by default.
        scores: Figures by what they are, such as `{"top-1 on the test split": 0.913}`.

    Raises:
        ConfigError: The licence is no identifier.
    """
    name = repo_id.rpartition("/")[2]
    parts = [
        _metadata(license),
        f"# {name}",
        _introduction(network),
        _figures(network, scores or {}),
    ]
    parts += [_stages(network), _preprocessing(network), _classes(network), _usage(repo_id)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(license: str | None) -> str:
    identifier = "unknown" if license is None else license
    if not re.fullmatch(r"[A-Za-z0-9.+-]+", identifier):
        raise ConfigError(f"license={license!r} is no identifier of a licence, such as apache-2.0")
    lines = ["library_name: vitsearch", "pipeline_tag: image-classification"]
    lines += [f"license: {identifier}", "tags:", *(f"- {tag}" for tag in TAGS)]
    return "\n".join(["---", *lines, "---"])


def _introduction(network: VisionTransformer) -> str:
    return (
        f"A vision transformer of the search space `{network.space.name}`, architecture "
        f"`{network.architecture.digest}`, found or built with `vitsearch`. `architecture.json` "
        f"says exactly what it is; `config.json` says it to timm."
    )


def _figures(network: VisionTransformer, scores: Mapping[str, float]) -> str:
    cost, size = network.cost(), grid_in_words(sides(network.plan.image_size))
    rows: dict[str, Any] = {
        "parameters": f"{cost.params / 1e6:.2f} M",
        "multiply-accumulates": f"{cost.macs / 1e6:.1f} M",
        "images": f"{size}, {network.in_chans} channel(s)",
        "classes": network.num_classes or "none: features",
        **{what: f"{score:.4g}" for what, score in scores.items()},
    }
    return _table(("", ""), [(what, str(value)) for what, value in rows.items()])


def _stages(network: VisionTransformer) -> str:
    rows = [
        (str(index), str(len(stage.blocks)), str(stage.embed_dim), shape_in_words(stage.shape))
        for index, stage in enumerate(network.plan.stages)
    ]
    return _table(("stage", "blocks", "width", "patches"), rows)


def _preprocessing(network: VisionTransformer) -> str:
    config = network.pretrained_cfg
    whole = config["crop_pct"] == 1
    size = grid_in_words(sides(network.plan.image_size))
    part = (
        "are" if whole else f"are cut to the middle {100 * config['crop_pct']:g} % of their side,"
    )
    sentence = (
        f"Images {part} resized to {size} ({config['interpolation']}), scaled to [0, 1] "
        f"and normalised with mean {_numbers(config['mean'])} and standard deviation "
        f"{_numbers(config['std'])}."
    )
    if not network.has_stated_preprocessing:
        sentence += " This is timm's default; nobody has stated the network's own."
    return f"## Preprocessing\n\n{sentence}"


def _classes(network: VisionTransformer) -> str:
    names = network.class_names or ()
    if not names:
        return ""
    shown = ", ".join(names[:MAX_CLASSES])
    more = f" and {len(names) - MAX_CLASSES} more" if len(names) > MAX_CLASSES else ""
    return f"## Classes\n\nIn the order of the logits: {shown}{more}."


def _usage(repo_id: str) -> str:
    return f"""## Usage

```python
import timm
import vitsearch

network = vitsearch.from_pretrained("{repo_id}")  # in eval mode
transform = timm.data.create_transform(**timm.data.resolve_data_config({{}}, model=network))
logits = network(transform(image)[None])
```

The same through timm, once `vitsearch` is imported:

```python
network = timm.create_model("hf-hub:{repo_id}", pretrained=True)  # the model `{TIMM_NAME}`
```"""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
