"""`python -m benchmarks.reliability`: kill runs at random moments, go on, and compare the ends.

Small trainings and searches of the demo space run in processes of their own. Timers from a seeded
generator kill them (SIGKILL); the same command is started again until the run has finished. Its
files are then compared, byte by byte, with those of a run that nothing has disturbed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # bit for bit with one thread

RUN = (
    "+space=glit",
    "space.num_blocks=2",
    "space.embed_dims=[24]",
    "callbacks=with_ema",
    "callbacks.checkpoint.every_n_seconds=0.25",
    "data.batch_size=16",
    "++data.search_per_class=10",
    "data.statistics_images=64",
    "model.drop_path_rate=0.2",
    "model.mixup=0.3",
    "searcher.crossovers=10",
    "searcher.generations=5",
    "searcher.mutations=10",
    "searcher.population=40",
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=1",
    "trainer.devices=1",
    "trainer.max_epochs=3",
    "+trainer.limit_train_batches=40",
)
COMPARED = ("supernet.ckpt", "metrics.csv", "search/history.jsonl", "search/best.json", "best")

_context = multiprocessing.get_context("forkserver")


@dataclass(slots=True)
class Tally:
    """What happened to the runs of one kind."""

    kills: int = 0
    finished: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    leftovers: int = 0


def _command(folder: str, overrides: tuple[str, ...]) -> None:
    os.chdir(folder)
    for number in (1, 2):
        os.dup2(os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["vitsearch.train", *overrides]
    import vitsearch.train

    vitsearch.train.main()


def start(folder: Path, *more: str) -> BaseProcess:
    """The command, in a process that can be killed."""
    folder.mkdir(parents=True, exist_ok=True)
    process = _context.Process(target=_command, args=(str(folder), (*RUN, "run_dir=run", *more)))
    process.start()
    return process


def moment(run: Path, *, trained: bool) -> str:
    """How far a run has come, by its files."""
    history = run / "search" / "history.jsonl"
    if (run / "search" / "best.json").exists():
        return "writing the result"
    if history.exists():
        return "search"
    if (run / "supernet.ckpt").exists():
        return "starting" if trained else "training"
    return "before the first checkpoint"


def content(path: Path) -> object:
    """A file's bytes; of a checkpoint the weights, because it names the library's internals too."""
    if path.is_dir():
        return {inner.name: inner.read_bytes() for inner in sorted(path.iterdir())}
    if path.suffix == ".ckpt":
        import vitsearch

        state = vitsearch.load_supernet(path).state_dict()
        return {name: tensor.numpy().tobytes() for name, tensor in state.items()}
    return path.read_bytes() if path.exists() else None


def compare(run: Path, straight: Path, tally: Tally) -> None:
    """Note what differs."""
    tally.finished += 1
    for name in COMPARED:
        tally.different[name] += content(run / name) != content(straight / name)
    files = [{p.relative_to(r) for p in r.rglob("*") if p.is_file()} for r in (run, straight)]
    tally.leftovers += len(files[0] ^ files[1])


def kill_and_go_on(
    root: Path, straight: Path, trained: Path | None, kills: int, seconds: float, rng: random.Random
) -> Tally:
    """Kill runs until there were so many kills; let each of them finish.

    Args:
        root: Where the runs go.
        straight: The run folder that nothing has disturbed.
        trained: A run folder after training, to kill searches only.
        kills: How many.
        seconds: How long an undisturbed process takes: kills come at a random time in it.
        rng: Says when.
    """
    tally = Tally()
    number = 0
    while True:
        folder = root / str(number)
        if trained is not None and not (folder / "run").exists():
            shutil.copytree(trained, folder / "run")
        process = start(folder)
        process.join(rng.uniform(0, seconds) if tally.kills < kills else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            tally.kills += 1
            tally.moments[moment(folder / "run", trained=trained is not None)] += 1
            continue
        assert process.exitcode == 0, (folder / "output.txt").read_text()
        compare(folder / "run", straight, tally)
        number += 1
        if tally.kills >= kills:
            return tally


def main() -> None:
    """Run, kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=10, help="kills of whole runs")
    parser.add_argument("--searches", type=int, default=20, help="kills of runs after training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    _context.set_forkserver_preload(["vitsearch.train", "timm.scheduler"])
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        tallies = measure(root, arguments.trainings, arguments.searches, rng)
    for name, tally in tallies.items():
        print(f"{name}: {tally.kills} kills, {tally.finished} runs finished")
        for where, count in tally.moments.most_common():
            print(f"  killed in: {where}: {count}")
        for compared in COMPARED:
            print(f"  {compared}: {tally.different[compared]} of {tally.finished} differ")
        print(f"  files too many or too few: {tally.leftovers}")
    if arguments.json is not None:
        plain = {
            name: {
                "kills": tally.kills,
                "finished": tally.finished,
                "moments": dict(tally.moments),
                "different": dict(tally.different),
                "leftovers": tally.leftovers,
            }
            for name, tally in tallies.items()
        }
        arguments.json.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    if any(sum(tally.different.values()) + tally.leftovers for tally in tallies.values()):
        raise SystemExit("a run that was killed ended differently")


def measure(root: Path, trainings: int, searches: int, rng: random.Random) -> dict[str, Tally]:
    """The undisturbed run, then both kinds of kills."""
    straight, search = root / "straight", root / "straight search"
    start(root / "warm", "trainer.max_epochs=1").join()  # the fork server imports torch
    whole_seconds = timed(straight)
    trained = root / "trained"
    shutil.copytree(straight / "run", trained)
    for path in ("search", "best"):
        shutil.rmtree(trained / path)
    (trained / "finished.json").unlink()
    shutil.copytree(trained, search / "run")
    search_seconds = timed(search)
    print(f"undisturbed: the whole run {whole_seconds:.1f} s, its search {search_seconds:.1f} s")
    return {
        "whole runs": kill_and_go_on(
            root / "whole", straight / "run", None, trainings, whole_seconds, rng
        ),
        "searches": kill_and_go_on(
            root / "searches", straight / "run", trained, searches, search_seconds, rng
        ),
    }


def timed(folder: Path) -> float:
    """Seconds of an undisturbed run."""
    began = time.monotonic()
    process = start(folder)
    process.join()
    assert process.exitcode == 0, (folder / "output.txt").read_text()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
