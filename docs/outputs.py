"""What the Markdown files print, made again by the commands that they name.

    python docs/outputs.py             write what differs
    python docs/outputs.py --check     name what differs; status 1 if anything does
    python docs/outputs.py --record    run the long commands, too, one after the other

A marker, an HTML comment that no reader sees, stands before what a command prints:

    output: python -m vitsearch.describe +space=glit     a block of code, checked to the letter
    recorded: python -m vitsearch.train +space=glit      the same, but it takes minutes: run with
                                                         --record only, checked for its shape
    markdown: python docs/generate.py spaces             Markdown, up to the comment `end`

Short commands run in this process, in a folder with nothing but examples/ in it; long ones in
processes of their own, in one folder that they share, so that a search finds the run before it.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_MARKER = re.compile(r"^<!-- (output|recorded|markdown): (.+?) -->$")
_END = "<!-- end -->"
_FENCE = "```"
_USER_ERROR = 2


@dataclass(frozen=True, slots=True)
class Block:
    """One command's output in a file.

    Attributes:
        path: The file.
        kind: `output`, `recorded` or `markdown`.
        command: What made it.
        first: The line after the marker, from 0.
        last: The line after the block.
        text: What it prints, without the fences.
    """

    path: Path
    kind: str
    command: str
    first: int
    last: int
    text: str

    @property
    def where(self) -> str:
        """File and line of the marker, for people."""
        return f"{self.path.relative_to(ROOT)}:{self.first}"

    def lines_with(self, text: str) -> list[str]:
        """The block's lines, with other text."""
        if self.kind == "markdown":
            return ["", *text.splitlines(), "", _END]
        return [f"{_FENCE}text", *text.splitlines(), _FENCE]


def markdown_files() -> list[Path]:
    """Those that people read; the tour before the pages whose long commands use its runs."""
    tour = ROOT / "docs" / "tour.md"
    pages = sorted((ROOT / "docs").rglob("*.md"), key=lambda page: (page != tour, page))
    return [ROOT / "README.md", *pages]


def blocks_of(path: Path) -> list[Block]:
    """All blocks with a marker, in order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        marker = _MARKER.match(line)
        if marker:
            found.append(_block(path, lines, number + 1, marker[1], marker[2]))
    return found


def _block(path: Path, lines: list[str], first: int, kind: str, command: str) -> Block:
    if kind == "markdown":
        end = next((n for n in range(first, len(lines)) if lines[n] == _END), None)
        if end is None:
            return Block(path, kind, command, first, first, "")
        text = "\n".join(lines[first:end]).strip("\n")
        return Block(path, kind, command, first, end + 1, text)
    if first == len(lines) or not lines[first].startswith(_FENCE):  # nothing there yet
        return Block(path, kind, command, first, first, "")
    end = next(n for n in range(first + 1, len(lines)) if lines[n].startswith(_FENCE))
    return Block(path, kind, command, first, end + 1, "\n".join(lines[first + 1 : end]))


def write(path: Path, texts: dict[Block, str]) -> None:
    """Put other texts into blocks of one file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in sorted(texts, key=lambda block: block.first, reverse=True):
        lines[block.first : block.last] = block.lines_with(texts[block])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@functools.cache
def run_here(command: str) -> str:
    """What a short Python command prints, run in this process from a folder with the examples."""
    python, *words = shlex.split(command)
    assert python == "python", command
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, _called(words, Path(folder)):
        link_examples(Path(folder))
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                importlib.import_module(module_of(words)).main()
        except SystemExit as stop:
            if stop.code not in (None, 0, _USER_ERROR):
                raise RuntimeError(f"{command}: {stop.code}\n{printed.getvalue()}") from stop
        left = sorted(path.name for path in Path(folder).iterdir())
        assert left == ["examples"], f"{command} wrote {left}"
    return _tidy(printed.getvalue())


def run_apart(command: str, folder: Path) -> str:
    """What a long command prints, run by a shell in a folder that it may write to."""
    here = shlex.quote(str(Path(sys.executable).parent))
    link_examples(folder)
    done = subprocess.run(
        ["bash", "-c", f"PATH={here}:$PATH; {command}"],
        cwd=folder,
        env=_environment() | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: status {done.returncode}\n{done.stdout}")
    return _tidy(_without(done.stdout, f"{folder}/"))


def module_of(words: list[str]) -> str:
    """The module that a command runs, named or as a file of the repository."""
    if words[0] == "-m":
        return words[1]
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return ".".join(Path(words[0]).with_suffix("").parts)


def link_examples(folder: Path) -> None:
    """Make `examples/` name what it names in a checkout."""
    examples = folder / "examples"
    if not examples.exists():
        examples.symlink_to(ROOT / "examples")


@contextlib.contextmanager
def _called(words: list[str], folder: Path) -> Iterator[None]:
    """Arguments and folder of a command, until it has ended."""
    arguments, before, environment = sys.argv, Path.cwd(), dict(os.environ)
    sys.argv = words[1:] if words[0] == "-m" else [str(ROOT / words[0]), *words[1:]]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(_environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(before)
        sys.argv = arguments


def _environment() -> dict[str, str]:
    """This process's variables, without those that change how tables look."""
    looks = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(looks)}


def _without(text: str, folder: str) -> str:
    """A text without the folder before its paths; boxes stay as wide as they were."""
    lines = []
    for line in text.splitlines():
        short = line.replace(folder, "")
        if line.endswith("│"):
            short = short[:-1] + " " * (len(line) - len(short)) + "│"
        lines.append(short)
    return "\n".join(lines)


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def shape(text: str) -> list[str]:
    """The words that runs of one command begin their lines with, each once.

    Numbers, times and names of networks differ between runs, and so does the number of lines.
    """
    first = (re.match(r"\W*([A-Za-z][A-Za-z-]+)", line) for line in text.splitlines())
    return list(dict.fromkeys(found[1] for found in first if found))


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="all by default")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--record", action="store_true", help="run long commands, too")
    parser.add_argument("--folder", type=Path, help="where long commands run")
    parser.add_argument("--only", default="", help="of the long ones, those that contain this")
    given = parser.parse_args(arguments)
    files = [path.resolve() for path in given.files] or markdown_files()
    folder = Path(given.folder or tempfile.mkdtemp()) if given.record else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    recorded: dict[str, str] = {}
    stale = 0
    for path in files:
        texts = {}
        for block in blocks_of(path):
            if block.kind != "recorded":
                text = run_here(block.command)
            elif folder is None or given.only not in block.command:
                continue
            else:
                if block.command not in recorded:
                    print(f"{block.where}: {block.command}", flush=True)
                    recorded[block.command] = run_apart(block.command, folder.resolve())
                text = recorded[block.command]
            if text != block.text:
                texts[block] = text
                print("\n".join(difference(block, text)))
        stale += len(texts)
        if not given.check:
            write(path, texts)
    return int(given.check and stale > 0)


def difference(block: Block, text: str) -> list[str]:
    """What differs, for people."""
    lines = difflib.unified_diff(block.text.splitlines(), text.splitlines(), lineterm="", n=0)
    return [f"{block.where} is not what `{block.command}` prints:", *list(lines)[2:]]


if __name__ == "__main__":
    raise SystemExit(main())
