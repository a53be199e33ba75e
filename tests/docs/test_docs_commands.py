"""Every command and override in the documentation composes: none is misspelt, none is gone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from docs.outputs import ROOT, markdown_files
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from vitsearch.commands.command_line import read_arguments
from vitsearch.spaces.config import build_space, config_dir

PAGES = [*markdown_files(), *sorted((ROOT / "examples").rglob("*.md"))]
FAMILIES = {
    "AutoFormer": "autoformer_tiny",
    "GLiT": "glit_tiny",
    "ViTAS": "vitas_small",
    "ViT-ResNAS": "vit_resnas_tiny",
}
OURS = (
    "wide_glit",
    "deep_glit",
    "gated_glit",
    "activation_bytes",
)  # of examples/, which are not installed here
Check = Callable[[str, list[str]], None]


@pytest.fixture(scope="module")
def composes() -> Iterator[Check]:
    """Compose as a command does; options of groups once, settings looked up in what they give."""
    parser = OverridesParser.create()

    @cache
    def composed(command: str, options: tuple[str, ...]) -> DictConfig:
        return compose(command, list(options), return_hydra_config=True)

    def is_option(key: str) -> bool:
        return (config_dir() / key.replace("@", "/")).is_dir() or key.startswith("hydra/")

    def check(command: str, words: list[str]) -> None:
        overrides = parser.parse_overrides(words)
        options = [o.input_line for o in overrides if is_option(o.key_or_group)]
        config = composed(command, tuple(options))
        for override in overrides:
            if not is_option(override.key_or_group) and not override.is_add():
                above, _, key = override.key_or_group.rpartition(".")
                section = OmegaConf.select(config, above) if above else config
                found = _has(section, key) or (above == "constraint" and key in OURS)
                assert found, f"{override.input_line}: no such setting in {command}"

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield check


def _has(section: Any, key: str) -> bool:
    return isinstance(section, DictConfig) and key in list(section)  # also where it is missing


def commands_of(path: Path) -> list[list[str]]:
    """The words of every `python -m vitsearch.<command>`, from the name of the module on."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        start = line.find("-m vitsearch.")
        if start >= 0 and re.match(r"    \S|python |torchrun |srun ", line):
            found.append(shlex.split(line[start + 3 :], comments=True))
    return found


def ready(words: list[str]) -> list[str] | None:
    """Overrides, with something for what is the reader's own; `None` where that is a group."""
    found = []
    for written in words:
        word = re.sub(r"<[^>]*>|\$PWD", "x", written)
        space = re.fullmatch(rf"\+space=(.*\.yaml|{'|'.join(OURS)})", word)
        if space:
            if (ROOT / space[1]).is_file():
                build_space(str(ROOT / space[1]))
            word = "+space=glit"
        if word.startswith(("--", "hydra.searchpath")) or word == "searcher=hill_climbing":
            return None
        found.append(word)
    return read_arguments(found)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_compose(path: Path, composes: Check) -> None:
    for module, *words in commands_of(path):
        overrides = ready(words)
        if overrides is not None:
            command = module.removeprefix("vitsearch.")
            if command in ("evaluate", "export", "shrink"):  # they spell out model=<path>
                overrides = [re.sub(r"^model=", "model.path=", o) for o in overrides]
            composes(command, overrides)


def migrations() -> Iterator[tuple[str, str]]:
    """The family and the code of every cell on the right of the migration page."""
    text = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        for cell in re.findall(r"^\|.*\|(.*)\|$", section, re.MULTILINE):
            for code in re.findall(r"`([^`]+)`", cell):
                if re.match(r"'?[+~]?[\w./]+=", code):
                    yield FAMILIES.get(title, "glit_tiny"), code


def test_migrations_compose(composes: Check) -> None:
    found = list(migrations())
    assert len(found) > 60
    for space, code in found:
        words = shlex.split(re.sub(r"(?<=[=\[,])_(?=$|[\s\],'])", "1", code))
        if not any(word.startswith(("+space=", "experiment=")) for word in words):
            words.append(f"+space={space}")
        words = read_arguments(words)
        if any(word.startswith(("data.", "optimizer.")) for word in words):
            words += ["data=image_folder"] * ("data=image_folder" not in words)
        composes("train", words)


def test_there_are_commands() -> None:
    assert sum(len(commands_of(path)) for path in PAGES) > 60
