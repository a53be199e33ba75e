"""What `architecture=` may name, and what else is known there: the space, data, weights.

A run folder (its search's best, or its retrained network), `<run>:<digest>` for a candidate of its
history, a model folder, a JSON file, or the name of a published network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vitsearch.errors import CheckpointError, ConfigError, SpaceError, VitSearchError
from vitsearch.runs.command_line import command_text, override
from vitsearch.runs.formats import read_json
from vitsearch.runs.history import read_history
from vitsearch.runs.layout import (
    BEST_FILE,
    BEST_FOLDER,
    CONFIG_FILE,
    HISTORY_FILE,
    MODEL_FOLDER,
    NETWORK_FILE,
    SUPERNET_FILE,
    run_of_model,
)
from vitsearch.runs.resume import read_config
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.published import list_published, published
from vitsearch.supernet import (
    VisionTransformer,
    load_model,
    load_published_checkpoint,
    load_supernet,
)
from vitsearch.supernet.storage.model_folder import ARCHITECTURE_FILE, WEIGHTS_FILE

LEGAL = "a run folder, <run>:<digest>, a model folder, best.json, or a published name"
_DIGEST = re.compile(r"[0-9a-f]{1,12}")
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureSource:
    """An architecture, and where it was found.

    Attributes:
        given: What names it from any folder.
        words: The same for people.
        space: Where it is legal.
        architecture: The architecture.
        run: The run folder, whose `config.yaml` names the data.
        supernet: A checkpoint of which it is a part.
        model: A folder with weights of its own.
        published: Its name, if it is a published one.
    """

    given: str
    words: str
    space: SearchSpace
    architecture: Architecture
    run: Path | None = None
    supernet: Path | None = None
    model: Path | None = None
    published: str | None = None

    def has_weights(self, checkpoint: str | None) -> bool:
        """Whether `network` has something to load."""
        known = self.model is not None or self.supernet is not None
        return known or (self.published is not None and checkpoint is not None)

    def network(self, checkpoint: str | None) -> VisionTransformer:
        """The architecture with the weights that lie beside it.

        Args:
            checkpoint: The authors' file of a published network.

        Raises:
            CheckpointError: There are none, or they cannot be read.
        """
        if self.published is not None:
            if checkpoint is None:
                raise CheckpointError(
                    f"init=inherited of {self.published} needs checkpoint=<the authors' file>"
                )
            return load_published_checkpoint(self.published, Path(checkpoint).expanduser())
        if self.model is not None:
            return load_model(self.model)
        if self.supernet is not None:
            return load_supernet(self.supernet).extract(self.architecture)
        raise CheckpointError(
            f"init=inherited: architecture={self.given} comes without weights; give a run folder "
            f"with {SUPERNET_FILE}, or init=scratch"
        )


def find_source(
    given: object, *, run: object = None, space: SearchSpace | None = None
) -> ArchitectureSource:
    """What `architecture=` names.

    Args:
        given: What the user wrote.
        run: A run folder, for a digest.
        space: For a JSON file of choices alone.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: Nothing is named, or nothing that there is.
        SpaceError: The architecture is not legal in its space.
    """
    if given is None:
        raise ConfigError(f"no architecture: add architecture=<{LEGAL}>")
    if isinstance(given, float | bool):
        raise ConfigError(f"architecture={given} is read as a number; write <run>:<digest>")
    text = str(given)
    path, folder = Path(text).expanduser(), None if run is None else Path(str(run)).expanduser()
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"run={run} is no folder")
    if path.is_dir():
        return _of_folder(path.absolute())
    if path.is_file():
        return _of_file(path.absolute(), space)
    if text in list_published():
        its_space, architecture = published(text)
        return ArchitectureSource(
            given=text,
            words=f"published as {text}",
            space=its_space,
            architecture=architecture,
            published=text,
        )
    before, _, digest = text.rpartition(":")
    if before and Path(before).expanduser().is_dir():
        return _of_digest(Path(before).expanduser().absolute(), digest)
    if _DIGEST.fullmatch(text):
        if folder is None:
            raise ConfigError(f"architecture={text}: add run=<folder> whose history has the digest")
        return _of_digest(folder.absolute(), text)
    close = get_close_matches(text, list_published(), 1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(f"architecture={text} is unknown; {hint}legal: {LEGAL}")


def _of_folder(folder: Path) -> ArchitectureSource:
    if (folder / ARCHITECTURE_FILE).is_file():
        return _of_model(folder, folder)
    if (folder / MODEL_FOLDER / ARCHITECTURE_FILE).is_file():
        return _of_model(folder / MODEL_FOLDER, folder)
    if (folder / BEST_FILE).is_file():
        return _of_best(folder / BEST_FILE, folder)
    if (folder / NETWORK_FILE).is_file():
        raise CheckpointError(
            f"architecture={folder} is a retraining that has not ended; go on with it first: "
            f"{command_text('retrain', override('resume', folder))}"
        )
    if (folder / SUPERNET_FILE).is_file():
        searched = (folder / HISTORY_FILE).is_file()
        raise CheckpointError(
            f"architecture={folder} is a run whose search has not ended; name a candidate as "
            f"{folder}:<digest>"
            if searched
            else f"architecture={folder} is a run that has not been searched: "
            f"{command_text('search', override('checkpoint', folder))}"
        )
    raise CheckpointError(
        f"architecture={folder} has neither {BEST_FILE} (a run), nor {MODEL_FOLDER} (a "
        f"retraining), nor {ARCHITECTURE_FILE} (a model)"
    )


def _of_model(model: Path, given: Path) -> ArchitectureSource:
    described = _read_json(model / ARCHITECTURE_FILE)
    space, architecture = _described(described, model / ARCHITECTURE_FILE)
    run = run_of_model(model)
    return ArchitectureSource(
        given=str(given),
        words=f"of {given}",
        space=space,
        architecture=architecture,
        run=run,
        model=model if (model / WEIGHTS_FILE).is_file() else None,
    )


def _of_best(file: Path, given: Path) -> ArchitectureSource:
    """The best architecture of a search; its file may have been copied out of the run."""
    space, architecture = _described(_read_json(file), file)
    run: Path | None = file.parent.parent
    if run is None or run / BEST_FILE != file or not (run / CONFIG_FILE).is_file():
        return ArchitectureSource(
            given=str(given), words=f"of {given}", space=space, architecture=architecture
        )
    return _of_run(run, space, architecture, str(given), f"best of {run}")


def _of_run(
    run: Path, space: SearchSpace, architecture: Architecture, given: str, words: str
) -> ArchitectureSource:
    best = run / BEST_FOLDER
    is_best = (best / WEIGHTS_FILE).is_file() and (
        _read_json(best / ARCHITECTURE_FILE).get("digest") == architecture.digest
    )
    return ArchitectureSource(
        given=given,
        words=words,
        space=space,
        architecture=architecture,
        run=run,
        supernet=_supernet_of(run),
        model=best if is_best else None,
    )


def _supernet_of(run: Path) -> Path | None:
    """The run's own, or the one that it searched."""
    searched = (read_config(run) or {}).get("checkpoint")
    candidates = [run / SUPERNET_FILE, *([Path(str(searched))] if searched else [])]
    return next((file for file in candidates if file.is_file()), None)


def _of_file(file: Path, space: SearchSpace | None) -> ArchitectureSource:
    found = _read_json(file)
    if file.name == BEST_FILE.name and "architecture" in found:
        return _of_best(file, file)
    if "architecture" in found:
        if file.name == ARCHITECTURE_FILE:
            return _of_model(file.parent, file)
        own, architecture = _described(found, file)
        return ArchitectureSource(
            given=str(file), words=f"of {file}", space=own, architecture=architecture
        )
    if "front" in found:
        run = file.parent.parent
        digests = [str(record.get("digest")) for record in found["front"]]
        raise ConfigError(
            f"architecture={file} has {len(digests)} architectures; name one as {run}:<digest>: "
            f"{_listed(digests)}"
        )
    if space is None:
        raise SpaceError(
            f"architecture={file} has choices but no space; add the +space=<name> that it belongs "
            f"to"
        )
    architecture = space.canonical(Architecture.from_dict(found))
    return ArchitectureSource(
        given=str(file), words=f"of {file}", space=space, architecture=architecture
    )


def _of_digest(run: Path, digest: str) -> ArchitectureSource:
    file = run / HISTORY_FILE
    if not file.is_file():
        raise CheckpointError(f"run={run} has no {HISTORY_FILE}, so there is no digest to look up")
    candidates = {record.digest: record.architecture for record in read_history(run)}
    if not digest:
        raise ConfigError(
            f"architecture={run}: has no digest after the colon; {file} has {len(candidates)}: "
            f"{_listed(list(candidates))}"
        )
    found = [known for known in candidates if known.startswith(digest)]
    if not found:
        near = get_close_matches(digest, candidates, 3, cutoff=0.0)
        raise ConfigError(
            f"digest {digest} is not in {file}, which has {len(candidates)}; near it: "
            f"{_listed(near)}"
        )
    if len(found) > 1:
        raise ConfigError(
            f"digest {digest} is the beginning of {len(found)} in {file}: {_listed(found)}"
        )
    config = read_config(run) or {}
    best = _read_json(run / BEST_FILE) if (run / BEST_FILE).is_file() else config
    if "space" not in best:
        raise CheckpointError(f"{run} says nothing of its space: {CONFIG_FILE} is missing")
    described = {"space": best["space"], "architecture": candidates[found[0]]}
    space, architecture = _described(described, file)
    return _of_run(run, space, architecture, f"{run}:{found[0]}", f"candidate of {run}")


def _described(found: Mapping[str, Any], file: Path) -> tuple[SearchSpace, Architecture]:
    try:
        space = SearchSpace(found["space"])
        architecture = Architecture.from_dict(found["architecture"])
        space.validate(architecture)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: {error!r}") from error
    except VitSearchError as error:
        raise CheckpointError(f"{file}: {error}") from error
    return space, architecture


def _read_json(file: Path) -> dict[str, Any]:
    return read_json(file, CheckpointError)


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def task_of_run(run: Path | None) -> dict[str, Any] | None:
    """The section `model.task` of a run's `config.yaml`; `None` for classification.

    Args:
        run: Its folder; `None` where there is none, and so nothing that says another task.
    """
    config = (None if run is None else read_config(run)) or {}
    if "model" not in config and config.get("checkpoint") is not None:  # a search of another run
        return task_of_run(Path(str(config["checkpoint"])).parent)
    task = (config.get("model") or {}).get("task")
    return task if isinstance(task, dict) else None


def data_of_run(run: Path) -> Any:
    """The data section of a run's `config.yaml`.

    Raises:
        CheckpointError: It has none.
    """
    data = (read_config(run) or {}).get("data")
    if data is None:
        raise CheckpointError(f"{run / CONFIG_FILE} has no data; add data=<name> and its settings")
    return OmegaConf.create(data)
