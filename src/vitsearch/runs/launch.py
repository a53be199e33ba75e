"""Who started this process: a shell, Lightning, torchrun or srun.

torchrun and srun start all processes of a run at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How many processes something outside of this command has started.

    Attributes:
        name: `torchrun` or `srun`.
        local: Processes on each machine.
        nodes: Machines.
    """

    name: str
    local: int
    nodes: int


def outside_launch(environment: Mapping[str, str] | None = None) -> Launch | None:
    """Who started all processes, from the environment variables; `None` if nobody did."""
    found = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" in found:
        local = int(found.get("LOCAL_WORLD_SIZE", 1))
        return Launch(name="torchrun", local=local, nodes=int(found["WORLD_SIZE"]) // local)
    if "SLURM_NTASKS" in found and found.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(found.get("SLURM_NNODES", 1))
        tasks = int(found["SLURM_NTASKS"])
        return Launch(
            name="srun", local=int(found.get("SLURM_NTASKS_PER_NODE", tasks // nodes)), nodes=nodes
        )
    return None


def is_first_process() -> bool:
    """Whether this process may print and write before the trainer has started the others."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK")
    return all(int(os.environ.get(name, 0)) == 0 for name in ranks)


def launch_id() -> str | None:
    """What all processes of one launch have in common and no other launch has; `None` if alone."""
    if outside_launch() is None:
        return None
    names = (
        "SLURM_JOB_ID",
        "SLURM_STEP_ID",
        "SLURM_RESTART_COUNT",
        "TORCHELASTIC_RUN_ID",
        "TORCHELASTIC_RESTART_COUNT",
        "MASTER_ADDR",
        "MASTER_PORT",
    )
    return "/".join(os.environ.get(name, "") for name in names)


def is_started_by_lightning() -> bool:
    """Whether this is a further process that Lightning has started for the first one."""
    return outside_launch() is None and int(os.environ.get("LOCAL_RANK", 0)) > 0
