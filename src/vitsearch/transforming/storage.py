"""A policy that has learned, in a folder: `policy.json` and `policy.safetensors`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vitsearch.errors import CheckpointError
from vitsearch.runs.files import atomic_folder, write_json
from vitsearch.runs.formats import read_json, with_format
from vitsearch.spaces import SearchSpace
from vitsearch.transforming.policy import Policy
from vitsearch.transitions import Transitions

POLICY_FILE = "policy.json"
WEIGHTS_FILE = "policy.safetensors"
_STATES = 1
"""The version of the features; weights of other features mean nothing."""


def save_policy(policy: Policy, folder: Path, *, weights: str) -> None:
    """Write a policy.

    Args:
        policy: It.
        folder: Replaced as a whole.
        weights: A digest of the supernet whose scores it learned from.
    """
    with atomic_folder(folder) as place:
        save_file(policy.state_dict(), place / WEIGHTS_FILE)
        record = {
            "space": space_digest(policy.transitions.space),
            "rule": policy.transitions.rule,
            "encoder": policy.encoder_name,
            "states": _STATES,
            "supernet": weights,
        }
        write_json(place / POLICY_FILE, with_format(record))


def load_policy(
    folder: Path,
    transitions: Transitions,
    *,
    weights: str | None,
    num_classes: int,
) -> Policy:
    """Read a policy.

    Args:
        folder: Of `save_policy`.
        transitions: What an architecture may become.
        weights: A digest of the supernet that is searched; `None` takes a policy of any weights.
        num_classes: Of the classifier, whose cost counts.

    Raises:
        CheckpointError: It is missing or damaged, or is of another space, rule or supernet.
    """
    if not (folder / POLICY_FILE).is_file():
        raise CheckpointError(f"policy.path={folder} has no {POLICY_FILE}")
    record = read_json(folder / POLICY_FILE, CheckpointError)
    wanted: Mapping[str, Any] = {
        "space": space_digest(transitions.space),
        "rule": transitions.rule,
        "states": _STATES,
        **({} if weights is None else {"supernet": weights}),
    }
    for name, value in wanted.items():
        if record.get(name) != value:
            hint = "; policy.any_weights=true takes it all the same" if name == "supernet" else ""
            raise CheckpointError(
                f"policy.path={folder} was learned with another {_WORDS[name]}: "
                f"{record.get(name)}, not {value}{hint}"
            )
    policy = Policy(transitions, encoder=str(record.get("encoder")), num_classes=num_classes)
    try:
        policy.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"{folder / WEIGHTS_FILE} cannot be read: {line}") from error
    return policy


_WORDS = {
    "space": "space",
    "rule": "rule",
    "states": "version of the features",
    "supernet": "supernet's weights",
}


def space_digest(space: SearchSpace) -> str:
    """A short hash of the space's configuration."""
    text = json.dumps(space.config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
