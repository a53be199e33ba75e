"""How to make a run again, and what to do with it: commands, seed, versions, all settings."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.page.page import Code, Facts, Part, Section, Text
from vitsearch.reports.words.training import training_words
from vitsearch.runs.command_line import command_text, override
from vitsearch.runs.layout import CONFIG_FILE, SUPERNET_FILE

_OF_A_PLACE = ("run_dir=", "resume=")


def repeat_section(record: RunRecord) -> Section:
    """Commands to be copied; they name the run folder as it is seen from here."""
    parts: list[Part] = [Facts(pairs=_facts(record))]
    if record.command is None:
        parts.append(Text(text="The command was not kept; config.yaml holds every setting."))
    else:
        parts.append(Code(title="The same run again, in a folder of its own", text=again(record)))
    place = shown_path(record.folder)
    if (record.folder / SUPERNET_FILE).is_file() and record.shrinks is None:
        checkpoint = override("checkpoint", place)
        parts += [
            Code(
                title="Another budget, from the same supernet",
                text=command_text("search", checkpoint, "constraint.macs=[null,10M]"),
            ),
            Code(
                title="How far the scores can be trusted",
                text=command_text("audit", checkpoint),
            ),
        ]
    if (record.folder / "best").is_dir():
        load = f"vitsearch.load_model({f'{place}/best'!r})"
        parts += [
            Code(
                title="Train the best architecture by itself",
                text=command_text("retrain", override("architecture", place)),
            ),
            Code(
                title="How good the best network is, and how fast",
                text=command_text("evaluate", override("model", place)),
            ),
            Code(title="The best network, in Python", text=load),
        ]
    again_report = command_text("report", override("run", place))
    parts.append(Code(title="This report again", text=again_report))
    file = record.folder / CONFIG_FILE
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        parts.append(Code(title="All settings: config.yaml", text=text, folded=True))
    return Section(title="Make it again", parts=parts, wide=True)


def again(record: RunRecord) -> str:
    """The command that made the run, without the folder that it wrote to."""
    assert record.command is not None
    words = [w for w in shlex.split(record.command) if not w.startswith(_OF_A_PLACE)]
    return shlex.join(words)


def shown_path(folder: Path) -> str:
    """The folder, seen from here where it lies below."""
    whole = folder.resolve()
    return os.path.relpath(whole) if whole.is_relative_to(Path.cwd()) else str(whole)


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    config = record.config
    pairs = [("folder", shown_path(record.folder)), ("budget", str(record.constraint))]
    if "seed" in config:
        pairs.append(("seed", str(config["seed"])))
    training = training_words(config)
    if training:
        pairs.append(("training", training))
    sections = {"searcher": config.get("searcher"), "sampler": config.get("sampler")}
    if record.shrinks is not None:  # it searches while it trains
        sections = {"shrinking": (config.get("callbacks") or {}).get("shrinking")}
    for name, section in sections.items():
        if isinstance(section, Mapping) and section:
            pairs.append((name, in_words(section)))
    measured = {
        name.removeprefix("measured."): value
        for name, value in record.settings.items()
        if name.startswith("measured.")
    }
    if measured:
        pairs.append(("measured", ", ".join(f"{n} {v}" for n, v in measured.items())))
    if record.settings.get("weights"):
        pairs.append(("weights", f"{record.settings['weights']} (hash of the supernet)"))
    if record.versions:
        listed = ", ".join(f"{name} {version}" for name, version in record.versions.items())
        pairs.append(("versions", listed))
    return pairs


def in_words(section: Mapping[str, Any]) -> str:
    """The class of a section and its plain settings."""
    kind = str(section.get("_target_", "")).rpartition(".")[2]
    values = [
        f"{name} {value if isinstance(value, int | float | str) else json.dumps(value)}"
        for name, value in section.items()
        if not name.startswith("_") and value is not None and not isinstance(value, Mapping)
    ]
    return f"{kind}: {', '.join(values)}" if values else kind
