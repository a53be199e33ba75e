"""A finished network as a user names it: a folder, a run, or a published name with its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitsearch.errors import CheckpointError, SpaceError
from vitsearch.spaces.published import list_published
from vitsearch.supernet.storage.importing import load_published_checkpoint
from vitsearch.supernet.storage.model_folder import find_model, load_model
from vitsearch.supernet.vision_transformer import VisionTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenModel:
    """A network, and where it came from.

    Attributes:
        network: In eval mode, on the CPU.
        name: In a word, for people and files.
        source: The folder or file of its weights.
        folder: The model folder; `None` for authors' weights.
    """

    network: VisionTransformer
    name: str
    source: Path
    folder: Path | None


def is_published(model: str) -> bool:
    """Whether a published network is meant: a folder of that name comes first."""
    return model in list_published() and not Path(model).exists()


def load_given(model: str, checkpoint: str | None = None) -> GivenModel:
    """Load a network for whatever is done with it.

    Args:
        model: A model folder, a run folder that has one, or one of `vitsearch.list_published()`.
        checkpoint: The authors' file, for a published name alone.

    Raises:
        CheckpointError: There is no such model, or its weights do not fit.
        SpaceError: It is no folder and no published name.
    """
    if is_published(model):
        if checkpoint is None:
            raise CheckpointError(
                f"model={model} is a published architecture without weights; add "
                f"checkpoint=<the authors' file>"
            )
        network = load_published_checkpoint(model, checkpoint)
        return GivenModel(network=network, name=model, source=Path(checkpoint), folder=None)
    if checkpoint is not None:
        raise CheckpointError(
            f"checkpoint={checkpoint} goes with a published name, not with model={model}; names: "
            f"{', '.join(list_published())}"
        )
    folder = model_folder(model)
    network = load_model(folder)
    return GivenModel(network=network, name=network.space.name, source=folder, folder=folder)


def model_folder(model: str) -> Path:
    """The model folder that is meant.

    Raises:
        CheckpointError: The folder has no model.
        SpaceError: There is no such folder.
    """
    if not Path(model).expanduser().exists():
        raise SpaceError(
            f"model={model} is no folder, and no published name; names: "
            f"{', '.join(list_published())}"
        )
    return find_model(model)
