"""`python -m vitsearch.export model=<folder> format=onnx`: a finished network for other programs.

Thin: it reads the configuration and hands the network to `exporting/`.
"""

from __future__ import annotations

from omegaconf import DictConfig
from rich.panel import Panel

from vitsearch.commands.command import command
from vitsearch.commands.finished_model import given_model
from vitsearch.commands.session import Session
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag, check_one_of
from vitsearch.exporting import FORMATS, Exported, export_model
from vitsearch.reports.terminal.panels import facts_panel


@command("export", no_sweep="is not for exports; export one network at a time", takes_model=True)
def main(config: DictConfig, session: Session) -> None:
    """Load a network, write it in another format, compare, say how to load it."""
    check_one_of("format", config.format, list(FORMATS))
    from_pixels = check_flag("from_pixels", config.from_pixels)
    given = given_model(config)
    try:
        exported = export_model(
            given.network,
            session.folder,
            format=config.format,
            from_pixels=from_pixels,
            opset=config.opset,
        )
    except OSError as error:
        raise ConfigError(
            f"run_dir={session.folder} cannot be written: {error.strerror}"
        ) from error
    panel = export_panel(exported, f"{given.name} {given.network.architecture.digest}")
    session.console.print(panel)
    session.say(exported.snippet)


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


if __name__ == "__main__":
    main()
