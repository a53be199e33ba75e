"""Authors' checkpoints as networks: the file is checked in its own names, then taken over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vitsearch.errors import CheckpointError
from vitsearch.spaces.published import family_of, published, published_entries
from vitsearch.spaces.resizing import resized_for
from vitsearch.supernet.storage.importing.autoformer import AUTOFORMER
from vitsearch.supernet.storage.importing.glit import GLIT
from vitsearch.supernet.storage.importing.hr_nas import HR_NAS
from vitsearch.supernet.storage.importing.read import describe_source, read_state
from vitsearch.supernet.storage.importing.resnet import RESNET
from vitsearch.supernet.storage.importing.take import Family, Take
from vitsearch.supernet.storage.importing.vit_resnas import VIT_RESNAS
from vitsearch.supernet.storage.importing.vitas import VITAS
from vitsearch.supernet.storage.weights import check_numbers, refuse_misfits
from vitsearch.supernet.timm.resample import resample_positions
from vitsearch.supernet.vision_transformer import VisionTransformer

FAMILIES = {
    "glit": GLIT,
    "vitas": VITAS,
    "vit_resnas": VIT_RESNAS,
    "autoformer": AUTOFORMER,
    "resnet": RESNET,
    "hr_nas": HR_NAS,
}
DEFAULT_NUM_CLASSES = 1000


def load_published_checkpoint(
    name: str, source: str | Path | Mapping[str, Any], *, image_size: int | None = None
) -> VisionTransformer:
    """A published network with the weights that its authors published, in eval mode on the CPU.

    The classes are those of the file; `reset_classifier` changes them afterwards. For AutoFormer
    the file is the authors' supernet, of which the published network is a part.

    Args:
        name: One of `vitsearch.list_published()`.
        source: The authors' state dict, or its file: `.safetensors`, or `.pth`, `.pt`, `.bin`, read
            without running code from it. It may lie under `model`, `state_dict` or `model_ema`
            (the first of these that is there is taken); all names may carry `module.` in front.
        image_size: Side of the input in pixels if it is to be another than the published one;
            position embeddings are resampled bicubically.

    Raises:
        SpaceError: An unknown name, or a patch size that does not divide `image_size`.
        CheckpointError: No weights of the network are known, the file cannot be read, or its
            tensors do not fit; it lists missing, extra and misshapen ones by the authors' names.
    """
    space, architecture = published(name)
    target_space = resized_for(space, architecture, image_size=image_size)
    family = FAMILIES.get(family_of(name))
    if family is None:
        raise CheckpointError(f"{name}: no published weights are known, so none can be read")
    given = read_state(source)
    num_classes = _num_classes(given.get(family.classifier))
    network = VisionTransformer(space, architecture, num_classes=num_classes)
    takes = dict(
        family.takes(
            {ours: tuple(tensor.shape) for ours, tensor in network.state_dict().items()},
            given,
            published_entries()[name],
        )
    )
    check_given(takes, given, family, f"{describe_source(source)} of {name}")
    state = convert(takes, given, network.state_dict())
    if target_space != space:
        network = VisionTransformer(target_space, architecture, num_classes=num_classes)
        state = resample_positions(state, network)
    network.load_state_dict(state)
    return network.eval()


def check_given(
    takes: Mapping[str, Take], given: Mapping[str, Tensor], family: Family, source: str
) -> None:
    """Refuse a checkpoint that does not have what is taken from it, in the authors' names.

    Raises:
        CheckpointError: Lists missing, extra and misshapen tensors, or those without numbers.
    """
    expected = {name: take for take in takes.values() for name in take.names}
    missing = [name for name in expected if name not in given]
    extra = [n for n in given if n not in expected and not family.is_dropped(n, expected)]
    misshapen = [
        f"{name} {tuple(given[name].shape)} for {'at least ' if take.elastic else ''}{take.shape}"
        for name, take in expected.items()
        if name in given and not take.fits(tuple(given[name].shape))
    ]
    refuse_misfits(source, missing=missing, extra=extra, misshapen=misshapen)
    check_numbers({name: given[name] for name in expected}, source)


def convert(
    takes: Mapping[str, Take], given: Mapping[str, Tensor], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our tensors by name, in the precision and on the device of those they will replace."""
    return {
        ours: take.make(*(given[name].detach().to(like[ours]) for name in take.names))
        for ours, take in takes.items()
    }


def _num_classes(classifier: Tensor | None) -> int:
    if classifier is None or classifier.dim() != 2 or not len(classifier):
        return DEFAULT_NUM_CLASSES  # the check will say what is wrong with it
    return len(classifier)
