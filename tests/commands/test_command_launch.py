"""Several processes, started by torchrun, srun, submitit or Lightning; and when one dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from torch import distributed

from tests.commands.killing import PATIENCE, end, kill_when, lines_of, results, start, weights
from tests.commands.running import TINY_SEARCH, Outcome, files_below, run_here
from tests.commands.test_command_resume import RUN, steps_of
from vitsearch.commands.command import command
from vitsearch.commands.launch import agree_on_run_folder, fit_to_launch
from vitsearch.commands.messages import line_of_a_job, user_line
from vitsearch.commands.session import Session
from vitsearch.errors import ConfigError
from vitsearch.runs.launch import Launch, outside_launch

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "RANK": "5",
    "LOCAL_RANK": "1",
}
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_JOB_NAME": "vit",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)
    return monkeypatch


def pretend(environment: pytest.MonkeyPatch, variables: dict[str, str], *arguments: str) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    environment.setattr(sys, "argv", ["vitsearch.train", *arguments])


def test_who_started_the_processes() -> None:
    assert outside_launch({"LOCAL_RANK": "1"}) is None
    assert outside_launch(TORCHRUN) == Launch(name="torchrun", local=4, nodes=2)
    assert outside_launch(SRUN) == Launch(name="srun", local=2, nodes=2)
    assert outside_launch(SRUN | TORCHRUN) == Launch(name="torchrun", local=4, nodes=2)
    assert outside_launch(SRUN | {"SLURM_JOB_NAME": "bash"}) is None


@pytest.mark.parametrize(
    ("arguments", "added"),
    [
        ((), ["run_dir=outputs/slurm-4711-2"]),
        (("run_dir=mine",), []),
        (("resume=mine",), []),
        (("--multirun",), []),
        (("--config-name=config",), []),
    ],
)
def test_tasks_of_a_job_share_a_folder(
    arguments: tuple[str, ...], added: list[str], environment: pytest.MonkeyPatch
) -> None:
    pretend(environment, SRUN, *arguments)
    agree_on_run_folder()
    assert sys.argv[1:] == [*arguments, *added]


def test_processes_of_torchrun_share_the_folder_of_the_first(
    environment: pytest.MonkeyPatch,
) -> None:
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    agent = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    pretend(environment, TORCHRUN | agent)
    with pytest.raises(ConfigError, match="add run_dir"):
        agree_on_run_folder()
    environment.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    for clock in ("outputs/2030-01-01/00-00-00", "outputs/2030-01-01/00-00-01"):
        environment.setattr(time, "strftime", lambda _, clock=clock: clock)
        environment.setattr(sys, "argv", ["vitsearch.train"])
        agree_on_run_folder()
        assert sys.argv[1:] == ["run_dir=outputs/2030-01-01/00-00-00"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"devices": "auto", "num_nodes": 1}, (2, 2)),
        ({}, (2, 2)),
        ({"devices": 2, "num_nodes": 2}, (2, 2)),
        ({"devices": [0, 1], "num_nodes": 2}, ([0, 1], 2)),
    ],
)
def test_the_trainer_uses_the_processes_that_are_there(
    given: dict[str, object], expected: object, environment: pytest.MonkeyPatch
) -> None:
    pretend(environment, SRUN)
    config = fit_to_launch(OmegaConf.create(given))
    assert (config.devices, config.num_nodes) == expected


@pytest.mark.parametrize("name", ["devices", "num_nodes"])
def test_a_trainer_that_wants_other_processes_is_refused(
    name: str, environment: pytest.MonkeyPatch
) -> None:
    pretend(environment, SRUN)
    words = f"trainer.{name}=3, but srun has started 2 process.* on each of 2 machine"
    with pytest.raises(ConfigError, match=words):
        fit_to_launch(OmegaConf.create({name: 3}))


@pytest.mark.parametrize("value", ["0", "-1", "x", "true"])
def test_a_timeout_that_is_none(value: str, tmp_path: Path) -> None:
    outcome = run_here("train", *RUN, f"process_timeout={value}", folder=tmp_path)
    assert outcome.code == 2
    assert "process_timeout=" in outcome.err
    assert files_below(tmp_path) == set()


# Two processes on this machine, started as srun would start them.


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def both(name: str, *overrides: str, folder: Path, job: str = "4711") -> list[BaseProcess]:
    """Both tasks of a job."""
    shared = SRUN | {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    two = [override for override in overrides if not override.startswith("trainer.devices")]
    return [
        start(
            name,
            *two,
            folder=folder,
            output=f"rank{rank}",
            **(shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}),
        )
        for rank in range(2)
    ]


def texts(folder: Path, rank: int) -> tuple[str, str]:
    return tuple((folder / f"rank{rank}.{kind}").read_text() for kind in ("out", "err"))  # type: ignore[return-value]


@pytest.mark.slow
def test_two_tasks_are_killed_and_go_on(tmp_path: Path) -> None:
    """One of the two is killed in training, then in the search; the other ends by itself."""
    for process in both("train", *RUN, folder=tmp_path, job="1"):
        assert end(process) == 0
    expected = tmp_path / "outputs" / "slurm-1-0"
    assert lines_of(expected) == 13
    assert texts(tmp_path, 1)[0] == ""  # the first alone prints
    assert "devices     2 x cpu" in texts(tmp_path, 0)[0]

    run = tmp_path / "outputs" / "slurm-2-0"
    for victim, moment in ((1, lambda: steps_of(run) >= 3), (0, lambda: lines_of(run) >= 3)):
        processes = both("train", *RUN, folder=tmp_path, job="2")
        assert kill_when(processes[victim], moment, signal.SIGKILL) == -signal.SIGKILL
        assert end(processes[1 - victim]) == 1
        last = texts(tmp_path, 1 - victim)[1].splitlines()[-1]
        assert "vitsearch: another process of this run is gone" in last
        assert "resume=outputs/slurm-2-0 (started by srun, as before)" in last
    for process in both("train", "resume=outputs/slurm-2-0", folder=tmp_path, job="3"):
        assert end(process) == 0
    assert results(run) == results(expected)
    assert weights(run) == weights(expected)
    assert files_below(run) == files_below(expected)


@pytest.mark.slow
def test_a_signal_to_one_task_ends_both_cleanly(tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "slurm-5-0"
    processes = both("train", *RUN, "trainer.max_epochs=200", folder=tmp_path, job="5")
    assert kill_when(processes[1], lambda: steps_of(run) >= 2, signal.SIGTERM) == 143
    assert end(processes[0]) == 143
    assert "vitsearch: interrupted" in texts(tmp_path, 0)[1]
    assert "vitsearch: interrupted" not in texts(tmp_path, 1)[1]
    outcome = run_here("train", "resume=outputs/slurm-5-0", "trainer.devices=1", folder=tmp_path)
    assert outcome.code == 2
    assert "with 2 process(es) and goes on with as many, not with 1" in outcome.err


@pytest.mark.slow
def test_a_task_that_hangs_is_waited_for_so_long(tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "slurm-6-0"
    settings = (*RUN, "trainer.max_epochs=200", "process_timeout=4")
    processes = both("train", *settings, folder=tmp_path, job="6")
    try:
        deadline = time.monotonic() + PATIENCE
        while steps_of(run) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(processes[1].pid or 0, signal.SIGSTOP)
        assert end(processes[0]) == 1
    finally:
        processes[1].kill()
    assert "is gone or hangs" in texts(tmp_path, 0)[1]


@pytest.mark.slow
def test_torchrun_searches_like_one_process(tmp_path: Path) -> None:
    assert end(start("train", *RUN, "callbacks.search=null", "run_dir=a", folder=tmp_path)) == 0
    options = ("checkpoint=a", *TINY_SEARCH[1:], "seed=3", "use_test_split=false")
    run_here("search", *options, "run_dir=one", folder=tmp_path).succeeded()
    module = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*module, "-m", "vitsearch.search", *options],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = Outcome(0, done.stdout, done.stderr, tmp_path)
    assert done.stdout.count("best architecture") == 1
    assert "2 x cpu" in done.stdout
    assert results(outcome.run) == results(tmp_path / "one")


@pytest.mark.parametrize("fails", [False, True])
def test_a_command_leaves_the_other_processes(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyTorch's threads now and then abort a process that ends while it is connected.
    def task(config: DictConfig, session: Session) -> None:
        meeting = f"file://{tmp_path}/meeting"
        distributed.init_process_group("gloo", meeting, rank=0, world_size=1)
        if fails:
            raise ConfigError("wrong")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vitsearch.train", "run_dir=run"])
    with pytest.raises(SystemExit) if fails else contextlib.nullcontext():
        command("train")(task)()
    assert not distributed.is_initialized()


@pytest.mark.slow
def test_processes_of_lightning_end_with_the_first(tmp_path: Path) -> None:
    run = tmp_path / "run"
    two = [override for override in RUN if not override.startswith("trainer.devices")]
    more = ("run_dir=run", "trainer.devices=2", "trainer.max_epochs=200")
    first = subprocess.Popen(
        [sys.executable, "-m", "vitsearch.train", *two, *more],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while steps_of(run) < 2:
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    # The pipe closes when the last process that holds it is gone.
    _, printed = first.communicate(timeout=PATIENCE)
    assert "of this run is gone" in printed


def test_theline_of_a_job_is_found_in_the_launcher_s_report() -> None:
    class UncompletedJobError(RuntimeError):
        pass

    report = UncompletedJobError("Job 1 (task: 0) has no output\n---\nvitsearch: seed=x is none\n")
    assert user_line(report) is None
    assert line_of_a_job(report) is None
    UncompletedJobError.__module__ = "submitit.core.utils"
    assert line_of_a_job(report) == "seed=x is none"


@pytest.mark.slow
def test_the_submitit_launcher(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    sweep = ("--multirun", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")
    small = (*RUN, "hydra.sweep.dir=sweep", "callbacks.search=null")
    process = start("train", *sweep, *small, "seed=1", folder=tmp_path)
    assert end(process) == 0
    assert {"supernet.ckpt", "finished.json"} <= files_below(tmp_path / "sweep" / "0")
