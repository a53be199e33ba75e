"""`python -m vitsearch.export model=<folder> format=onnx`: a finished network for other programs.

Thin: it reads the configuration and hands the network to `exporting/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.panel import Panel

from vitsearch.commands.command import command, fail, quiet_warnings
from vitsearch.commands.model_setup import given_model, spell_out_model
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.exporting import FORMATS, Exported, export_model
from vitsearch.reports import make_console
from vitsearch.reports.terminal.panels import facts_panel


@command("export")
def run(config: DictConfig, folder: Path) -> None:
    """Load a network, write it in another format, compare, say how to load it."""
    quiet_warnings()
    if config.format not in FORMATS:
        raise ConfigError(f"format={config.format} is unknown; legal: {', '.join(FORMATS)}")
    from_pixels = check_flag("from_pixels", config.from_pixels)
    given = given_model(config)
    try:
        exported = export_model(
            given.network,
            folder,
            format=config.format,
            from_pixels=from_pixels,
            opset=config.opset,
        )
    except OSError as error:
        raise ConfigError(f"run_dir={folder} cannot be written: {error.strerror}") from error
    console = make_console()
    console.print(export_panel(exported, f"{given.name} {given.network.architecture.digest}"))
    console.print(exported.snippet, highlight=False, markup=False, soft_wrap=True)


def export_panel(exported: Exported, model: str) -> Panel:
    """What was written, how large it is, and how near."""
    sizes = ", ".join(map(str, exported.batch_sizes))
    return facts_panel(
        {
            "model": model,
            "written to": str(exported.path),
            "size": f"{exported.megabytes:.2f} MB",
            "largest difference": f"{exported.difference:.1e}, on random images in batches of "
            f"{sizes}",
        },
        title="vitsearch export",
    )


def main() -> None:
    """The command."""
    if any(argument == "-m" or argument.startswith("--m") for argument in sys.argv[1:]):
        fail("--multirun is not for exports; export one network at a time")
    spell_out_model()
    run()


if __name__ == "__main__":
    main()
