"""Tables of the documentation that come from the code and the configuration files.

    python docs/generate.py configuration          every setting, from conf/ and its comments
    python docs/generate.py spaces [family]        the named spaces: choices, sizes, costs
    python docs/generate.py published [family]     the published networks: parameters, MACs
    python docs/generate.py api <module>           the public names of a module
    python docs/generate.py extras                 what can be installed besides

`docs/outputs.py` puts what they print into the Markdown files, and checks that it is still so.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import ismodule
from pathlib import Path

import yaml

from vitsearch import build_space, list_published, list_spaces, published
from vitsearch.costs import human
from vitsearch.reports.terminal.panels import size_in_words
from vitsearch.spaces.config import config_dir

CONF = config_dir()
COMMANDS = (
    "train",
    "search",
    "shrink",
    "transform",
    "describe",
    "audit",
    "retrain",
    "evaluate",
    "export",
    "report",
)
FAMILIES = ("glit", "vitas", "vit_resnas", "autoformer", "vt", "hr_nas", "resnet")


# Configuration


def configuration() -> Iterator[str]:
    """All commands, then all groups, each with its options and their settings."""
    for name in ordered_commands():
        path = CONF / f"{name}.yaml"
        yield from ["", f"## `{name}`", "", *words_of(path), ""]
        yield from table(settings(path))
    for folder in sorted(path for path in CONF.rglob("*") if path.is_dir()):
        files = sorted(folder.glob("*.yaml"))
        group = folder.relative_to(CONF).as_posix()
        if files:
            yield from ["", f"## `{group}`"]
        for path in files:
            sign = "+" if group == "space" else ""
            title = f"{sign}{group}={path.stem}"
            if path.stem.startswith("_"):
                title = f"all of {group}"
            yield from ["", f"### `{title}`", "", *words_of(path), ""]
            yield from table([(f"{prefix(path)}{n}", *rest) for n, *rest in settings(path)])


def ordered_commands() -> list[str]:
    """Those there are: first the known ones in the order of their use, then others."""
    found = {path.stem for path in CONF.glob("[!_]*.yaml")}
    return [name for name in COMMANDS if name in found] + sorted(found - set(COMMANDS))


def prefix(path: Path) -> str:
    """What the command line puts before the names of a group's settings."""
    if "@package _global_" in path.read_text(encoding="utf-8"):
        return ""
    return ".".join(path.parent.relative_to(CONF).parts) + "."


def settings(path: Path) -> list[tuple[str, str, str]]:
    """Name, value and comment of every setting in a file, nested ones by dotted names."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        return []
    return list(_settings(root, text.splitlines(), ""))


def _settings(
    mapping: yaml.MappingNode, lines: list[str], prefix: str
) -> Iterator[tuple[str, str, str]]:
    for key, value in mapping.value:
        name = prefix + str(key.value)
        if name in ("defaults", "hydra") or str(key.value) == "_partial_":
            continue
        comment = lines[key.start_mark.line].partition(" # ")[2].strip()
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            if comment:
                yield name, "", comment
            yield from _settings(value, lines, f"{name}.")
            continue
        written = "\n".join(lines[value.start_mark.line : value.end_mark.line + 1])
        if value.start_mark.line == value.end_mark.line:
            written = lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]
        yield name, " ".join(written.split()), comment


def words_of(path: Path) -> Iterator[str]:
    """The comment at the start of a file, and the files that it builds on."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        if text.startswith("python -m"):
            code, colon, words = text.partition(": ")
            yield from ["", f"`{code}`{colon}{plain(words)}", ""]
        elif "@package" not in text:
            yield plain(text)
    chosen = [f"`{text}`" for text in based_on(path)]
    if chosen:
        yield from ["", f"With {', '.join(chosen)}."]


def based_on(path: Path) -> Iterator[str]:
    """The options in a file's defaults list, as the command line writes them."""
    for entry in listed(path):
        if isinstance(entry, str) and entry != "_self_" and not entry.startswith("_"):
            yield f"{path.parent.relative_to(CONF).as_posix()}={entry}"
        for key, option in entry.items() if isinstance(entry, dict) else ():
            group = key.split()[-1].removeprefix("/")
            if option is not None and not group.startswith("hydra"):
                yield f"{group}={option}"


def listed(path: Path) -> list:
    """A file's defaults list."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults") or []


def table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    """Settings as a table."""
    if not rows:
        return
    yield from ["| setting | value | |", "|---|---|---|"]
    for name, value, comment in rows:
        written = f"`{value}`".replace("|", "\\|") if value else ""
        yield f"| `{name}` | {written} | {plain(comment)} |"


def plain(text: str) -> str:
    """Words of a comment in Markdown, where some signs mean more."""
    return re.sub(r"([\\*_|\[\]])", r"\\\1", text).replace("<", "&lt;")


# Spaces and published networks


def family_of(space: str) -> str:
    """Which family a named space belongs to; the longest name that fits."""
    return max((f for f in FAMILIES if space.startswith(f)), key=len, default=space)


def spaces(family: str | None = None) -> Iterator[str]:
    """The spaces of one family, or all."""
    yield "| `+space=` | images | free choices | architectures | MACs | parameters |"
    yield "|---|---|---|---|---|---|"
    for name in sorted(list_spaces(), key=lambda name: (FAMILIES.index(family_of(name)), name)):
        if family in (None, family_of(name)):
            yield space_row(name)


@cache
def space_row(name: str) -> str:
    """One space: its choices, its size, its ends."""
    space = build_space(name)
    images = " x ".join(map(str, space.input_shape))
    free = sum(len(choice.options) > 1 for choice in space.choices)
    ends = {
        metric: [
            human(getattr(space.plan(space.extreme(metric, largest=end)[0]).cost(), metric))
            for end in (False, True)
        ]
        for metric in ("macs", "params")
    }
    return (
        f"| `{name}` | {images} | {free} | "
        f"{powers(size_in_words(space.size()))} | {' to '.join(ends['macs'])} | "
        f"{' to '.join(ends['params'])} |"
    )


def powers(text: str) -> str:
    """10^9.3 as people print it."""
    base, caret, exponent = text.partition("^")
    return f"{base}<sup>{exponent}</sup>" if caret else text


def networks(family: str | None = None) -> Iterator[str]:
    """The published networks of one family, or all."""
    yield "| `create_model(...)` | found in | parameters | MACs |"
    yield "|---|---|---|---|"
    found = {name: published(name) for name in list_published()}
    by_family = sorted(found, key=lambda name: FAMILIES.index(family_of(name)))
    for name in sorted(by_family, key=lambda n: (FAMILIES.index(family_of(n)), size(found[n]))):
        if family in (None, family_of(name)):
            space, architecture = found[name]
            cost = space.plan(architecture).cost()
            yield f"| `{name}` | `{space.name}` | {cost.params:,} | {cost.macs:,} |"


def size(network: tuple) -> int:
    """MACs of a published network."""
    space, architecture = network
    return space.plan(architecture).cost().macs


# Public names, optional packages


def api(module: str) -> Iterator[str]:
    """What mkdocstrings is to describe: the names that the module offers."""
    for name in import_module(module).__all__:
        if not ismodule(getattr(import_module(module), name)):
            yield f"::: {module}.{name}"


def extras() -> Iterator[str]:
    """The optional dependencies, and what for."""
    text = (CONF.parent / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    yield from ["| extra | for | brings |", "|---|---|---|"]
    for name, packages in re.findall(r"^(\w+) = \[(.*?)\]$", section, re.MULTILINE | re.DOTALL):
        listed = ", ".join(re.findall(r'"([\w.-]+)', packages))
        brings = "all of these, and what the tests need" if name == "dev" else listed
        yield f"| `vitsearch[{name}]` | {EXTRAS[name]} | {brings} |"


EXTRAS = {
    "dev": "all checks: `make test`",
    "docs": "these pages: `make docs`",
    "export": "ONNX files: `python -m vitsearch.export`",
    "hub": "models on the Hugging Face Hub",
    "nsga2": "the hyper-volume of a front: `vitsearch.searchers.hypervolume`",
    "optuna": "`searcher=optuna`; histories as studies: `vitsearch.report optuna=study.db`",
    "peers": "what networks made smaller are compared with: `python -m benchmarks.shrinking`",
    "plots": "pictures of an audit",
    "slurm": "sweeps as SLURM jobs: `hydra/launcher=submitit_slurm`",
    "tensorboard": "`logger=tensorboard`",
}

TABLES = {
    "api": api,
    "configuration": configuration,
    "extras": extras,
    "published": networks,
    "spaces": spaces,
}


def main() -> None:
    """The command."""
    if len(sys.argv) < 2 or sys.argv[1] not in TABLES:
        raise SystemExit(f"usage: python docs/generate.py {'|'.join(TABLES)} [of what]")
    print("\n".join(TABLES[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
