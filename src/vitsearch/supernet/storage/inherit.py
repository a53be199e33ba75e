"""A network begins with weights of the same architecture, also for other images and classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.models import adapt_input_conv
from torch import Tensor

from vitsearch.errors import CheckpointError
from vitsearch.spaces.words import pixels_in_words
from vitsearch.supernet.storage.weights import check_state
from vitsearch.supernet.timm.resample import resample_positions
from vitsearch.supernet.vision_transformer import VisionTransformer

_CLASSIFIERS = ("head.", "head_dist.")
_TRAINING_ONLY = "head_patch."
_POOLS = ("attn_pool.",)
_POOLED_NORM = "fc_norm."


def inherit_weights(
    network: VisionTransformer, state: Mapping[str, Tensor], source: str
) -> tuple[str, ...]:
    """Load weights; what does not fit other images or classes is adapted or stays fresh.

    Position embeddings of another image size are resampled bicubically. A first convolution of
    three channels is made into one of others as timm does: summed up for grey images, repeated for
    more channels; one of grey images is spread over three. Classifiers of another number of classes
    stay fresh, and so does the classifier of patch tokens, which serves training alone.

    Args:
        network: What they are loaded into.
        state: Of a `VisionTransformer` of the same architecture.
        source: Where they come from, for messages.

    Returns:
        What was adapted or is fresh, a line each.

    Raises:
        CheckpointError: Weights are of another architecture, or of channels that cannot be adapted.
    """
    wanted = network.state_dict()
    notes = []
    if network.space.head.dense and not any(name in state for name in _heads(wanted)):
        state = without_classifier(state, wanted)
        notes.append(
            f"the head is fresh: it answers for every pixel, {network.num_classes} classes"
        )
    found = resample_positions(state, network)
    if any(name not in state or found[name] is not state[name] for name in found):
        notes.append(
            f"position embeddings are resampled for {pixels_in_words(network.plan.image_size)}"
        )
    for name, tensor in found.items():
        target = wanted.get(name)
        if target is not None and _has_other_channels(name, tensor, target):
            found[name] = _of_channels(tensor, target.shape[1], f"{source}: {name}")
            notes.append(
                f"the first convolution is adapted from {tensor.shape[1]} to {target.shape[1]} "
                f"channel(s)"
            )
    fresh = [
        name
        for name, tensor in wanted.items()
        if name.startswith(_CLASSIFIERS) and name in found and found[name].shape != tensor.shape
    ]
    if fresh:
        before = found[fresh[0]].shape[0]
        notes.append(f"the classifier is fresh: {network.num_classes} classes, not {before}")
    fresh += [name for name in wanted if name.startswith(_TRAINING_ONLY)]
    found |= {name: wanted[name] for name in fresh}
    check_state(wanted, found, source)
    network.load_state_dict(found)
    return tuple(notes)


def without_classifier(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights of a classifier for the same body with a head that answers for every pixel.

    The head is fresh; the norm of what was pooled becomes the one in front of the head.

    Args:
        state: Of the classifier.
        wanted: Of the other network, whose own head is taken.
    """
    found = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith((*_CLASSIFIERS, *_POOLS, _TRAINING_ONLY))
    }
    for name in [name for name in found if name.startswith(_POOLED_NORM)]:
        tensor, own = found.pop(name), "norm." + name.removeprefix(_POOLED_NORM)
        if own in wanted:  # maps have none
            found[own] = tensor
    return found | {name: wanted[name] for name in _heads(wanted)}


def _heads(state: Mapping[str, Tensor]) -> list[str]:
    """The names of a head's weights."""
    return [name for name in state if name.startswith(_CLASSIFIERS)]


def _has_other_channels(name: str, given: Tensor, target: Tensor) -> bool:
    same = given.dim() == target.dim() == 4 and given.shape[0] == target.shape[0]
    return (
        same
        and name.startswith("stem.")
        and given.shape[2:] == target.shape[2:]
        and given.shape[1] != target.shape[1]
    )


def _of_channels(weight: Tensor, in_chans: int, what: str) -> Tensor:
    """Weights (C, channels, h, w) for another number of channels."""
    if weight.shape[1] == 3:
        adapted: Tensor = adapt_input_conv(in_chans, weight)
        return adapted
    if weight.shape[1] == 1 and in_chans == 3:  # grey pixels in three channels give the same
        return torch.cat([weight / 3] * 3, dim=1)
    raise CheckpointError(
        f"{what} is for {weight.shape[1]} channel(s) and cannot be made into one for {in_chans}; "
        f"take init=scratch, or images of {weight.shape[1]} channel(s)"
    )
