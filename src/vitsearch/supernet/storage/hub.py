"""Networks on the Hugging Face Hub. A repository is a model folder with a page and timm's config.

`architecture.json` and `model.safetensors` are all that is loaded: text and numbers, no code.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitsearch.errors import CheckpointError, HubError
from vitsearch.runs.files import atomic_folder, write_json, write_text
from vitsearch.runs.formats import with_format
from vitsearch.supernet.storage.model_card import model_card
from vitsearch.supernet.storage.model_folder import (
    ARCHITECTURE_FILE,
    WEIGHTS_FILE,
    load_model,
    write_model,
)
from vitsearch.supernet.timm.preprocessing import TIMM_NAME
from vitsearch.supernet.vision_transformer import VisionTransformer

CARD_FILE = "README.md"
CONFIG_FILE = "config.json"


def timm_config(network: VisionTransformer) -> dict[str, Any]:
    """What `config.json` tells timm, so that `timm.create_model("hf-hub:...")` builds the network.

    Raises:
        ConfigError: The network is none of its space (see `save_model`).
    """
    config = {k: v for k, v in network.pretrained_cfg.items() if k not in ("url", "file", "source")}
    config["num_classes"] = network.num_classes
    if network.class_names is not None:
        config["label_names"] = list(network.class_names)
    del config["architecture"]
    return {
        "architecture": TIMM_NAME,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "global_pool": network.global_pool,
        "model_args": {
            "space": network.space.config,
            "architecture": network.architecture.to_dict(),
            "num_classes": network.num_classes,
        },
        "pretrained_cfg": config,
    }


def save_pretrained(
    network: VisionTransformer,
    folder: str | Path,
    *,
    repo_id: str | None = None,
    license: str | None = None,
    scores: Mapping[str, float] | None = None,
) -> Path:
    """Write what a repository on the Hub holds into a folder, which is replaced whole.

    `load_model`, `from_pretrained` and `timm.create_model("local-dir:...")` read it.

    Args:
        network: What to write, with its class names and preprocessing.
        folder: Where.
        repo_id: The repository that the page speaks of; the folder's name by default.
        license: The Hub's identifier of a licence, such as `apache-2.0`.
        scores: Figures for the page, such as `{"top-1 on the test split": 0.913}`.

    Raises:
        ConfigError: The licence is no identifier, or the network is none of its space.
    """
    target = Path(folder)
    card = model_card(network, repo_id or target.resolve().name, license=license, scores=scores)
    with atomic_folder(target) as temporary:
        write_model(network, temporary)
        write_json(temporary / CONFIG_FILE, with_format(timm_config(network)))
        write_text(temporary / CARD_FILE, card)
    return target


def push_to_hub(
    network: VisionTransformer | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    license: str | None = None,
    scores: Mapping[str, float] | None = None,
    revision: str | None = None,
    commit_message: str = "Add model",
    token: str | None = None,
) -> str:
    """Upload a network to a repository on the Hub, which is made if it is not there.

    A page that the repository has already is left as it is.

    Args:
        network: The network, or the folder of a model or run.
        repo_id: `owner/name`, or a name of one's own.
        private: Whether a new repository is private.
        license: The Hub's identifier of a licence, such as `apache-2.0`.
        scores: Figures for the page, such as `{"top-1 on the test split": 0.913}`.
        revision: Branch to upload to; the main one by default.
        commit_message: Of the upload.
        token: Of one's account; by default that of `hf auth login`.

    Returns:
        The address of what was uploaded.

    Raises:
        CheckpointError: The folder has no model.
        HubError: The Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi  # it takes half a second

    if not isinstance(network, VisionTransformer):
        network = load_model(network)
    with tempfile.TemporaryDirectory() as temporary:
        with _one_line(repo_id, revision):
            api = HfApi(token=token, library_name="vitsearch")
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            has_card = api.file_exists(repo_id, CARD_FILE, revision=revision)
        folder = save_pretrained(
            network, Path(temporary) / "model", repo_id=repo_id, license=license, scores=scores
        )
        with _one_line(repo_id, revision):
            found = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                ignore_patterns=[CARD_FILE] if has_card else None,
            )
    return str(found)


def from_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> VisionTransformer:
    """A network from a repository on the Hub, or from the folder of a model or run; in eval mode.

    Args:
        source: A folder, or `owner/name`.
        revision: Branch, tag or commit; the main branch by default.
        cache_dir: Where downloads are kept; the Hub's own cache by default.
        token: For private repositories; by default that of `hf auth login`.
        local_files_only: Whether to look in the cache alone.

    Raises:
        CheckpointError: A file is missing or damaged, or weights do not fit the architecture.
        HubError: There is no such folder or repository, or the Hub cannot be reached.
    """
    if Path(source).expanduser().is_dir():
        return load_model(source)
    from huggingface_hub import snapshot_download

    with _one_line(str(source), revision):
        folder = snapshot_download(
            str(source),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_patterns=[ARCHITECTURE_FILE, WEIGHTS_FILE],
            library_name="vitsearch",
        )
    if not (Path(folder) / ARCHITECTURE_FILE).is_file():
        raise CheckpointError(f"{source} holds no model of vitsearch: no {ARCHITECTURE_FILE}")
    return load_model(folder)


@contextmanager
def _one_line(repo_id: str, revision: str | None) -> Iterator[None]:
    """Whatever goes wrong on the way to the Hub, in one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise HubError(
            f"{repo_id} is no folder, and no name of a repository on the Hub (owner/name)"
        ) from error
    except errors.GatedRepoError as error:
        raise HubError(f"{repo_id}: its owner has to grant access to it on the Hub") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{repo_id} is no folder, and no repository on the Hub that can be seen with this "
            f"token (hf auth login, or token=...)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo_id} has no revision {revision}") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(
            f"{repo_id} is no folder and not in the Hub's cache, and the Hub cannot be reached"
        ) from error
    except Exception as error:  # whatever the network stack raises
        if re.search("Connect|Timeout|Offline|gaierror", type(error).__name__):
            raise HubError(f"{repo_id}: the Hub cannot be reached") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HubError(f"{repo_id}: the Hub says: {reason}") from error
